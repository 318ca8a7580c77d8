//! Sockets: accepting, serving HTTP on them, connecting, draining. It knows nothing of tokens, routes or snapshots.

mod settings;

pub use settings::{Limits, ListenerSettings, Timeouts};
