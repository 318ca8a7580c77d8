//! The addresses of a name: looked up once, remembered, looked up again in the background.
//!
//! One [`Name`] belongs to one destination of one worker. Looking up is the operating system's (`getaddrinfo`), on a
//! thread of its own. A name that can no longer be resolved keeps the addresses it last had: a resolver that is down
//! must not take down what stands.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};

use super::ConnectError;

/// How old addresses may become before they are looked up again.
const FRESH_FOR: Duration = Duration::from_secs(30);
/// Between two look-ups that failed connections ask for.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);
/// A look-up in the background may take longer than a request would wait.
const PATIENCE: Duration = Duration::from_secs(10);

/// A name with its addresses.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    port: u16,
    state: Mutex<State>,
    /// Whoever has it looks up; the others wait for what comes of it.
    looking_up: tokio::sync::Mutex<()>,
    #[cfg(test)]
    pub(super) script: Mutex<std::collections::VecDeque<Result<Vec<SocketAddr>, ConnectError>>>,
}

#[derive(Debug, Default)]
struct State {
    addresses: Arc<[SocketAddr]>,
    /// When a look-up last ended, however it did.
    looked_up: Option<Instant>,
    is_being_refreshed: bool,
    turn: usize,
}

impl Name {
    pub(super) fn new(host: &str, port: u16) -> Arc<Self> {
        Arc::new(Self {
            host: host.to_owned(),
            port,
            state: Mutex::default(),
            looking_up: tokio::sync::Mutex::default(),
            #[cfg(test)]
            script: Mutex::default(),
        })
    }

    /// The addresses in the order in which they are to be tried; each call begins with another one.
    pub(super) async fn addresses(
        self: &Arc<Self>,
        deadline: Instant,
    ) -> Result<Vec<SocketAddr>, ConnectError> {
        self.refresh_if_old();
        if self.state().addresses.is_empty() {
            self.look_up_again(deadline, |state| state.addresses.is_empty())
                .await?;
        }
        let mut state = self.state();
        state.turn = state.turn.wrapping_add(1);
        Ok(in_turn(&state.addresses, state.turn))
    }

    /// After no address could be connected to: other addresses, if the name has got any meanwhile.
    pub(super) async fn other_addresses(self: &Arc<Self>, deadline: Instant) -> Option<Vec<SocketAddr>> {
        let before = Arc::clone(&self.state().addresses);
        let is_old = |state: &State| state.looked_up.is_none_or(|at| at.elapsed() >= AT_MOST_EVERY);
        if !is_old(&self.state()) {
            return None;
        }
        self.look_up_again(deadline, is_old).await.ok()?;
        let new: Vec<SocketAddr> = self
            .state()
            .addresses
            .iter()
            .filter(|address| !before.contains(address))
            .copied()
            .collect();
        (!new.is_empty()).then_some(new)
    }

    /// Whether the name has the address, as far as is known.
    pub(super) fn has(&self, address: SocketAddr) -> bool {
        self.state().addresses.contains(&address)
    }

    /// Looks up in the background where the addresses are old.
    pub(super) fn refresh_if_old(self: &Arc<Self>) {
        let mut state = self.state();
        let is_old = state.looked_up.is_some_and(|at| at.elapsed() >= FRESH_FOR);
        if !is_old || state.is_being_refreshed || state.addresses.is_empty() {
            return;
        }
        state.is_being_refreshed = true;
        let name = Arc::clone(self);
        tokio::spawn(async move {
            let _ = name.look_up_again(Instant::now() + PATIENCE, |_| true).await;
            name.state().is_being_refreshed = false;
        });
    }

    async fn look_up_again(
        &self,
        deadline: Instant,
        is_needed: impl Fn(&State) -> bool,
    ) -> Result<(), ConnectError> {
        let looking_up = async {
            let _turn = self.looking_up.lock().await;
            if !is_needed(&self.state()) {
                return Ok(());
            }
            let found = self.look_up().await;
            let mut state = self.state();
            state.looked_up = Some(Instant::now());
            match found {
                Ok(found) if !found.is_empty() => {
                    state.addresses = found.into();
                    Ok(())
                }
                Ok(_) => Err(ConnectError::Resolve {
                    host: self.host.clone(),
                }),
                Err(error) => Err(error),
            }
        };
        timeout_at(deadline, looking_up)
            .await
            .unwrap_or(Err(ConnectError::TimedOut))
    }

    async fn look_up(&self) -> Result<Vec<SocketAddr>, ConnectError> {
        #[cfg(test)]
        if let Some(scripted) = self.script.lock().unwrap().pop_front() {
            return scripted;
        }
        look_up(&self.host, self.port).await
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks the operating system.
pub(super) async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
    match lookup_host((host, port)).await {
        Ok(addresses) => Ok(addresses.collect()),
        Err(error) => {
            tracing::debug!(%host, %error, "name resolution failed");
            Err(ConnectError::Resolve { host: host.into() })
        }
    }
}

/// IPv6 and IPv4 by turns, beginning with the kind that the resolver prefers (RFC 8305 section 4), each kind beginning
/// with another address each time.
fn in_turn(addresses: &[SocketAddr], turn: usize) -> Vec<SocketAddr> {
    let prefers_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (mut first, mut second): (Vec<SocketAddr>, Vec<SocketAddr>) = addresses
        .iter()
        .partition(|address| address.is_ipv6() == prefers_v6);
    for kind in [&mut first, &mut second] {
        let by = turn % kind.len().max(1);
        kind.rotate_left(by);
    }
    let mut ordered = Vec::with_capacity(addresses.len());
    let mut second = second.into_iter();
    for address in first {
        ordered.push(address);
        ordered.extend(second.next());
    }
    ordered.extend(second);
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(5)
    }

    fn failed() -> Result<Vec<SocketAddr>, ConnectError> {
        Err(ConnectError::Resolve { host: "items".into() })
    }

    #[test]
    fn kinds_take_turns_and_so_do_addresses() {
        let all = [
            at("[::1]:1"),
            at("[::2]:1"),
            at("[::3]:1"),
            at("1.1.1.1:1"),
            at("2.2.2.2:1"),
        ];
        let shown =
            |turn| -> Vec<String> { in_turn(&all, turn).iter().map(|a| a.ip().to_string()).collect() };
        assert_eq!(shown(0), ["::1", "1.1.1.1", "::2", "2.2.2.2", "::3"]);
        assert_eq!(shown(1), ["::2", "2.2.2.2", "::3", "1.1.1.1", "::1"]);
        assert!(in_turn(&[], 7).is_empty());
    }

    #[tokio::test]
    async fn a_name_that_is_gone_keeps_its_last_addresses() {
        let name = Name::new("items", 80);
        let (old, new) = (at("10.0.0.1:80"), at("10.0.0.2:80"));
        *name.script.lock().unwrap() = [failed(), Ok(vec![old]), failed(), Ok(vec![]), Ok(vec![new])].into();
        assert!(name.addresses(soon()).await.is_err());
        assert_eq!(name.addresses(soon()).await, Ok(vec![old]));
        for _ in 0..2 {
            age(&name, FRESH_FOR);
            assert_eq!(name.addresses(soon()).await, Ok(vec![old]), "it does not wait");
            until_refreshed(&name).await;
        }
        assert_eq!(name.addresses(soon()).await, Ok(vec![old]));
        assert_eq!(
            name.script.lock().unwrap().len(),
            1,
            "fresh enough: not asked again"
        );
        age(&name, FRESH_FOR);
        name.refresh_if_old();
        until_refreshed(&name).await;
        assert_eq!(name.addresses(soon()).await, Ok(vec![new]));
        assert!(name.has(new) && !name.has(old));
    }

    #[tokio::test]
    async fn a_failed_connection_asks_at_most_once_a_second() {
        let name = Name::new("items", 80);
        let (old, new) = (at("10.0.0.1:80"), at("10.0.0.2:80"));
        *name.script.lock().unwrap() = [Ok(vec![old]), Ok(vec![old, new])].into();
        assert_eq!(name.addresses(soon()).await, Ok(vec![old]));
        assert_eq!(name.other_addresses(soon()).await, None);
        assert_eq!(name.script.lock().unwrap().len(), 1);
        age(&name, AT_MOST_EVERY);
        assert_eq!(name.other_addresses(soon()).await, Some(vec![new]));
    }

    #[tokio::test]
    async fn many_at_once_look_up_once() {
        let name = Name::new("items", 80);
        *name.script.lock().unwrap() = [Ok(vec![at("10.0.0.1:80")]), Ok(vec![at("10.0.0.2:80")])].into();
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..50 {
            let name = Arc::clone(&name);
            asking.spawn(async move { name.addresses(soon()).await });
        }
        for found in asking.join_all().await {
            assert_eq!(found, Ok(vec![at("10.0.0.1:80")]));
        }
        assert_eq!(name.script.lock().unwrap().len(), 1);
    }

    fn age(name: &Name, by: Duration) {
        let mut state = name.state();
        state.looked_up = state.looked_up.and_then(|at| at.checked_sub(by));
    }

    async fn until_refreshed(name: &Name) {
        while name.state().is_being_refreshed {
            tokio::task::yield_now().await;
        }
    }
}
