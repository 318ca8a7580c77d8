//! The composition root: binds everything, starts the planes, ties them together, and takes them down in order.
//!
//! One thread runs the control loop (reconcile, keys, admin, reload), and one thread per worker serves requests with a
//! runtime of its own. What is bound here is reported back, so that port 0 can be used. Nothing else knows all parts.

mod alive;
#[cfg(feature = "authority")]
mod authority_thread;
mod control_thread;
mod following;
mod front;
mod panics;
mod shared;
mod sockets;
mod worker_thread;

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwap;
use prometheus::IntCounter;
use tokio::sync::{mpsc, watch};

use crate::config::{self, Followed, Settings};
use crate::control::{
    ApplyError, CertificateError, Certificates, ReadFile, ReconcileSettings, RevocationError, TlsListeners,
    kept,
};
use crate::net::{
    BoundListener, ConnectionEnd, ConnectionSettings, ConnectionSlots, ListenerSettings, Protocol,
    connections_for, drain, raise_open_files, worker_places,
};
use crate::policy::Reason;
use crate::snapshot::handoff::handoff;
use crate::snapshot::{ClaimsOf, CompileSettings, Plan, Snapshot, compile};
use crate::telemetry::{AccessLog, DenialLines, Metrics, Readiness};
#[cfg(feature = "authority")]
use authority_thread::{RunningAuthority, Told};
pub use control_thread::Origin;
use control_thread::{Control, Order};
use front::{Front, ProxyHeaders};
use shared::{revocations, shared};
use sockets::Sockets;
use worker_thread::WorkerThread;

/// How long the last lines of the access log may take.
const FLUSH_PATIENCE: Duration = Duration::from_secs(2);

/// A running gateway.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    access_log: AccessLog,
    readiness: Readiness,
    panics: IntCounter,
    orders: mpsc::UnboundedSender<Order>,
    control: JoinHandle<()>,
    workers: Vec<JoinHandle<()>>,
    #[cfg(feature = "authority")]
    authority: Option<RunningAuthority>,
}

/// Why the gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// A certificate, its key or an authority is not good any more.
    #[error(transparent)]
    Certificates(#[from] CertificateError),
    /// The configuration is valid, but cannot be enforced.
    #[error("cannot apply the configuration: {0}")]
    Apply(#[from] ApplyError),
    /// Nobody can say what was revoked.
    #[error("revocations: {0}")]
    Revocations(#[from] RevocationError),
    /// A definition that is followed does not fit the rest of the configuration.
    #[error("{0}")]
    Configuration(config::Faults),
    /// The authority cannot start.
    #[cfg(feature = "authority")]
    #[error("the authority cannot start: {0}")]
    Authority(crate::authority::OpenError),
    /// A file, a thread, a runtime or randomness.
    #[error("cannot start: {0}")]
    System(String),
}

/// Starts everything. With an origin, the configuration is read again when one of its files changes, and when a
/// definition that it follows does.
pub fn start(settings: &Settings, origin: Option<Origin>) -> Result<Running, StartError> {
    let mut sockets = Sockets::passed();
    let bound = settings
        .listeners
        .iter()
        .map(|listener| sockets.bind(listener.address).map(Arc::new))
        .collect::<Result<Vec<_>, StartError>>()?;
    let admin_listener = settings.admin.map(|address| sockets.bind(address)).transpose()?;
    #[cfg(feature = "authority")]
    let authority_listener = settings
        .authority
        .as_ref()
        .map(|authority| sockets.bind(authority.address))
        .transpose()?;
    sockets.warn_of_the_rest();
    let addresses = bound.iter().map(|listener| listener.address()).collect();
    let admin = admin_listener.as_ref().map(BoundListener::address);

    let registry = prometheus::Registry::new();
    let metrics = Metrics::new(&registry, Reason::names()).map_err(system)?;
    let (certificates, tls) =
        Certificates::load(&tls_listeners(settings), files_of(origin.as_ref()), &metrics)?;
    let fronts = fronts(settings, &tls, &metrics);
    let listeners: Vec<_> = bound.into_iter().zip(fronts).collect();
    let denials = DenialLines::new(
        settings.access_log.denials_per_second,
        metrics.access_log_suppressed(),
    );
    let dropped = metrics.access_log_dropped.clone();
    let access_log = AccessLog::start(&settings.access_log, dropped, denials).map_err(system)?;
    let slots = slots(settings, metrics.connections_refused.clone());
    let memory = Arc::clone(slots.memory());
    let (revocations, desk) = revocations(settings, &metrics)?;
    let shared = shared(
        settings,
        &metrics,
        access_log.clone(),
        Arc::clone(&memory),
        revocations,
    )?;
    let (publisher, reader) = handoff(nothing(settings)?);
    let (drain_trigger, drain_watcher) = drain();
    let (orders, received) = mpsc::unbounded_channel();
    let (stop_workers, stop) = watch::channel(false);

    let readiness = Readiness::new();
    let followed = Followed::default();
    let (tell, _) = watch::channel(());
    let kept_in = settings
        .definitions
        .as_ref()
        .and_then(|settings| settings.kept_in.as_deref());
    if let Some(path) = kept_in {
        followed.replace(kept(path));
    }
    #[cfg(feature = "authority")]
    let authority = match (&settings.authority, authority_listener) {
        (Some(authority), Some(listener)) => {
            let tls = tls.get(settings.listeners.len()).cloned().flatten();
            let told = Told {
                // Where a tenant elsewhere is followed, nobody asks what this one says.
                followed: match settings.definitions {
                    Some(_) => Followed::default(),
                    None => followed.clone(),
                },
                tell: tell.clone(),
            };
            let running = RunningAuthority::start(authority, listener, tls, &readiness, told)?;
            running.authority.count_with(&metrics);
            Some(running)
        }
        _ => None,
    };
    let settings = &match &origin {
        // What was read before the authority was there lacks what it tells.
        Some(origin) if settings.awaited().next().is_some() => {
            origin.load(&followed).map_err(StartError::Configuration)?
        }
        _ => settings.clone(),
    };
    let control = Control {
        reconcile: ReconcileSettings {
            publisher,
            max_token_bytes: settings.limits.token_bytes,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
        },
        admin: admin_listener,
        revocations: desk,
        shown: Arc::new(ArcSwap::from_pointee(config::redacted(settings).to_string())),
        settings: settings.clone(),
        certificates,
        origin,
        followed,
        tell,
        memory,
        drain: drain_trigger,
        stop_workers,
    };
    let control = control.spawn(received)?;
    let mut running = Running {
        addresses,
        admin,
        access_log,
        readiness: readiness.clone(),
        panics: metrics.panics.clone(),
        orders,
        control,
        workers: Vec::new(),
        #[cfg(feature = "authority")]
        authority,
    };
    for kind in ConnectionEnd::KINDS {
        metrics.connection_errors(kind);
    }
    let count = settings.workers.map_or_else(
        || thread::available_parallelism().map_or(1, usize::from),
        usize::from,
    );
    for (index, (place, handed)) in worker_places(count).into_iter().enumerate() {
        let worker = WorkerThread {
            listeners: listeners.clone(),
            connection: ConnectionSettings::new(&settings.limits, &settings.timeouts),
            shared: Arc::clone(&shared),
            reader: reader.clone(),
            slots: Arc::clone(&slots),
            drain: drain_watcher.clone(),
            place,
            handed,
            stop: stop.clone(),
            readiness: readiness.clone(),
        };
        running.workers.push(worker.spawn(index)?);
    }
    Ok(running)
}

impl Running {
    /// What the listeners are bound to, in the order of the configuration.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What the admin listener is bound to.
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// What the authority is bound to.
    #[cfg(feature = "authority")]
    pub fn authority_address(&self) -> Option<SocketAddr> {
        self.authority.as_ref().map(|authority| authority.address)
    }

    /// The authority itself.
    #[cfg(feature = "authority")]
    pub fn authority(&self) -> Option<&Arc<crate::authority::Authority>> {
        self.authority.as_ref().map(|authority| &authority.authority)
    }

    /// The administrator that a first start of the authority has made: to be shown once.
    #[cfg(feature = "authority")]
    pub fn administrator(&self) -> Option<&crate::authority::Administrator> {
        self.authority.as_ref()?.administrator.as_ref()
    }

    /// Whether requests can be decided: `/readyz`.
    ///
    /// # Errors
    /// What is missing, such as the keys of an issuer.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        self.readiness.ready()
    }

    /// From now on panics are counted and logged without what they say, and too many of them end the process with this
    /// exit code. It changes the hook of the whole process, so only who owns that calls it.
    pub fn end_process_after_panics(&self, exit_code: i32) {
        let end = move || std::process::exit(exit_code);
        std::panic::set_hook(Box::new(panics::hook(self.panics.clone(), end)));
    }

    /// Waits until the control thread has ended by itself, which is a fault: nothing keeps keys and configuration
    /// current any more, and the admin listener is gone.
    pub async fn lost(&self) {
        self.orders.closed().await;
    }

    /// Reads the configuration again, as a change of its file would. Returns at once.
    pub fn reload(&self) {
        // A control thread that has ended has nothing to reload.
        let _ = self.orders.send(Order::Reload);
    }

    /// Not ready from now on; serves what is in flight, cuts it at the deadline, and ends. Returns how many connections
    /// were cut. Blocks its thread.
    pub fn shut_down(self) -> usize {
        let (finished, is_finished) = std::sync::mpsc::channel();
        let cut = match self.orders.send(Order::Stop { finished }) {
            Ok(()) => is_finished.recv().unwrap_or(0),
            Err(_ended) => 0,
        };
        for thread in self.workers.into_iter().chain([self.control]) {
            // A thread that panicked has said so already.
            let _ = thread.join();
        }
        // After the workers: until the end, they may ask for its keys.
        #[cfg(feature = "authority")]
        if let Some(authority) = self.authority {
            authority.stop();
        }
        self.access_log.flush(FLUSH_PATIENCE);
        cut
    }
}

/// Every socket that may speak TLS: the listeners, then the authority.
fn tls_listeners(settings: &Settings) -> Vec<ListenerSettings> {
    #[cfg_attr(
        not(feature = "authority"),
        expect(unused_mut, reason = "the authority is one more")
    )]
    let mut listeners = settings.listeners.clone();
    #[cfg(feature = "authority")]
    listeners.extend(settings.authority.as_ref().map(|authority| ListenerSettings {
        address: authority.address,
        http2: true,
        tls: authority.tls.clone(),
        proxy_protocol: None,
    }));
    listeners
}

/// Where files are read from: what the configuration is read through, or the disk.
fn files_of(origin: Option<&Origin>) -> ReadFile {
    let sources = origin.map_or_else(|| Origin::file("").sources, |origin| Arc::clone(&origin.sources));
    Box::new(move |path| sources.file(path))
}

fn fronts(settings: &Settings, tls: &TlsListeners, metrics: &Metrics) -> Vec<Arc<Front>> {
    let proxy_headers = ProxyHeaders::new(&metrics.proxy_headers);
    let listeners = settings.listeners.iter().zip(tls.iter().cloned());
    let fronts = listeners.map(|(listener, tls)| {
        Arc::new(Front {
            protocol: if listener.http2 {
                Protocol::Http1OrHttp2Cleartext
            } else {
                Protocol::Http1
            },
            tls,
            proxy_protocol: listener.proxy_protocol,
            proxies: settings.trusted_proxies.clone(),
            fields: settings.forwarded_fields,
            certificate_field: settings.client_certificate_field,
            patience: settings.timeouts.handshake,
            proxy_headers: proxy_headers.clone(),
            metrics: metrics.clone(),
        })
    });
    fronts.collect()
}

/// Places for clients, as many as were asked for and as the open files allow.
fn slots(settings: &Settings, refused: IntCounter) -> Arc<ConnectionSlots> {
    let wanted = settings.limits.connections;
    let connections = connections_for(raise_open_files(), wanted);
    if connections < wanted {
        tracing::warn!(
            wanted,
            connections,
            "the limit of open files (RLIMIT_NOFILE) allows fewer connections"
        );
    }
    ConnectionSlots::new(connections, settings.limits.connections_per_address, refused)
}

/// What workers read before the first plan: no route at all.
fn nothing(settings: &Settings) -> Result<Snapshot, StartError> {
    let compile_settings = CompileSettings {
        generation: 0,
        config_hash: Arc::from(""),
        max_token_bytes: settings.limits.token_bytes,
        claims: ClaimsOf::Requests,
    };
    compile(&Plan::default(), &HashMap::new(), &compile_settings)
        .map_err(|faults| StartError::Apply(ApplyError::Faults(faults)))
}

fn system(error: impl std::fmt::Display) -> StartError {
    StartError::System(error.to_string())
}
