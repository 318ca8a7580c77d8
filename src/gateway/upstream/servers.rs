//! The servers of one API, as one worker uses them: which one a request goes to.
//!
//! Power of two choices: of two servers, the one with fewer requests of this worker in flight; of two with equally many,
//! the one whose turn it is. Workers do not know of one another's requests: what they share is which servers are well.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use crate::gateway::pool::ServerPool;
use crate::snapshot::{EjectionPlan, ServerHealth, WaitingPlan};

/// The servers of one API.
#[derive(Debug)]
pub(in crate::gateway) struct Servers {
    servers: Box<[Server]>,
    ejection: EjectionPlan,
    pub(super) waiting: WaitingPlan,
    turn: Cell<usize>,
    random: Cell<u32>,
}

/// One of them.
#[derive(Debug)]
pub(in crate::gateway) struct Server {
    pub(in crate::gateway) pool: Rc<ServerPool>,
    health: Arc<ServerHealth>,
}

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::gateway) struct ServerId(usize);

impl Servers {
    /// The servers in the order of the configuration.
    pub(in crate::gateway) fn new(
        servers: impl Iterator<Item = (Rc<ServerPool>, Arc<ServerHealth>)>,
        ejection: EjectionPlan,
        waiting: WaitingPlan,
    ) -> Rc<Self> {
        Rc::new(Self {
            servers: servers.map(|(pool, health)| Server { pool, health }).collect(),
            ejection,
            waiting,
            turn: Cell::new(0),
            random: Cell::new(0x9e37_79b9),
        })
    }

    /// The server for a request, by [`Self::choose`].
    pub(in crate::gateway) fn chosen(&self) -> Option<(ServerId, &Server)> {
        let id = self.choose()?;
        Some((id, self.get(id)?))
    }

    /// The server for a request. `None`: the checks say of every one that it is down.
    fn choose(&self) -> Option<ServerId> {
        match &*self.servers {
            [only] => (!only.health.is_down()).then_some(ServerId(0)),
            _ => self.choose_but(&[]),
        }
    }

    /// A server that is none of these.
    pub(super) fn choose_but(&self, tried: &[ServerId]) -> Option<ServerId> {
        let is_up = |id: &ServerId| self.get(*id).is_some_and(|server| !server.health.is_down());
        let is_untried = |id: &ServerId| !tried.contains(id);
        let up = self.ids().filter(is_up);
        let used = up.clone().filter(|id| !self.is_ejected(*id));
        // Where most of those that are up have been ejected, it is not they who are at fault, or nobody is left to do
        // their work: ejections count for nothing then.
        if used.clone().count() * 2 >= up.clone().count() {
            let chosen = self.choose_of(used.filter(is_untried));
            if chosen.is_some() {
                return chosen;
            }
        }
        self.choose_of(up.filter(is_untried))
    }

    fn choose_of(&self, mut ids: impl Iterator<Item = ServerId> + Clone) -> Option<ServerId> {
        let count = ids.clone().count();
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        let first = turn.checked_rem(count)?;
        let in_turn = ids.clone().nth(first)?;
        if count == 1 {
            return Some(in_turn);
        }
        // Any other one.
        let step = 1 + self.next_random() % (count - 1);
        let other = ids.nth((first + step) % count)?;
        Some(if self.in_use(other) < self.in_use(in_turn) {
            other
        } else {
            in_turn
        })
    }

    fn ids(&self) -> impl Iterator<Item = ServerId> + Clone + use<> {
        (0..self.servers.len()).map(ServerId)
    }

    /// A server of these.
    pub(in crate::gateway) fn get(&self, id: ServerId) -> Option<&Server> {
        self.servers.get(id.0)
    }

    fn in_use(&self, id: ServerId) -> usize {
        self.get(id).map_or(usize::MAX, |server| server.pool.in_use())
    }

    fn is_ejected(&self, id: ServerId) -> bool {
        self.get(id)
            .is_some_and(|server| server.health.is_ejected(Instant::now))
    }

    /// A request was answered.
    pub(in crate::gateway) fn answered(&self, id: ServerId) {
        if let Some(server) = self.get(id) {
            server.health.answered();
        }
    }

    /// A request met no server or a broken one.
    pub(in crate::gateway) fn failed(&self, id: ServerId) {
        let Some(server) = self.get(id) else { return };
        if let Some(time) = server.health.failed(Instant::now(), &self.ejection)
            && self.servers.len() > 1
        {
            tracing::warn!(server = %server.pool.name, ?time, "upstream server is passed over after failures");
        }
    }

    /// Xorshift: good enough to pick a server.
    fn next_random(&self) -> usize {
        let mut random = self.random.get();
        random ^= random << 13;
        random ^= random >> 17;
        random ^= random << 5;
        self.random.set(random);
        usize::try_from(random >> 1).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::time::Duration;

    use super::*;
    use crate::snapshot::{ServerAddress, UpstreamPlan};
    use crate::telemetry::Metrics;

    fn servers(count: u16) -> Rc<Servers> {
        let metrics = Metrics::new(&prometheus::Registry::new(), &["ok"]).unwrap();
        let addresses = (1..=count).map(|port| ServerAddress::tcp("127.0.0.1", port));
        let plan = UpstreamPlan::to(addresses.collect());
        let servers = plan.servers.iter().map(|address| {
            let pool = ServerPool::new(&plan.endpoint(address), 4, &metrics);
            (pool, Arc::default())
        });
        let ejection = EjectionPlan {
            failures: 1,
            time: Duration::from_secs(3600),
            max_time: Duration::from_secs(3600),
        };
        Servers::new(servers, ejection, plan.waiting)
    }

    /// How often each is chosen of so many times.
    fn spread(servers: &Servers, times: usize) -> HashMap<usize, usize> {
        let mut counts = HashMap::new();
        for _ in 0..times {
            *counts.entry(servers.choose().unwrap().0).or_default() += 1;
        }
        counts
    }

    #[test]
    fn equal_ones_take_turns() {
        let servers = servers(3);
        assert_eq!(
            spread(&servers, 300),
            HashMap::from([(0, 100), (1, 100), (2, 100)])
        );
    }

    #[test]
    fn those_that_are_down_or_ejected_are_passed_over() {
        let servers = servers(4);
        let health = |id: usize| &servers.servers[id].health;
        health(0).set_down(true);
        servers.failed(ServerId(1));
        assert_eq!(spread(&servers, 10), HashMap::from([(2, 5), (3, 5)]));
        // Two of three that are up: too many to do without.
        servers.failed(ServerId(2));
        assert_eq!(spread(&servers, 30).len(), 3);
        servers.answered(ServerId(2));
        assert_eq!(spread(&servers, 10), HashMap::from([(2, 5), (3, 5)]));
        for id in 1..4 {
            health(id).set_down(true);
        }
        assert_eq!(servers.choose(), None);
        health(1).set_down(false);
        assert_eq!(
            servers.choose(),
            Some(ServerId(1)),
            "ejected, but the only one that is up"
        );
    }

    #[test]
    fn one_server_alone_is_never_ejected() {
        let servers = servers(1);
        servers.failed(ServerId(0));
        assert_eq!(servers.choose(), Some(ServerId(0)));
        servers.servers[0].health.set_down(true);
        assert_eq!(servers.choose(), None);
    }

    #[test]
    fn another_one_is_tried_and_then_none() {
        let servers = servers(2);
        let first = servers.choose().unwrap();
        let second = servers.choose_but(&[first]).unwrap();
        assert_ne!(first, second);
        assert_eq!(servers.choose_but(&[first, second]), None);
        servers.failed(second);
        assert_eq!(
            servers.choose_but(&[first]),
            Some(second),
            "ejected, but better than nothing"
        );
    }
}
