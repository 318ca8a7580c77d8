//! The authority in this process: a store in memory, a thread with a runtime of its own, loopback http.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;

use prometheus::{IntCounterVec, Opts};
use scopegate::authority::{Authority, AuthoritySettings, EncryptionKey, StoreAddress, serve_authority};
use scopegate::definition::Secret;
use scopegate::net::{BoundListener, ServerTls, TlsListener, drain};
use tokio::sync::oneshot;

use super::DEADLINE;

/// An authority that answers. Stops when it is dropped.
#[derive(Debug)]
pub(crate) struct RunningAuthority {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    /// With the trailing slash.
    pub(crate) issuer: String,
    /// Of the administrator application.
    pub(crate) client_id: String,
    /// Of the administrator application.
    pub(crate) client_secret: String,
    /// What answers, for a look behind the front door.
    pub(crate) authority: Arc<Authority>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

impl RunningAuthority {
    /// Starts with an empty store in memory, and waits until it listens.
    #[track_caller]
    pub(crate) fn start() -> Self {
        Self::with(StoreAddress::Memory)
    }

    /// Starts with a store.
    #[track_caller]
    pub(crate) fn with(store: StoreAddress) -> Self {
        Self::with_tls(store, None)
    }

    /// Starts with a store, and with TLS where there is some: for `localhost`.
    #[track_caller]
    pub(crate) fn with_tls(store: StoreAddress, tls: Option<ServerTls>) -> Self {
        let (stop, stopped) = oneshot::channel::<()>();
        let (started, has_started) = mpsc::channel();
        let origin = if tls.is_some() {
            "https://localhost:"
        } else {
            "http://127.0.0.1:"
        };
        let thread = thread::Builder::new()
            .name("authority".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build_local(Default::default())
                    .unwrap();
                runtime.block_on(async move {
                    let listener = BoundListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
                    let address = listener.address();
                    let settings = AuthoritySettings {
                        address,
                        tls: None,
                        issuer: format!("{origin}{}/", address.port()),
                        store,
                        encryption_key: EncryptionKey::Given(Secret::new("0123456789abcdef0123456789abcdef")),
                    };
                    let (authority, administrator) = Authority::open(settings).await.unwrap();
                    started
                        .send((
                            address,
                            Arc::clone(&authority),
                            administrator.map(|it| (it.client_id, String::clone(&it.client_secret))),
                        ))
                        .unwrap();
                    let (trigger, watcher) = drain();
                    let handshakes =
                        IntCounterVec::new(Opts::new("handshakes", "TLS handshakes."), &["result"]);
                    let tls = tls.map(|tls| TlsListener::new(tls, &handshakes.unwrap()));
                    let served = tokio::task::spawn_local(async move {
                        serve_authority(authority, &listener, tls, watcher).await.unwrap();
                    });
                    // Whether it was told to stop or the test is gone.
                    drop(stopped.await);
                    trigger.drain(std::time::Duration::from_millis(100)).await;
                    drop(served.await);
                });
            })
            .unwrap();
        let (address, authority, administrator) = has_started.recv_timeout(DEADLINE).unwrap();
        let (client_id, client_secret) = administrator.unwrap_or_default();
        Self {
            address,
            issuer: format!("{origin}{}/", address.port()),
            client_id,
            client_secret,
            authority,
            stop: Some(stop),
            thread: Some(thread),
        }
    }

    /// The identifier of its Management API.
    pub(crate) fn management_audience(&self) -> String {
        format!("{}api/v2/", self.issuer)
    }
}

impl Drop for RunningAuthority {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
