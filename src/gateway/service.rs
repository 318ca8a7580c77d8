//! One request, from head to response, in named phases: sanitize → decide → refuse | forward → record.
//!
//! A newcomer reads this file and `policy/decide.rs`, and knows the product.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use http::request::Parts;
use http::{HeaderValue, Request, Response};
use hyper::body::{Body as _, Incoming};
use prometheus::Histogram;

use super::body::{RequestBody, ResponseBody};
use super::forward::{Deadlines, Forwarded, forward};
use super::headers;
use super::pool::ServerPool;
use super::record::Record;
use super::respond::{Dialect, refuse};
use super::sanitize::SanitizedHead;
use super::verified::{CachedVerifier, VerifiedTokens};
use crate::net::{Limits, Timeouts};
use crate::policy::{Decision, Denial, Permit, Reason, Route, decide};
use crate::snapshot::handoff::{MissAnswer, Reader};
use crate::snapshot::{ServerAddress, Snapshot, Target};
use crate::telemetry::{AccessLog, Metrics, RouteMetrics, Stage};
use crate::token::UnixSeconds;

/// How long a request waits for a key that is being fetched.
const KEY_PATIENCE: Duration = Duration::from_secs(2);

/// What `config` says about requests.
#[derive(Clone, Debug, Default)]
pub struct GatewaySettings {
    /// Bounds.
    pub limits: Limits,
    /// Deadlines.
    pub timeouts: Timeouts,
}

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// Bounds and deadlines.
    pub settings: GatewaySettings,
    /// The cache of verified tokens.
    pub tokens: VerifiedTokens,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// One line per request.
    pub access_log: AccessLog,
    pub(super) decide_timer: Histogram,
    /// For requests that met no route.
    pub(super) unrouted: RouteMetrics,
    /// The counters of the newest snapshot that a worker has seen.
    series: Mutex<Option<(u64, Series)>>,
}

/// The counters of the routes of one snapshot, by route.
pub(super) type Series = Arc<Vec<RouteMetrics>>;

impl Shared {
    /// Puts the parts together.
    pub fn new(
        settings: GatewaySettings,
        tokens: VerifiedTokens,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            tokens,
            decide_timer: metrics.stage(Stage::Decide),
            unrouted: metrics.route("", ""),
            metrics,
            access_log,
            series: Mutex::default(),
        })
    }

    fn series(&self, snapshot: &Snapshot) -> Series {
        let mut newest = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, series)) = &*newest
            && *generation == snapshot.generation
        {
            return Arc::clone(series);
        }
        let table = &snapshot.table;
        let series = table.routes().iter().map(|route| {
            let api = table.api(route.api).map_or("", |api| &*api.identifier);
            self.metrics.route(api, &route.pattern)
        });
        let series: Series = Arc::new(series.collect());
        *newest = Some((snapshot.generation, Arc::clone(&series)));
        series
    }
}

/// One thread's view of the gateway.
#[derive(Debug)]
pub struct Worker {
    pub(super) shared: Arc<Shared>,
    reader: RefCell<Reader>,
    view: RefCell<Rc<View>>,
    pools: RefCell<HashMap<ServerAddress, Rc<ServerPool>>>,
    /// First half of the ids of this worker's requests.
    id_prefix: u64,
    requests: Cell<u64>,
}

/// A snapshot, with what this worker keeps per route and per server.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) series: Series,
    servers: Vec<Vec<Rc<ServerPool>>>,
}

/// What is known of a client's connection; made once per connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// The address of the client.
    pub peer: SocketAddr,
    pub(super) peer_value: HeaderValue,
    pub(super) scheme_value: HeaderValue,
}

impl Connection {
    /// A connection in cleartext.
    pub fn cleartext(peer: SocketAddr) -> Self {
        let peer_value = HeaderValue::from_str(&peer.ip().to_canonical().to_string());
        Self {
            peer,
            peer_value: peer_value.unwrap_or(HeaderValue::from_static("unknown")),
            scheme_value: HeaderValue::from_static("http"),
        }
    }
}

impl Worker {
    /// A worker that reads snapshots from `reader`. `None` where the system has no randomness.
    pub fn new(shared: Arc<Shared>, mut reader: Reader) -> Option<Rc<Self>> {
        let mut prefix = [0; 8];
        aws_lc_rs::rand::fill(&mut prefix).ok()?;
        let mut pools = HashMap::new();
        let view = View::new(Arc::clone(reader.load()), &shared, &mut pools);
        Some(Rc::new(Self {
            shared,
            reader: RefCell::new(reader),
            view: RefCell::new(Rc::new(view)),
            pools: RefCell::new(pools),
            id_prefix: u64::from_le_bytes(prefix),
            requests: Cell::new(0),
        }))
    }

    /// Serves one request. Whatever happens, there is a response and a record.
    pub async fn serve(
        self: Rc<Self>,
        connection: Rc<Connection>,
        request: Request<Incoming>,
    ) -> Response<ResponseBody> {
        let request_id = self.next_id();
        let mut record = Record::start(Rc::clone(&self), &request, &request_id);
        let (parts, body) = request.into_parts();
        let dialect = Dialect::of(&parts);
        let view = self.view();

        let verdict = match SanitizedHead::read(&parts, &self.shared.settings.limits) {
            Ok(head) => self.decide(view, head, &record).await,
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
                    parts,
                    body,
                    dialect,
                    &connection,
                    request_id,
                    record,
                )
                .await
            }
            Decision::Refuse(denial) => {
                record.refused(&view, &denial);
                refuse(
                    &denial,
                    &view.snapshot.table,
                    dialect,
                    retry_after,
                    &request_id,
                    record,
                )
            }
        }
    }

    /// Decides; where only a key is lacking, waits for it and decides once more.
    async fn decide(&self, view: Rc<View>, head: SanitizedHead<'_>, record: &Record) -> Verdict {
        let started = Instant::now();
        let decision = self.decide_now(&view, head);
        record.decided(started.elapsed());
        let Some(miss) = key_miss(&decision) else {
            return Verdict {
                view,
                decision,
                retry_after: None,
            };
        };
        let Some(misses) = view.snapshot.misses(miss.issuer) else {
            return Verdict {
                view,
                decision,
                retry_after: None,
            };
        };
        let answer = misses.ask(miss.kid, Instant::now());
        record.asked_for_key(miss.issuer, &answer);
        let Decision::Refuse(denial) = decision else {
            // A route that only reports does not keep its requests waiting.
            return Verdict {
                view,
                decision,
                retry_after: None,
            };
        };
        match answer {
            MissAnswer::Absent => Verdict::of(view, denial),
            MissAnswer::CoolingDown { retry_after } => Verdict::keys_unavailable(view, denial, retry_after),
            MissAnswer::Wait(mut fetches) => {
                // Whether the fetch ended or the patience did, the snapshot is asked again.
                let began = Instant::now();
                let _ = tokio::time::timeout(KEY_PATIENCE, fetches.changed()).await;
                record.waited_for_key(began.elapsed());
                let view = self.view();
                self.decide_again(view, head)
            }
        }
    }

    fn decide_again(&self, view: Rc<View>, head: SanitizedHead<'_>) -> Verdict {
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

    #[allow(clippy::too_many_arguments, reason = "the phases of one request, called once")]
    async fn forward(
        &self,
        view: &Rc<View>,
        permit: Permit,
        mut parts: Parts,
        body: Incoming,
        dialect: Dialect,
        connection: &Connection,
        request_id: HeaderValue,
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
            refuse(&denial, &view.snapshot.table, dialect, None, &request_id, record)
        };
        let table = &view.snapshot.table;
        let (Some(route), Some(target), Some(server)) = (
            table.route(route_id),
            view.snapshot.target(permit.api()),
            view.server(&permit),
        ) else {
            return refused(Reason::Internal, record);
        };
        let limit = route.max_body.unwrap_or(self.shared.settings.limits.body_bytes);
        if body.size_hint().lower() > limit {
            return refused(Reason::BodyTooLarge, record);
        }
        headers::to_upstream(
            &mut parts,
            &view.snapshot,
            target,
            &permit,
            connection,
            &request_id,
        );
        let pause = self.shared.settings.timeouts.body;
        let (body, progress) = RequestBody::new(body, limit, pause, &view.snapshot);
        record.sent_to(server, progress.as_ref());
        let request = Request::from_parts(parts, body);
        match forward(permit, request, progress, server, deadlines(route, target)).await {
            Ok(Forwarded {
                mut response,
                lease,
                request_progress,
            }) => {
                headers::to_client(response.headers_mut());
                record.answered(response.status());
                response.map(|incoming| {
                    ResponseBody::upstream(incoming, target.idle_timeout, lease, request_progress, record)
                })
            }
            Err(reason) => refused(reason, record),
        }
    }

    /// The current view; made anew where the snapshot is another one.
    fn view(&self) -> Rc<View> {
        let mut reader = self.reader.borrow_mut();
        let snapshot = reader.load();
        let current = self.view.borrow();
        if Arc::ptr_eq(&current.snapshot, snapshot) {
            return Rc::clone(&current);
        }
        drop(current);
        let view = Rc::new(View::new(
            Arc::clone(snapshot),
            &self.shared,
            &mut self.pools.borrow_mut(),
        ));
        self.view.replace(Rc::clone(&view));
        view
    }

    /// 24 hexadecimal digits that no other request of this process has.
    fn next_id(&self) -> HeaderValue {
        let number = self.requests.get();
        self.requests.set(number.wrapping_add(1));
        let mut text = [0; 24];
        hex(&mut text, self.id_prefix, number);
        HeaderValue::from_bytes(&text).unwrap_or(HeaderValue::from_static("0"))
    }

    /// Closes upstream connections that have been idle for too long; the worker's thread calls it now and then.
    pub fn tidy(&self) {
        for pool in self.pools.borrow().values() {
            pool.tidy();
        }
        self.shared.tokens.count_entries();
    }
}

impl View {
    fn new(
        snapshot: Arc<Snapshot>,
        shared: &Shared,
        pools: &mut HashMap<ServerAddress, Rc<ServerPool>>,
    ) -> Self {
        let max_open = shared.settings.limits.upstream_connections;
        let servers: Vec<Vec<Rc<ServerPool>>> = snapshot
            .targets
            .iter()
            .map(|target| {
                let pool = |address: &ServerAddress| {
                    let new = || ServerPool::new(address.clone(), max_open, &shared.metrics);
                    Rc::clone(pools.entry(address.clone()).or_insert_with(new))
                };
                target.servers.iter().map(pool).collect()
            })
            .collect();
        pools.retain(|address, pool| {
            let is_named = snapshot
                .targets
                .iter()
                .any(|target| target.servers.contains(address));
            if !is_named {
                pool.close_idle();
            }
            is_named
        });
        Self {
            series: shared.series(&snapshot),
            snapshot,
            servers,
        }
    }

    /// The server for a request: the one with fewer requests in flight of the first and one other.
    fn server(&self, permit: &Permit) -> Option<&Rc<ServerPool>> {
        self.servers
            .get(permit.api().0)?
            .iter()
            .min_by_key(|server| server.in_use())
    }
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

fn key_miss(decision: &Decision) -> Option<crate::policy::KeyMiss<'_>> {
    match decision {
        Decision::Refuse(denial) => denial.key_miss(),
        Decision::Forward(permit) => permit.shadow().and_then(Denial::key_miss),
    }
}

fn deadlines(route: &Route, target: &Target) -> Deadlines {
    Deadlines {
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

fn hex(text: &mut [u8; 24], prefix: u64, number: u64) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let value = u128::from(prefix) << 32 | u128::from(number & 0xffff_ffff);
    for (index, digit) in text.iter_mut().rev().enumerate() {
        let nibble = usize::try_from(value >> (index * 4) & 0xf).unwrap_or_default();
        *digit = DIGITS.get(nibble).copied().unwrap_or(b'0');
    }
}
