//! TLS towards clients: certificates, which of them a client is shown, client certificates, the handshake.
//!
//! `config` builds a [`ServerTls`] to see whether the files are good, `control` builds the next one when they change,
//! and accept loops shake hands with the one that is in force. There is no early data, and no session outlives the
//! files that it was made under.

mod accept;
mod certificate;
mod identities;
mod server;
mod validity;

pub use accept::{HandshakeEnd, TlsListener, TlsPeer};
pub use certificate::PairFault;
pub use identities::Identities;
pub use server::{Contents, Expiry, Role, ServerTls, TlsFault, TlsFile};
pub use validity::not_after as certificate_expiry;
