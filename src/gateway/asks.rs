//! What a permitted request asks for beyond one answer: another protocol, a time for the whole call; and until when
//! what it opens may go on.
//!
//! `service` reads it once, before the head is made that of the upstream request. Most requests ask for nothing.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::Response;
use http::request::Parts;

use super::body::ResponseBody;
use super::forward::Forwarded;
use super::grpc::Dialect;
use super::record::Record;
use super::upgrade::{Handshake, TunnelTimes};
use super::vigil::Vigil;
use super::worker::Worker;
use crate::clock::unix_now;
use crate::net::ClientBody;
use crate::policy::{Mode, OnExpiry, Permit, Reason, Route, RouteTable, Upgrade};
use crate::token::UnixSeconds;

/// What there is beside the answer.
#[derive(Debug)]
pub(super) struct Asks {
    pub(super) handshake: Option<Box<Handshake>>,
    /// How long a gRPC client gives the whole call.
    pub(super) call_time: Option<Duration>,
    /// Until when the token is good, where that ends a stream.
    good_until: Option<UnixSeconds>,
    /// Watches over what goes on, where the token may be revoked.
    pub(super) vigil: Option<Box<Vigil>>,
}

impl Asks {
    /// Reads the head of a permitted request. The reason is one of those of the request itself.
    pub(super) fn read(
        parts: &mut Parts,
        body: &ClientBody,
        dialect: Dialect,
        route: &Route,
        (good_until, vigil): (Option<UnixSeconds>, Option<Box<Vigil>>),
    ) -> Result<Self, Reason> {
        Ok(Self {
            handshake: match route.upgrade {
                None => None,
                Some(Upgrade::WebSocket) => Handshake::take(parts, body)?,
            },
            call_time: dialect.call_time(&parts.headers)?,
            good_until,
            vigil,
        })
    }

    /// The upstream switches protocols: to the one that was asked for, or it is at fault.
    pub(super) fn open_tunnel(
        self,
        worker: &Rc<Worker>,
        forwarded: Forwarded,
        idle: Duration,
        record: Record,
    ) -> Result<Response<ResponseBody>, Record> {
        let times = TunnelTimes {
            idle,
            good_until: self.good_until(),
        };
        match self.handshake {
            Some(handshake) => handshake.accept(worker, forwarded, (times, self.vigil), record),
            // Nobody has asked for another protocol.
            None => Err(record),
        }
    }

    /// When a stream that is opened now has to end.
    pub(super) fn good_until(&self) -> Option<Instant> {
        let left = self.good_until?.saturating_sub(unix_now());
        Instant::now().checked_add(Duration::from_secs(u64::try_from(left).unwrap_or(0)))
    }
}

/// Until when a stream may go on that is opened with this permit; `None`: as long as it likes.
pub(super) fn good_until(table: &RouteTable, route: &Route, permit: &Permit) -> Option<UnixSeconds> {
    // Where only reported is what would be refused, a token that expires changes nothing.
    if route.on_expiry == OnExpiry::Continue || route.mode == Mode::Report {
        return None;
    }
    let principal = permit.principal()?;
    Some(table.api(permit.api())?.verifier.good_until(principal))
}
