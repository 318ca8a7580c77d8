//! A bound on wrong API keys, per client id and per address: whoever guesses is told to come again later, and the
//! issuer, to which all guesses come from this gateway, is not asked.
//!
//! A key that was right not long ago is not counted, so that nobody who knows a client id can lock its owner out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use crate::net::{Attempt, Rate, Throttle, network};
use crate::policy::KeySpace;
use crate::token::{TokenError, UnixSeconds};

/// For one client id of one API, from wherever.
const OF_CLIENT: Rate = Rate {
    burst: 5.0,
    seconds: 12.0,
};
/// From one address, whatever the client id.
const OF_ADDRESS: Rate = Rate {
    burst: 20.0,
    seconds: 3.0,
};

/// Counts wrong keys, of all workers.
#[derive(Debug, Default)]
pub(in crate::gateway) struct Attempts(Arc<Throttle>);

/// A key that may be tried.
#[derive(Debug)]
pub(super) struct Admitted {
    throttle: Arc<Throttle>,
    /// What is given back in the end; nothing where the key was wrong.
    attempt: Option<Attempt>,
}

impl Attempts {
    /// Lets a key be tried that may be wrong.
    ///
    /// # Errors
    /// [`TokenError::KeyThrottled`].
    pub(super) fn admit(
        &self,
        space: KeySpace,
        client_id: &str,
        address: IpAddr,
        now: UnixSeconds,
    ) -> Result<Admitted, TokenError> {
        let of_client = (self.0.key((space, client_id)), OF_CLIENT);
        let of_address = (self.0.key(network(address)), OF_ADDRESS);
        let attempt = self.0.admit([of_client, of_address], Instant::now());
        let attempt = attempt.map_err(|seconds| {
            let seconds = i64::try_from(seconds).unwrap_or(i64::MAX);
            TokenError::KeyThrottled {
                until: now.saturating_add(seconds),
            }
        })?;
        Ok(Admitted {
            throttle: Arc::clone(&self.0),
            attempt: Some(attempt),
        })
    }
}

impl Admitted {
    /// It was.
    pub(super) fn was_wrong(&mut self) {
        self.attempt = None;
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        if let Some(attempt) = self.attempt.take() {
            self.throttle.forgive(attempt, Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(attempts: &Attempts, client_id: &str, address: [u8; 4]) -> Result<Admitted, TokenError> {
        attempts.admit([0; 12], client_id, IpAddr::from(address), 1_000)
    }

    #[test]
    fn only_what_was_wrong_counts() {
        let attempts = Attempts::default();
        for _ in 0..100 {
            drop(admit(&attempts, "a", [192, 0, 2, 1]).unwrap());
        }
        for _ in 0..5 {
            admit(&attempts, "a", [192, 0, 2, 1]).unwrap().was_wrong();
        }
        // From elsewhere as well.
        let refused = admit(&attempts, "a", [192, 0, 2, 2]).unwrap_err();
        assert!(
            matches!(refused, TokenError::KeyThrottled { until: 1_001..=1_012 }),
            "{refused:?}"
        );
        drop(admit(&attempts, "b", [192, 0, 2, 1]).unwrap());
        let other_api = attempts.admit([1; 12], "a", IpAddr::from([192, 0, 2, 1]), 0);
        drop(other_api.unwrap());
    }

    #[test]
    fn other_names_do_not_help() {
        let attempts = Attempts::default();
        let wrong: Vec<Admitted> = (0..20)
            .map(|number| admit(&attempts, &number.to_string(), [192, 0, 2, 1]).unwrap())
            .collect();
        // Those under way count as well.
        admit(&attempts, "other", [192, 0, 2, 1]).unwrap_err();
        drop(admit(&attempts, "other", [192, 0, 2, 2]).unwrap());
        drop(wrong);
        drop(admit(&attempts, "other", [192, 0, 2, 1]).unwrap());
    }
}
