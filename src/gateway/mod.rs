//! The data plane: one request from head to response. With `net`, the only async code on a request's path.
//!
//! Read `service` first. A worker is one thread: nothing in here is shared between workers but the snapshot, the caches
//! of tokens, the threads that decrypt, the desks where issuers are asked about tokens and for tokens, metrics and the access log. It
//! must never write the snapshot, and never do I/O other than forwarding and those questions.

mod api_keys;
mod asks;
mod body;
mod certificate;
mod client;
mod deadline;
mod decryption;
mod desk;
mod forward;
mod grpc;
mod headers;
mod hex;
mod introspection;
mod outgoing;
mod pace;
mod places;
mod pool;
mod record;
mod refused;
mod request_body;
mod request_id;
mod respond;
mod sanitize;
mod service;
mod serving;
mod stream;
mod trace;
mod upgrade;
mod upstream;
mod verdict;
mod verified;
mod vigil;
mod websocket;
mod worker;

pub use api_keys::exchange_once;
pub use body::{BodyError, ResponseBody};
pub use certificate::CertificateField;
pub use client::{Connection, ForwardedFields};
pub use introspection::introspect_once;
pub use sanitize::SanitizedHead;
pub use serving::Serving;
pub use verified::VerifiedTokens;
pub use worker::{GatewaySettings, Shared, Worker};
