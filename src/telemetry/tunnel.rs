//! How tunnels end: a closed list, for the log and for the label of the metric.
//!
//! `gateway::upgrade` says it, `metrics` counts it. Nothing of what went through a tunnel belongs here.

/// How a tunnel came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TunnelEnd {
    /// By its client or its upstream.
    Closed,
    /// Nothing moved for too long.
    Idle,
    /// The token that opened it is good no longer.
    Expired,
    /// The token that opened it was revoked.
    Revoked,
    /// The process ends.
    Drained,
    /// A connection broke.
    Broken,
}

impl TunnelEnd {
    /// Every end.
    pub(super) const ALL: [Self; 6] = [
        Self::Closed,
        Self::Idle,
        Self::Expired,
        Self::Revoked,
        Self::Drained,
        Self::Broken,
    ];

    /// As a label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Idle => "idle",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
            Self::Drained => "drained",
            Self::Broken => "broken",
        }
    }
}
