//! One request, from head to response, in named phases: sanitize → decide → refuse | forward → record.
//!
//! A newcomer reads this file and `policy/decide.rs`, and knows the product.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::request::Parts;
use http::{Method, StatusCode};
use http_body::Body as _;
use tokio::sync::watch;

use super::asks::{self, Asks};
use super::body::ResponseBody;
use super::client::{Connection, Provenance};
use super::deadline::Patience;
use super::forward::{Failed, Forwarded, Waits, forward};
use super::grpc::Dialect;
use super::headers;
use super::outgoing::Outgoing;
use super::pace::Pace;
use super::record::Record;
use super::request_body::{RequestBody, RequestProgress};
use super::respond::{Reply, discard};
use super::sanitize::SanitizedHead;
use super::serving::Serving;
use super::stream::{StreamEnd, is_stream};
use super::upgrade::Handshake;
use super::verdict::{Judged, Verdict, Waiting, denial, waiting_for};
use super::verified::{CachedVerifier, OpenedVerifier};
use super::vigil::Vigil;
use super::worker::{View, Worker};
use crate::clock::unix_now;
use crate::net::http1::Room;
use crate::net::{ClientBody, ClientRequest};
use crate::policy::{Decision, Denial, Permit, Reason, decide};
use crate::snapshot::handoff::MissAnswer;
use crate::token::OpenedToken;

/// How long a request waits for a key that is being fetched.
const KEY_PATIENCE: Duration = Duration::from_secs(2);

/// A request on its way through the phases.
struct Job {
    connection: Rc<Connection>,
    /// There already where the access log tells of it.
    source: Option<Box<Provenance>>,
    parts: Box<Parts>,
    body: ClientBody,
    reply: Reply,
    record: Record,
}

impl Worker {
    /// Serves one request. Whatever happens, there is a response and a record.
    pub fn serve(self: Rc<Self>, connection: Rc<Connection>, request: ClientRequest) -> Serving {
        let ClientRequest { head: parts, body } = request;
        let given_id = connection.given_id(&parts.headers);
        let request_id = given_id.unwrap_or_else(|| self.next_id());
        let source = self
            .shared
            .access_log
            .is_on()
            .then(|| Box::new(Provenance::of(&connection, &parts.headers, || self.random())));
        let record = Record::start(Rc::clone(&self), &parts, &request_id, source.as_deref());
        let reply = Reply::to(&parts, request_id);
        let job = Job {
            connection,
            source,
            parts,
            body,
            reply,
            record,
        };

        let view = self.view();
        if self.shared.memory.refuses_requests() {
            return self.act(Verdict::of(view, Denial::of(Reason::Overloaded)), job);
        }
        let head = match SanitizedHead::read(&job.parts, &self.shared.settings.limits) {
            Ok(head) => head.on(&job.connection),
            Err(reason) => return self.act(Verdict::of(view, Denial::of(reason)), job),
        };
        if job.connection.is_misdirected(head.authority()) {
            return self.act(Verdict::of(view, Denial::of(Reason::MisdirectedRequest)), job);
        }
        match self.decide(view, head, &job.record) {
            Judged::Now(verdict) => self.act(verdict, job),
            Judged::Later(waiting) => Serving::Later(Box::pin(async move {
                let verdict = match SanitizedHead::read(&job.parts, &self.shared.settings.limits) {
                    Ok(head) => {
                        let head = head.on(&job.connection);
                        self.decide_later(waiting, head, &job.record).await
                    }
                    Err(reason) => Verdict::of(self.view(), Denial::of(reason)),
                };
                self.act(verdict, job).response().await
            })),
        }
    }

    /// Forwards or refuses.
    fn act(self: Rc<Self>, verdict: Verdict, mut job: Job) -> Serving {
        let Verdict {
            view,
            decision,
            retry_after,
        } = verdict;
        let is_token_new = self.recent.has_verified();
        match decision {
            Decision::Forward(permit) => {
                job.record.permitted(&view, &permit);
                // A preflight that is passed on goes to the upstream.
                if permit.reason() == Reason::Public
                    && job.parts.method != Method::OPTIONS
                    && let Some(document) = view.document(&permit)
                {
                    discard(job.body, &self.deadlines);
                    return Serving::now(job.reply.document(document, job.record));
                }
                if is_token_new {
                    return self.forward_in_turn(view, permit, job);
                }
                self.forward(view, permit, job)
            }
            Decision::Refuse(denial) => {
                job.record.refused(&view, &denial);
                discard(job.body, &self.deadlines);
                Room::spare(|room| room.keep_head(job.parts));
                let table = &view.snapshot.table;
                Serving::now(job.reply.refuse(&denial, table, retry_after, job.record))
            }
        }
    }

    /// Decides; where only a key is lacking, asks for it.
    fn decide(&self, view: Rc<View>, head: SanitizedHead<'_>, record: &Record) -> Judged {
        let decision = self.decide_now(&view, head);
        record.decided();
        self.judge(view, decision, record)
    }

    /// Whether a decision stands, or something is lacking that can be had.
    pub(super) fn judge(&self, view: Rc<View>, decision: Decision, record: &Record) -> Judged {
        let Some(denial) = denial(&decision) else {
            return Judged::Now(Verdict::new(view, decision));
        };
        if let Some(waiting) = waiting_for(denial) {
            return Judged::Later(waiting(Box::new(Verdict::new(view, decision))));
        }
        if let Some(until) = denial.throttled_until() {
            return Judged::Now(Verdict::throttled(view, decision, until));
        }
        let asked = denial.key_miss().and_then(|miss| {
            let answer = view.snapshot.misses(miss.issuer)?.ask(miss.kid, Instant::now());
            record.asked_for_key(miss.issuer, &answer);
            Some(answer)
        });
        Judged::Now(match (decision, asked) {
            (Decision::Refuse(_), Some(MissAnswer::Wait(fetches))) => {
                return Judged::Later(Waiting::Fetch(fetches));
            }
            (Decision::Refuse(denial), Some(MissAnswer::CoolingDown { retry_after })) => {
                Verdict::keys_unavailable(view, denial, retry_after)
            }
            // Absent: a set that was fetched since does not have it. A route that only reports does not wait.
            (decision, _) => Verdict::new(view, decision),
        })
    }

    async fn decide_later(&self, waiting: Waiting, head: SanitizedHead<'_>, record: &Record) -> Verdict {
        match waiting {
            Waiting::Fetch(fetches) => self.decide_again(fetches, None, head, record).await,
            Waiting::Opening(full) => self.open_and_decide(*full, head, record).await,
            Waiting::Introspection(full) => self.introspect_and_decide(*full, head, record).await,
            Waiting::Exchange(full) => self.exchange_and_decide(*full, head, record).await,
        }
    }

    /// Waits for a fetch, at most for a short while, and decides once more on what is known then.
    pub(super) async fn decide_again(
        &self,
        mut fetches: watch::Receiver<u64>,
        opened: Option<&OpenedToken>,
        head: SanitizedHead<'_>,
        record: &Record,
    ) -> Verdict {
        let began = Instant::now();
        // Whether the fetch ended or the patience did, the snapshot is asked again.
        let _ = self
            .deadlines
            .after(KEY_PATIENCE, began)
            .limit(fetches.changed())
            .await;
        record.waited_for_key(began.elapsed());
        let view = self.view();
        let decision = match opened {
            None => self.decide_now(&view, head),
            Some(opened) => self.decide_opened(&view, head, opened),
        };
        let answer = denial(&decision)
            .and_then(Denial::key_miss)
            .and_then(|miss| Some(view.snapshot.misses(miss.issuer)?.ask(miss.kid, Instant::now())));
        match (decision, answer) {
            (Decision::Refuse(denial), Some(MissAnswer::CoolingDown { retry_after })) => {
                Verdict::keys_unavailable(view, denial, retry_after)
            }
            (Decision::Refuse(denial), Some(MissAnswer::Wait(_))) => {
                Verdict::keys_unavailable(view, denial, KEY_PATIENCE)
            }
            (decision, _) => Verdict::new(view, decision),
        }
    }

    pub(super) fn decide_now(&self, view: &View, head: SanitizedHead<'_>) -> Decision {
        let verifier = self.verifier(view, head);
        decide(&view.snapshot.table, head.request_head(), &verifier, unix_now())
    }

    pub(super) fn decide_opened(
        &self,
        view: &View,
        head: SanitizedHead<'_>,
        opened: &OpenedToken,
    ) -> Decision {
        let verifier = OpenedVerifier {
            cached: self.verifier(view, head),
            opened,
        };
        decide(&view.snapshot.table, head.request_head(), &verifier, unix_now())
    }

    pub(super) fn verifier<'a>(&'a self, view: &View, head: SanitizedHead<'a>) -> CachedVerifier<'a> {
        CachedVerifier {
            tokens: &self.shared.tokens,
            recent: &self.recent,
            generation: view.snapshot.generation,
            proofs: &self.shared.proofs,
            revocations: &self.shared.revocations,
            head,
        }
    }

    /// Lets everything go first that is ready, twice. A verification takes as long as the rest of a request: tokens that
    /// come together are verified first and forwarded then, so that the upstream is woken once for many of them; and so
    /// are their clients.
    fn forward_in_turn(self: Rc<Self>, view: Rc<View>, permit: Permit, job: Job) -> Serving {
        Serving::Later(Box::pin(async move {
            tokio::task::yield_now().await;
            let response = self.forward(view, permit, job).response().await;
            tokio::task::yield_now().await;
            response
        }))
    }

    fn forward(self: Rc<Self>, view: Rc<View>, permit: Permit, job: Job) -> Serving {
        let Job {
            connection,
            source,
            mut parts,
            body,
            reply,
            mut record,
        } = job;
        let route_id = permit.route();
        let table = &view.snapshot.table;
        let (Some(route), Some(target), Some(servers)) = (
            table.route(route_id),
            view.snapshot.target(permit.api()),
            view.servers(&permit),
        ) else {
            return Serving::now(reply.fail(Reason::Internal, route_id, table, record));
        };
        let limit = route.max_body.unwrap_or(self.shared.settings.limits.body_bytes);
        if body.size_hint().lower() > limit {
            discard(body, &self.deadlines);
            return Serving::now(reply.fail(Reason::BodyTooLarge, route_id, table, record));
        }
        let good_until = asks::good_until(table, route, &permit);
        let vigil = Vigil::over(&self.shared.revocations, route, &permit);
        let mut asks = match Asks::read(&mut parts, &body, reply.dialect, route, (good_until, vigil)) {
            Ok(asks) => asks,
            Err(reason) => {
                discard(body, &self.deadlines);
                return Serving::now(reply.fail(reason, route_id, table, record));
            }
        };
        let Some((chosen, server)) = servers.chosen() else {
            discard(body, &self.deadlines);
            return Serving::now(reply.fail(Reason::UpstreamUnhealthy, route_id, table, record));
        };
        let found;
        let source = match &source {
            Some(source) => source,
            None => {
                found = Provenance::of(&connection, &parts.headers, || self.random());
                &found
            }
        };
        let (taken, added) = headers::to_upstream(
            &mut parts,
            &view.snapshot,
            target,
            &permit,
            source,
            &reply.request_id,
        );
        if asks.handshake.is_some() {
            Handshake::ask(&mut parts.headers);
        }
        let pause = match reply.dialect {
            Dialect::Http => self.shared.settings.timeouts.body,
            Dialect::Grpc => self.stream_idle(&view, route_id),
        };
        let pace = Pace::of(pause, &self.shared.settings.limits, reply.dialect);
        let (body, progress) = RequestBody::new(body, limit, pace, &self.deadlines, &view.snapshot);
        record.sent_to(&server.pool, progress.as_ref());
        let request = Outgoing {
            head: parts,
            added,
            body,
        };
        let (waits, servers) = (Waits::of(route, target), Rc::clone(servers));
        let pause = route.idle_timeout.unwrap_or(target.idle_timeout);
        let now = Instant::now();
        let deadline = self.deadlines.after(waits.head, now);
        let call = asks.call_time.map(|time| self.deadlines.after(time, now));
        let to = (Rc::clone(&servers), chosen);
        // In a box of its own: a future that is taken into another one has its room twice there.
        let mut forwarding = Box::pin(forward(
            permit, request, progress, to, connection, waits, deadline,
        ));
        Serving::Later(Box::pin(async move {
            let forwarded = match &call {
                None => forwarding.as_mut().await,
                Some(call) => {
                    let in_time = call.limit(forwarding.as_mut()).await;
                    in_time.unwrap_or(Err(Failed::too_late(chosen)))
                }
            };
            let mut response = match forwarded {
                Ok(forwarded) if forwarded.response.status() == StatusCode::SWITCHING_PROTOCOLS => {
                    record.went_to(&servers, forwarded.server);
                    let opened =
                        asks.open_tunnel(&self, forwarded, self.stream_idle(&view, route_id), record);
                    opened.unwrap_or_else(|record| {
                        reply.fail(Reason::UpstreamProtocol, route_id, &view.snapshot.table, record)
                    })
                }
                Ok(Forwarded {
                    mut response,
                    held,
                    request_progress,
                    server,
                }) => {
                    let (mut pause, mut end) = (pause, None);
                    if is_stream(&response, &held.size_hint(), reply.dialect) {
                        pause = self.stream_idle(&view, route_id);
                        end = Some(StreamEnd::new(
                            reply.dialect,
                            call,
                            (asks.good_until(), asks.vigil.take()),
                            &self.deadlines,
                        ));
                    }
                    record.went_to(&servers, server);
                    headers::to_client(response.headers_mut());
                    record.answered(response.status());
                    request_progress.as_deref().map(RequestProgress::answered);
                    response.map(|()| {
                        ResponseBody::upstream(
                            Patience::new(pause, &self.deadlines),
                            end,
                            held,
                            request_progress,
                            record,
                        )
                    })
                }
                Err(Failed { reason, server }) => {
                    record.went_to(&servers, server);
                    reply.fail(reason, route_id, &view.snapshot.table, record)
                }
            };
            if let Some(taken) = taken {
                taken.complete(response.status(), response.headers_mut());
            }
            response
        }))
    }
}
