//! How many client connections are open, in all and from one address.
//!
//! The accept loops take a slot for each connection, before anything is read from it; whoever owns the socket owns the
//! slot. Never on the path of a request.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus::IntCounter;

use crate::net::MemoryPressure;

/// The bounds on open client connections of the process, shared by every accept loop.
#[derive(Debug)]
pub struct ConnectionSlots {
    open: AtomicUsize,
    limit: usize,
    /// `None`: an address may have as many as it likes.
    by_address: Option<ByAddress>,
    refused: IntCounter,
    /// While memory is out, none is given.
    memory: Arc<MemoryPressure>,
}

#[derive(Debug)]
struct ByAddress {
    limit: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

/// A place among the open connections.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<ConnectionSlots>,
    /// Whose it is; `None` while nobody's.
    network: Option<IpAddr>,
}

impl ConnectionSlots {
    /// At most `limit` connections at a time, and at most `per_address` of one client; those turned away are counted in
    /// `refused`.
    pub fn new(limit: usize, per_address: Option<usize>, refused: IntCounter) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            limit,
            by_address: per_address.map(|limit| ByAddress {
                limit,
                open: Mutex::default(),
            }),
            refused,
            memory: Arc::default(),
        })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many were turned away.
    pub fn refused(&self) -> u64 {
        self.refused.get()
    }

    /// Whether there is memory for more connections; enough until somebody who watches it says otherwise.
    pub fn memory(&self) -> &Arc<MemoryPressure> {
        &self.memory
    }

    pub(super) fn take(self: &Arc<Self>, client: IpAddr) -> Option<Slot> {
        let mut slot = self.take_for_somebody()?;
        slot.belongs_to(client).then_some(slot)
    }

    /// A place for a client that is not known yet.
    pub(super) fn take_for_somebody(self: &Arc<Self>) -> Option<Slot> {
        let taken = self
            .open
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |open| {
                (open < self.limit).then(|| open.saturating_add(1))
            });
        if taken.is_err() {
            self.refused.inc();
            return None;
        }
        Some(Slot {
            slots: Arc::clone(self),
            network: None,
        })
    }
}

impl Slot {
    /// Counts it with this client from now on; whether the client may have one more. Said at most once of a slot that was
    /// taken for somebody.
    pub(super) fn belongs_to(&mut self, client: IpAddr) -> bool {
        let Some(by_address) = &self.slots.by_address else {
            return true;
        };
        let network = network(client);
        if !by_address.take(network) {
            self.slots.refused.inc();
            return false;
        }
        self.network = Some(network);
        true
    }
}

impl ByAddress {
    fn take(&self, network: IpAddr) -> bool {
        let mut open = self.open();
        let count = open.entry(network).or_default();
        let is_free = *count < self.limit;
        *count += usize::from(is_free);
        is_free
    }

    fn give_back(&self, network: IpAddr) {
        let mut open = self.open();
        if let Some(count) = open.get_mut(&network) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&network);
            }
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // Nothing under this lock can panic half-way.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.slots.open.fetch_sub(1, Ordering::Relaxed);
        if let (Some(by_address), Some(network)) = (&self.slots.by_address, self.network) {
            by_address.give_back(network);
        }
    }
}

/// What one client can be taken to hold: an IPv4 address, or the 64 bits that an IPv6 network is given as a whole.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(limit: usize, per_address: Option<usize>) -> Arc<ConnectionSlots> {
        ConnectionSlots::new(limit, per_address, IntCounter::new("refused", "refused").unwrap())
    }

    #[test]
    fn one_address_does_not_take_the_places_of_others() {
        let slots = slots(10, Some(2));
        let take = |address: &str| slots.take(address.parse().unwrap());
        let (first, _second) = (take("192.0.2.1").unwrap(), take("::ffff:192.0.2.1").unwrap());
        assert!(take("192.0.2.1").is_none());
        let _other = take("192.0.2.2").unwrap();
        assert_eq!((slots.open(), slots.refused()), (3, 1));
        drop(first);
        let _third = take("192.0.2.1").unwrap();
        let _six = (
            take("2001:db8:0:1::1").unwrap(),
            take("2001:db8:0:1:ffff::1").unwrap(),
        );
        assert!(take("2001:db8:0:1::3").is_none());
        assert!(take("2001:db8:0:2::1").is_some());
    }

    #[test]
    fn what_is_given_back_leaves_nothing_behind() {
        let slots = slots(1, Some(1));
        for number in 0..1_000_u32 {
            let held = slots.take(IpAddr::from(number.to_be_bytes()));
            assert!(held.is_some());
            assert!(slots.take(IpAddr::from([127, 0, 0, 1])).is_none());
        }
        assert_eq!(slots.open(), 0);
        assert!(slots.by_address.as_ref().unwrap().open().is_empty());
    }
}
