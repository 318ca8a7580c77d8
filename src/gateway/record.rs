//! What is known of one request, and its one line and its counts at the end.
//!
//! The record travels with the request and ends up in the body of the response; when that is dropped, sent whole or
//! not, the request is over and is recorded. Nothing can leave without being counted.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::request::Parts;
use http::{Method, StatusCode, Version};

use super::client::Provenance;
use super::pool::ServerPool;
use super::request_body::RequestProgress;
use super::request_id::RequestId;
use super::trace::Trace;
use super::upstream::{ServerId, Servers};
use super::worker::{View, Worker};
use crate::policy::{Denial, Permit, Reason, RouteId};
use crate::snapshot::handoff::MissAnswer;
use crate::telemetry::{AccessRecord, Decision, RouteMetrics, Source, Stage, UnknownKid};
use crate::token::Principal;

/// The client went away before there was an answer; no status of HTTP says so.
const CLIENT_GONE: u16 = 499;

/// One request, until it is over.
#[derive(Debug)]
pub(super) struct Record {
    worker: Rc<Worker>,
    started: Instant,
    method: Method,
    version: Version,
    status: u16,
    source: Source,
    decision: Decision,
    reason: Reason,
    route: Option<(Rc<View>, RouteId)>,
    upstream: Option<Rc<ServerPool>>,
    sent_bytes: u64,
    /// What ended the response before its end.
    broke: Option<Reason>,
    /// Only where there is an access log.
    log: Option<Box<LogDetails>>,
}

#[derive(Debug)]
struct LogDetails {
    time: SystemTime,
    id: RequestId,
    client: IpAddr,
    trace: Trace,
    principal: Option<Arc<Principal>>,
    request: Option<Rc<RequestProgress>>,
    sent_at: Option<Instant>,
    upstream_duration: Option<Duration>,
    /// What came through a tunnel.
    tunnel_bytes: u64,
}

impl Record {
    pub(super) fn start(
        worker: Rc<Worker>,
        head: &Parts,
        id: &RequestId,
        source: Option<&Provenance>,
    ) -> Self {
        worker.shared.metrics.requests_in_flight.inc();
        let log = source.map(|source| {
            Box::new(LogDetails {
                time: SystemTime::now(),
                id: id.clone(),
                client: source.origin.address,
                trace: source.trace,
                principal: None,
                request: None,
                sent_at: None,
                upstream_duration: None,
                tunnel_bytes: 0,
            })
        });
        Self {
            worker,
            started: Instant::now(),
            method: head.method.clone(),
            version: head.version,
            status: CLIENT_GONE,
            source: Source::Gateway,
            decision: Decision::Deny,
            reason: Reason::Internal,
            route: None,
            upstream: None,
            sent_bytes: 0,
            broke: None,
            log,
        }
    }

    /// Whether the client wants the head of the answer only.
    pub(super) fn is_of_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The first decision is there.
    pub(super) fn decided(&self) {
        self.worker
            .shared
            .decide_timer
            .observe(self.started.elapsed().as_secs_f64());
    }

    /// A request asked an issuer's desk for a key.
    pub(super) fn asked_for_key(&self, issuer: &str, answer: &MissAnswer) {
        let action = match answer {
            MissAnswer::Wait(_) => UnknownKid::Wait,
            MissAnswer::Absent => UnknownKid::Absent,
            MissAnswer::CoolingDown { .. } => UnknownKid::Cooldown,
        };
        self.worker
            .shared
            .metrics
            .issuer(issuer)
            .unknown_kid(action)
            .inc();
    }

    /// A request waited for a key.
    pub(super) fn waited_for_key(&self, elapsed: Duration) {
        self.worker
            .shared
            .metrics
            .stage(Stage::KeyWait)
            .observe(elapsed.as_secs_f64());
    }

    /// A request waited for its token to be decrypted.
    pub(super) fn waited_for_decryption(&self, elapsed: Duration) {
        self.worker
            .shared
            .metrics
            .stage(Stage::Decrypt)
            .observe(elapsed.as_secs_f64());
    }

    /// A request waited for what an issuer says of its token.
    pub(super) fn waited_for_introspection(&self, elapsed: Duration) {
        self.worker
            .shared
            .metrics
            .stage(Stage::Introspect)
            .observe(elapsed.as_secs_f64());
    }

    /// A request waited for the token that its API key is exchanged for.
    pub(super) fn waited_for_exchange(&self, elapsed: Duration) {
        self.worker
            .shared
            .metrics
            .stage(Stage::Exchange)
            .observe(elapsed.as_secs_f64());
    }

    /// The request is refused.
    pub(super) fn refused(&mut self, view: &Rc<View>, denial: &Denial) {
        self.decided_on(
            view,
            denial.route,
            Decision::Deny,
            denial.reason,
            denial.principal.as_ref(),
        );
        self.status = denial.reason.status().as_u16();
        if let Some(detail) = &denial.detail {
            tracing::debug!(reason = denial.reason.name(), %detail, "refused");
        }
    }

    /// The request may be forwarded.
    pub(super) fn permitted(&mut self, view: &Rc<View>, permit: &Permit) {
        let (decision, reason) = match permit.shadow() {
            Some(shadow) => (Decision::ShadowDeny, shadow.reason),
            None => (Decision::Allow, permit.reason()),
        };
        self.decided_on(view, Some(permit.route()), decision, reason, permit.principal());
    }

    fn decided_on(
        &mut self,
        view: &Rc<View>,
        route: Option<RouteId>,
        decision: Decision,
        reason: Reason,
        principal: Option<&Arc<Principal>>,
    ) {
        self.decision = decision;
        self.reason = reason;
        self.route = route.map(|id| (Rc::clone(view), id));
        if let Some(log) = &mut self.log {
            log.principal = principal.cloned();
        }
        self.series().decided(decision, reason.index());
    }

    /// The request goes to a server, with this body.
    pub(super) fn sent_to(&mut self, server: &Rc<ServerPool>, request: Option<&Rc<RequestProgress>>) {
        self.upstream = Some(Rc::clone(server));
        if let Some(log) = &mut self.log {
            log.request = request.cloned();
            log.sent_at = Some(Instant::now());
        }
    }

    /// Another server may have been asked in the end.
    pub(super) fn went_to(&mut self, servers: &Servers, server: ServerId) {
        let Some(server) = servers.get(server) else { return };
        let is_known = self
            .upstream
            .as_ref()
            .is_some_and(|known| Rc::ptr_eq(known, &server.pool));
        if !is_known {
            self.upstream = Some(Rc::clone(&server.pool));
        }
    }

    /// The upstream has answered.
    pub(super) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
        self.source = Source::Upstream;
        self.upstream_is_done();
        if let Some(upstream) = &self.upstream {
            upstream.metrics.ok.inc();
        }
    }

    /// The gateway answers a permitted request by itself.
    pub(super) fn answered_here(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }

    /// A permitted request could not be forwarded, or got no answer.
    pub(super) fn failed(&mut self, reason: Reason) {
        self.status = reason.status().as_u16();
        self.reason = reason;
        self.upstream_is_done();
        let Some(upstream) = &self.upstream else { return };
        match reason {
            Reason::UpstreamConnect => upstream.metrics.connect.inc(),
            Reason::UpstreamTimeout => upstream.metrics.timeout.inc(),
            Reason::UpstreamProtocol => upstream.metrics.protocol.inc(),
            Reason::Overloaded => upstream.metrics.overloaded.inc(),
            _ => {}
        }
    }

    fn upstream_is_done(&mut self) {
        if let Some(log) = &mut self.log {
            log.upstream_duration = log.sent_at.map(|sent| sent.elapsed());
        }
    }

    /// Part of the response body was handed on.
    pub(super) fn add_sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    /// The response body broke off.
    pub(super) fn broke_off(&mut self, reason: Reason) {
        self.broke = Some(reason);
        if let Some(upstream) = &self.upstream
            && reason == Reason::UpstreamProtocol
        {
            upstream.metrics.protocol.inc();
        }
    }

    /// A tunnel is over. The reason is there where it was neither side that ended it.
    pub(super) fn tunnelled(&mut self, from_client: u64, to_client: u64, ended_by: Option<Reason>) {
        self.sent_bytes = to_client;
        self.broke = ended_by;
        if let Some(log) = &mut self.log {
            log.tunnel_bytes = from_client;
        }
    }

    fn series(&self) -> &RouteMetrics {
        self.route
            .as_ref()
            .and_then(|(view, id)| view.series.get(id.0))
            .unwrap_or(&self.worker.shared.unrouted)
    }

    fn write_log(&self, log: &LogDetails, elapsed: Duration) {
        let table = self.route.as_ref().map(|(view, id)| (&view.snapshot.table, *id));
        let route = table.and_then(|(table, id)| table.route(id));
        let api = table.and_then(|(table, _)| table.api(route?.api));
        let principal = log.principal.as_ref();
        self.worker.shared.access_log.record(&AccessRecord {
            time: log.time,
            request_id: log.id.as_str(),
            trace_id: log.trace.id(),
            address: log.client,
            api: api.map_or("", |api| &api.identifier),
            route: route.map_or("", |route| &route.pattern),
            method: self.method.as_str(),
            version: self.version,
            status: self.status,
            decision: self.decision,
            reason: self.broke.unwrap_or(self.reason).name(),
            reason_index: self.reason.index(),
            subject: principal.and_then(|principal| principal.subject()),
            client: principal.and_then(|principal| principal.client_id()),
            bytes_in: log
                .request
                .as_ref()
                .map_or(log.tunnel_bytes, |request| request.bytes.get()),
            bytes_out: self.sent_bytes,
            duration: elapsed,
            upstream_duration: log.upstream_duration,
            upstream: self.upstream.as_ref().map(|upstream| &*upstream.name),
        });
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        let metrics = &self.worker.shared.metrics;
        metrics.requests_in_flight.dec();
        metrics.request_duration.observe(elapsed.as_secs_f64());
        self.series().answered(&self.method, self.status, self.source);
        if let Some(log) = self.log.take() {
            self.write_log(&log, elapsed);
        }
    }
}
