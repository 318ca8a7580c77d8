//! Responses that go on and on: event streams and gRPC. How long they may be silent, and when they end in any case.
//!
//! `service` asks once per response; a response of known length is none, and costs nothing here.

use std::rc::Rc;
use std::task::Context;
use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Response};
use http_body::SizeHint;

use super::deadline::{Deadline, Deadlines};
use super::grpc::Dialect;
use super::vigil::{Vigil, Watch};
use crate::policy::Reason;

/// Until when a response may go on, whatever its upstream still sends, and in which form its client is told.
#[derive(Debug)]
pub(super) struct StreamEnd {
    pub(super) dialect: Dialect,
    deadlines: Vec<(Deadline, Reason)>,
    /// Done when the token is revoked; `None` where no list could do that.
    revoked: Option<Watch>,
}

/// Whether a response is a stream.
pub(super) fn is_stream(response: &Response<()>, size: &SizeHint, dialect: Dialect) -> bool {
    dialect == Dialect::Grpc || (size.exact().is_none() && is_event_stream(response.headers()))
}

fn is_event_stream(fields: &HeaderMap) -> bool {
    const TYPE: &[u8] = b"text/event-stream";
    fields.get(CONTENT_TYPE).is_some_and(|value| {
        let kind = value.as_bytes().split(|&byte| byte == b';').next();
        kind.is_some_and(|kind| kind.trim_ascii().eq_ignore_ascii_case(TYPE))
    })
}

impl StreamEnd {
    /// `call` is when the client gives up (`grpc-timeout`), `good_until` when the token expires, `vigil` tells when
    /// it is revoked.
    pub(super) fn new(
        dialect: Dialect,
        call: Option<Deadline>,
        (good_until, vigil): (Option<Instant>, Option<Box<Vigil>>),
        deadlines: &Rc<Deadlines>,
    ) -> Box<Self> {
        let now = Instant::now();
        let expiry = good_until.map(|at| deadlines.after(at.saturating_duration_since(now), now));
        let ends = [
            call.map(|call| (call, Reason::UpstreamTimeout)),
            expiry.map(|expiry| (expiry, Reason::Expired)),
        ];
        Box::new(Self {
            dialect,
            deadlines: ends.into_iter().flatten().collect(),
            revoked: vigil.map(Watch::new),
        })
    }

    /// Why it is over, if it is. The task is woken when that changes.
    pub(super) fn is_over(&self, cx: &mut Context<'_>) -> Option<Reason> {
        if let Some(revoked) = &self.revoked
            && revoked.is_over(cx)
        {
            return Some(Reason::Revoked);
        }
        self.deadlines
            .iter()
            .find(|(deadline, _)| deadline.is_over(cx))
            .map(|&(_, reason)| reason)
    }
}
