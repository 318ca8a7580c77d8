//! A bound on wrong secrets and wrong passwords, per name and address and per address.
//!
//! A flood from one address empties the buckets of that address only. How buckets work is in `net::Throttle`.

use std::net::IpAddr;
use std::time::Instant;

use crate::net::{self, Attempt, Rate, network};

/// Counts attempts.
#[derive(Debug)]
pub(super) struct Throttle(net::Throttle);

/// Whose name an attempt is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Name<'a> {
    /// A client.
    Client(&'a str),
    /// A user.
    User(&'a str),
}

/// For one name from one address.
const OF_NAME: Rate = Rate {
    burst: 10.0,
    seconds: 12.0,
};
/// From one address, whatever the name.
const OF_ADDRESS: Rate = Rate {
    burst: 100.0,
    seconds: 1.0,
};

impl Throttle {
    pub(super) fn new() -> Self {
        Self(net::Throttle::default())
    }

    /// Lets an attempt through, or says in how many seconds to come again.
    pub(super) fn admit(&self, name: Name<'_>, address: IpAddr, now: Instant) -> Result<Attempt, u64> {
        let address = network(address);
        let of_name = (self.0.key((name, address)), OF_NAME);
        self.0.admit([of_name, (self.0.key(address), OF_ADDRESS)], now)
    }

    /// The attempt was right.
    pub(super) fn forgive(&self, attempt: Attempt, now: Instant) {
        self.0.forgive(attempt, now);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_flood_empties_its_own_buckets() {
        let throttle = Throttle::new();
        let (now, bad, good) = (Instant::now(), address("192.0.2.1"), address("192.0.2.2"));
        let client = Name::Client("c1");
        for _ in 0..10 {
            throttle.admit(client, bad, now).unwrap();
        }
        assert_eq!(throttle.admit(client, bad, now).unwrap_err(), 12);
        // Another address, another client, another kind of name.
        throttle.admit(client, good, now).unwrap();
        throttle.admit(Name::Client("c2"), bad, now).unwrap();
        throttle.admit(Name::User("c1"), bad, now).unwrap();
        // One comes back in time.
        let later = now + Duration::from_secs(12);
        throttle.admit(client, bad, later).unwrap();
        assert_eq!(throttle.admit(client, bad, later).unwrap_err(), 12);
        assert_eq!(
            throttle
                .admit(client, bad, later + Duration::from_secs(9))
                .unwrap_err(),
            3
        );
    }

    #[test]
    fn names_do_not_help() {
        let throttle = Throttle::new();
        let (now, bad) = (Instant::now(), address("192.0.2.1"));
        for number in 0..100 {
            let name = number.to_string();
            throttle.admit(Name::Client(&name), bad, now).unwrap();
        }
        assert_eq!(throttle.admit(Name::Client("other"), bad, now).unwrap_err(), 1);
    }

    #[test]
    fn right_ones_cost_nothing() {
        let throttle = Throttle::new();
        let (now, from) = (Instant::now(), address("192.0.2.1"));
        for _ in 0..1_000 {
            let attempt = throttle.admit(Name::Client("c1"), from, now).unwrap();
            throttle.forgive(attempt, now);
        }
    }
}
