//! How many files the process may have open, and how many of them client connections may take.
//!
//! `app` asks once, at start. Connections to upstreams, key fetches, the admin listener and files need descriptors too:
//! clients never get all of them, so that running out is noticed by clients alone.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the soft limit to the hard one, and returns what is in force then; `None` for no limit.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        // What was there before is in force still.
        Err(_refused) => limit.current,
    }
}

/// How many client connections go with so many open files: each may need one to an upstream, and a reserve is kept.
pub fn connections_for(open_files: Option<u64>, wanted: usize) -> usize {
    let Some(open_files) = open_files else {
        return wanted;
    };
    let most = open_files.saturating_sub(RESERVE) / 2;
    wanted.min(usize::try_from(most).unwrap_or(usize::MAX)).max(1)
}

/// For everything that is neither a client nor an upstream.
const RESERVE: u64 = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_never_get_all() {
        assert_eq!(connections_for(None, 10_000), 10_000);
        assert_eq!(connections_for(Some(1 << 20), 10_000), 10_000);
        assert_eq!(connections_for(Some(1_024), 10_000), 480);
        assert_eq!(connections_for(Some(1_024), 100), 100);
        assert_eq!(connections_for(Some(10), 100), 1);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_open_files();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!((limit.current, raised), (limit.maximum, limit.maximum));
    }
}
