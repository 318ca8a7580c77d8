//! One request, from head to response, in named phases: sanitize → decide → refuse | forward → record.
//!
//! A newcomer reads this file and `policy/decide.rs`, and knows the product.

use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use tokio::sync::watch;

use super::body::{RequestBody, ResponseBody, discard};
use super::forward::{Forwarded, Waits, forward};
use super::headers;
use super::record::Record;
use super::respond::Reply;
use super::sanitize::SanitizedHead;
use super::verified::CachedVerifier;
use super::worker::{Connection, View, Worker};
use crate::policy::{Decision, Denial, KeyMiss, Permit, Reason, Route, decide};
use crate::snapshot::Target;
use crate::snapshot::handoff::MissAnswer;
use crate::token::UnixSeconds;

/// How long a request waits for a key that is being fetched.
const KEY_PATIENCE: Duration = Duration::from_secs(2);

impl Worker {
    /// Serves one request. Whatever happens, there is a response and a record.
    pub async fn serve(
        self: Rc<Self>,
        connection: Rc<Connection>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let request_id = self.next_id();
        let mut record = Record::start(Rc::clone(&self), &request, &request_id);
        let (parts, body) = request.into_parts();
        let reply = Reply::to(&parts, request_id);
        let view = self.view();

        let verdict = match SanitizedHead::read(&parts, &self.shared.settings.limits) {
            Ok(head) => match self.decide(view, head, &record) {
                Judged::Now(verdict) => verdict,
                // Rare and large: in a box it does not make every other request's future larger.
                Judged::AfterFetch(fetches) => Box::pin(self.decide_again(fetches, head, &record)).await,
            },
            Err(reason) => Verdict::of(view, Denial::of(reason)),
        };
        let Verdict {
            view,
            decision,
            retry_after,
        } = verdict;
        match decision {
            Decision::Forward(permit) => {
                self.forward(
                    &view,
                    permit,
                    Request::from_parts(parts, body),
                    &connection,
                    reply,
                    record,
                )
                .await
            }
            Decision::Refuse(denial) => {
                record.refused(&view, &denial);
                discard(body, &self.deadlines);
                reply.refuse(&denial, &view.snapshot.table, retry_after, record)
            }
        }
    }

    /// Decides; where only a key is lacking, asks for it.
    fn decide(&self, view: Rc<View>, head: SanitizedHead<'_>, record: &Record) -> Judged {
        let decision = self.decide_now(&view, head);
        record.decided();
        let asked = key_miss(&decision).and_then(|miss| {
            let answer = view.snapshot.misses(miss.issuer)?.ask(miss.kid, Instant::now());
            record.asked_for_key(miss.issuer, &answer);
            Some(answer)
        });
        Judged::Now(match (decision, asked) {
            (Decision::Refuse(_), Some(MissAnswer::Wait(fetches))) => return Judged::AfterFetch(fetches),
            (Decision::Refuse(denial), Some(MissAnswer::CoolingDown { retry_after })) => {
                Verdict::keys_unavailable(view, denial, retry_after)
            }
            // Absent: a set that was fetched since does not have it. A route that only reports does not wait.
            (decision, _) => Verdict {
                view,
                decision,
                retry_after: None,
            },
        })
    }

    /// Waits for a fetch, at most for a short while, and decides once more on what is known then.
    async fn decide_again(
        &self,
        mut fetches: watch::Receiver<u64>,
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
        let decision = self.decide_now(&view, head);
        let answer = key_miss(&decision)
            .and_then(|miss| Some(view.snapshot.misses(miss.issuer)?.ask(miss.kid, Instant::now())));
        match (decision, answer) {
            (Decision::Refuse(denial), Some(MissAnswer::CoolingDown { retry_after })) => {
                Verdict::keys_unavailable(view, denial, retry_after)
            }
            (Decision::Refuse(denial), Some(MissAnswer::Wait(_))) => {
                Verdict::keys_unavailable(view, denial, KEY_PATIENCE)
            }
            (decision, _) => Verdict {
                view,
                decision,
                retry_after: None,
            },
        }
    }

    fn decide_now(&self, view: &View, head: SanitizedHead<'_>) -> Decision {
        let verifier = CachedVerifier {
            tokens: &self.shared.tokens,
            generation: view.snapshot.generation,
        };
        decide(&view.snapshot.table, head.request_head(), &verifier, unix_now())
    }

    async fn forward(
        &self,
        view: &Rc<View>,
        permit: Permit,
        request: Request<Incoming>,
        connection: &Connection,
        reply: Reply,
        mut record: Record,
    ) -> Response<ResponseBody> {
        record.permitted(view, &permit);
        let route_id = permit.route();
        let refused = |reason, mut record: Record| {
            record.failed(reason);
            let denial = Denial {
                route: Some(route_id),
                ..Denial::of(reason)
            };
            reply.refuse(&denial, &view.snapshot.table, None, record)
        };
        let table = &view.snapshot.table;
        let (Some(route), Some(target), Some(server)) = (
            table.route(route_id),
            view.snapshot.target(permit.api()),
            view.server(&permit),
        ) else {
            return refused(Reason::Internal, record);
        };
        let (mut parts, body) = request.into_parts();
        let limit = route.max_body.unwrap_or(self.shared.settings.limits.body_bytes);
        if body.size_hint().lower() > limit {
            discard(body, &self.deadlines);
            return refused(Reason::BodyTooLarge, record);
        }
        headers::to_upstream(
            &mut parts,
            &view.snapshot,
            target,
            &permit,
            connection,
            &reply.request_id,
        );
        let pause = self.shared.settings.timeouts.body;
        let (body, progress) = RequestBody::new(body, limit, pause, &self.deadlines, &view.snapshot);
        record.sent_to(server, progress.as_ref());
        let request = Request::from_parts(parts, body);
        match forward(
            permit,
            request,
            progress,
            server,
            waits(route, target),
            &self.deadlines,
        )
        .await
        {
            Ok(Forwarded {
                mut response,
                lease,
                request_progress,
            }) => {
                headers::to_client(response.headers_mut());
                record.answered(response.status());
                response.map(|incoming| {
                    ResponseBody::upstream(
                        incoming,
                        target.idle_timeout,
                        &self.deadlines,
                        lease,
                        request_progress,
                        record,
                    )
                })
            }
            Err(reason) => refused(reason, record),
        }
    }
}

/// What came of the first look at a request.
enum Judged {
    Now(Verdict),
    /// Only a key is lacking, and it is being fetched.
    AfterFetch(watch::Receiver<u64>),
}

/// A decision and the view that it belongs to.
struct Verdict {
    view: Rc<View>,
    decision: Decision,
    retry_after: Option<u64>,
}

impl Verdict {
    fn of(view: Rc<View>, denial: Denial) -> Self {
        Self {
            view,
            decision: Decision::Refuse(denial),
            retry_after: None,
        }
    }

    /// Nobody can say yet whether the token is good.
    fn keys_unavailable(view: Rc<View>, denial: Denial, retry_after: Duration) -> Self {
        let denial = Denial {
            reason: Reason::KeysUnavailable,
            ..denial
        };
        Self {
            view,
            decision: Decision::Refuse(denial),
            retry_after: Some(retry_after.as_secs() + 1),
        }
    }
}

fn key_miss(decision: &Decision) -> Option<KeyMiss<'_>> {
    match decision {
        Decision::Refuse(denial) => denial.key_miss(),
        Decision::Forward(permit) => permit.shadow().and_then(Denial::key_miss),
    }
}

fn waits(route: &Route, target: &Target) -> Waits {
    Waits {
        connect: target.connect_timeout,
        head: route.timeout.unwrap_or(target.timeout),
    }
}

/// The one wall clock of the data plane.
fn unix_now() -> UnixSeconds {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| {
        UnixSeconds::try_from(since.as_secs()).unwrap_or(UnixSeconds::MAX)
    })
}
