//! How short of memory the process is: what the control loop has found out, where workers see it.
//!
//! `control` sets it about once a second; accept loops look at it for each connection, `gateway` for each request, by
//! one relaxed load. Nothing here reads anything from the system.

use std::sync::atomic::{AtomicU8, Ordering};

/// How much of its memory limit the process uses, in the three steps that matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum MemoryLevel {
    /// Enough is left, or there is no limit.
    #[default]
    Enough = 0,
    /// New requests are refused.
    Short = 1,
    /// New connections wait in the kernel's queue as well.
    Out = 2,
}

/// The level that is in force. Clones of its `Arc` are held by every worker.
#[derive(Debug, Default)]
pub struct MemoryPressure(AtomicU8);

impl MemoryPressure {
    /// This level is in force from now on.
    pub fn set(&self, level: MemoryLevel) {
        self.0.store(level as u8, Ordering::Relaxed);
    }

    /// Whether new requests are refused.
    #[inline]
    pub fn refuses_requests(&self) -> bool {
        self.0.load(Ordering::Relaxed) != MemoryLevel::Enough as u8
    }

    /// Whether new connections have to wait.
    pub(super) fn holds_connections(&self) -> bool {
        self.0.load(Ordering::Relaxed) == MemoryLevel::Out as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_asks_for_more() {
        let pressure = MemoryPressure::default();
        for (level, refuses, holds) in [
            (MemoryLevel::Enough, false, false),
            (MemoryLevel::Short, true, false),
            (MemoryLevel::Out, true, true),
            (MemoryLevel::default(), false, false),
        ] {
            pressure.set(level);
            assert_eq!(
                (pressure.refuses_requests(), pressure.holds_connections()),
                (refuses, holds)
            );
        }
    }
}
