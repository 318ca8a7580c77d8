//! One thread's share of the gateway: its view of the snapshot, its connections to upstreams, its request ids.
//!
//! `app` makes one per thread; `service` serves requests with it. Workers share what is in [`Shared`] and nothing else,
//! so there is no lock on a request's path: a worker notices a new snapshot by its pointer and then builds its view.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use prometheus::Histogram;

use super::api_keys::{self, Attempts};
use super::deadline::Deadlines;
use super::decryption::Decryption;
use super::introspection;
use super::pool::ServerPool;
use super::request_id::RequestId;
use super::upstream::Servers;
use super::verified::{RecentTokens, VerifiedTokens};
use crate::net::{DrainWatcher, Limits, MemoryPressure, Timeouts};
use crate::policy::{ApiId, Permit, Requirement, RouteId};
use crate::snapshot::handoff::Reader;
use crate::snapshot::{Endpoint, Revocations, Server, Snapshot};
use crate::telemetry::{AccessLog, Metrics, RouteMetrics, Stage};
use crate::token::ProofDesk;

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
    /// Where proofs of possession are taken.
    pub proofs: ProofDesk,
    /// Which tokens are good no longer.
    pub revocations: Arc<Revocations>,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// One line per request.
    pub access_log: AccessLog,
    /// Whether requests are taken on.
    pub(super) memory: Arc<MemoryPressure>,
    pub(super) decryption: Decryption,
    introspection: introspection::Desks,
    exchange: api_keys::Desks,
    /// Wrong API keys.
    pub(super) attempts: Attempts,
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
        proofs: ProofDesk,
        revocations: Arc<Revocations>,
        metrics: Arc<Metrics>,
        access_log: AccessLog,
        memory: Arc<MemoryPressure>,
    ) -> Arc<Self> {
        Arc::new(Self {
            settings,
            tokens,
            proofs,
            revocations,
            decryption: Decryption::new(thread::available_parallelism().map_or(1, usize::from)),
            introspection: introspection::Desks::default(),
            exchange: api_keys::Desks::default(),
            attempts: Attempts::default(),
            decide_timer: metrics.stage(Stage::Decide),
            unrouted: metrics.route("", ""),
            metrics,
            access_log,
            memory,
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
    pools: RefCell<HashMap<Endpoint, Rc<ServerPool>>>,
    pub(super) deadlines: Rc<Deadlines>,
    pub(super) recent: RecentTokens,
    /// For what its connection no longer watches.
    pub(super) drain: DrainWatcher,
    /// First half of the ids of this worker's requests.
    id_prefix: u64,
    requests: Cell<u32>,
    random: Cell<u64>,
}

/// A snapshot, with what this worker keeps per route and per server.
#[derive(Debug)]
pub(super) struct View {
    pub(super) snapshot: Arc<Snapshot>,
    pub(super) series: Series,
    /// By API.
    servers: Vec<Rc<Servers>>,
    /// By API; empty where none asks anybody.
    introspection: Vec<Option<Arc<introspection::Desk>>>,
    exchange: Vec<Option<Arc<api_keys::Desk>>>,
}

impl Worker {
    /// A worker that reads snapshots from `reader`. `None` where the system has no randomness.
    pub fn new(shared: Arc<Shared>, mut reader: Reader, drain: DrainWatcher) -> Option<Rc<Self>> {
        let (mut prefix, mut seed) = ([0; 8], [0; 8]);
        getrandom::fill(&mut prefix).ok()?;
        getrandom::fill(&mut seed).ok()?;
        let mut pools = HashMap::new();
        let view = View::new(Arc::clone(reader.load()), &shared, &mut pools);
        Some(Rc::new(Self {
            shared,
            reader: RefCell::new(reader),
            view: RefCell::new(Rc::new(view)),
            pools: RefCell::new(pools),
            deadlines: Rc::default(),
            recent: RecentTokens::default(),
            drain,
            id_prefix: u64::from_le_bytes(prefix),
            requests: Cell::new(0),
            random: Cell::new(u64::from_le_bytes(seed)),
        }))
    }

    /// The current view; made anew where the snapshot is another one.
    pub(super) fn view(&self) -> Rc<View> {
        let mut reader = self.reader.borrow_mut();
        let snapshot = reader.load();
        let current = self.view.borrow();
        if Arc::ptr_eq(&current.snapshot, snapshot) {
            return Rc::clone(&current);
        }
        drop(current);
        self.recent.clear();
        let view = Rc::new(View::new(
            Arc::clone(snapshot),
            &self.shared,
            &mut self.pools.borrow_mut(),
        ));
        self.view.replace(Rc::clone(&view));
        view
    }

    /// How long a stream of a route may be silent.
    pub(super) fn stream_idle(&self, view: &View, route: RouteId) -> Duration {
        let route = view.snapshot.table.route(route);
        let own = route.and_then(|route| route.idle_timeout);
        own.unwrap_or(self.shared.settings.timeouts.stream_idle)
    }

    /// An id that no other request of this process has.
    pub(super) fn next_id(&self) -> RequestId {
        let number = self.requests.get();
        self.requests.set(number.wrapping_add(1));
        RequestId::new(self.id_prefix, number)
    }

    /// Bits that look random (splitmix64), for the ids of traces; nobody must rely on them not being guessed.
    pub(super) fn random(&self) -> u64 {
        let state = self.random.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.random.set(state);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Watches the deadlines of requests for as long as it is polled; the worker's thread does that.
    pub async fn watch_deadlines(&self) {
        self.deadlines.tick().await;
    }

    /// Lets go of upstream connections and of tokens that were at hand for too long; the worker's thread calls it now
    /// and then.
    pub fn tidy(&self) {
        for pool in self.pools.borrow().values() {
            pool.tidy();
        }
        // What is at hand here does not know how long it may be: the shared cache does, and is asked again.
        self.recent.clear();
        self.shared.tokens.count_entries();
        self.shared.access_log.tell_what_was_left_out();
    }
}

impl View {
    fn new(snapshot: Arc<Snapshot>, shared: &Shared, pools: &mut HashMap<Endpoint, Rc<ServerPool>>) -> Self {
        let max_open = shared.settings.limits.upstream_connections;
        let servers: Vec<Rc<Servers>> = snapshot
            .targets
            .iter()
            .map(|target| {
                let pool = |server: &Server| {
                    let new = || ServerPool::new(&server.endpoint, max_open, &shared.metrics);
                    let pool = pools.entry(server.endpoint.clone()).or_insert_with(new);
                    (Rc::clone(pool), Arc::clone(&server.health))
                };
                Servers::new(target.servers.iter().map(pool), target.ejection, target.waiting)
            })
            .collect();
        pools.retain(|endpoint, pool| {
            let mut servers = snapshot.targets.iter().flat_map(|target| &target.servers);
            let is_named = servers.any(|server| server.endpoint == *endpoint);
            if !is_named {
                pool.retire();
            }
            is_named
        });
        Self {
            series: shared.series(&snapshot),
            introspection: shared.introspection.of(&snapshot.introspection, |_, endpoint| {
                shared.metrics.introspection(&endpoint.asked.issuer)
            }),
            exchange: shared.exchange.of(&snapshot.exchange, |position, _| {
                let api = snapshot.table.api(ApiId(position));
                shared.metrics.exchange(api.map_or("", |api| &api.identifier))
            }),
            snapshot,
            servers,
        }
    }

    /// What the gateway itself answers, where it does.
    pub(super) fn document(&self, permit: &Permit) -> Option<&str> {
        match &self.snapshot.table.route(permit.route())?.requirement {
            Requirement::Metadata(document) => Some(document),
            Requirement::Public | Requirement::Token(_) => None,
        }
    }

    /// Where to ask about the tokens of an API.
    pub(super) fn introspection_desk(&self, api: ApiId) -> Option<&Arc<introspection::Desk>> {
        self.introspection.get(api.0)?.as_ref()
    }

    /// Where to have the keys of an API exchanged.
    pub(super) fn exchange_desk(&self, api: ApiId) -> Option<&Arc<api_keys::Desk>> {
        self.exchange.get(api.0)?.as_ref()
    }

    /// The servers of the API of a permit.
    pub(super) fn servers(&self, permit: &Permit) -> Option<&Rc<Servers>> {
        self.servers.get(permit.api().0)
    }
}
