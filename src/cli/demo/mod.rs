//! `scopegate demo`: an authority, an API and the gateway in one process, and requests to paste.
//!
//! Everything is on loopback and made for the occasion: keys and secrets are fresh, and nothing outlives the process. The
//! authority and the gateway are the production ones, configured by a file that stands in memory only; what the authority
//! knows is registered over its Management API, and its tokens come from its token endpoint.

mod certificates;
mod configuration;
mod printed;
mod tenant;
mod upstream;

use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;
use tokio::time::Instant;

use super::run::Signals;
use super::{Outcome, say};
use crate::app::{self, Origin, Running, StartError};
use crate::authority::Administrator;
use crate::config::{Faults, Settings, load_with};
use crate::control::CallError;
use certificates::{CertificateError, Certificates};
use configuration::InMemory;
use tenant::Tenant;

const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9901);
const AUTHORITY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9000);
/// How long it may take until the gateway has keys and definitions.
const PATIENCE: Duration = Duration::from_secs(20);

/// What clients speak to the gateway and the authority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Plain HTTP.
    Cleartext,
    /// TLS, with certificates of an authority that is made for it.
    Tls,
}

/// Why there is no demo.
#[derive(Debug, thiserror::Error)]
enum DemoError {
    #[error("{0}")]
    System(#[from] io::Error),
    #[error("certificates: {0}")]
    Certificates(#[from] CertificateError),
    #[error("{0}")]
    Configuration(Faults),
    #[error("{0}")]
    Start(#[from] StartError),
    #[error("the authority: {0}")]
    Call(#[from] CallError),
    #[error("not ready after {} s: {}", PATIENCE.as_secs(), .0.join("; "))]
    NotReady(Vec<String>),
}

/// Runs until a signal ends it.
pub fn run(address: SocketAddr, transport: Transport, out: &mut dyn Write) -> io::Result<Outcome> {
    let (runtime, mut signals) = Signals::new()?;
    match Demo::start(address, transport, &runtime) {
        Ok(demo) => {
            demo.print(out)?;
            out.flush()?;
            runtime.block_on(signals.until_end(None));
            demo.gateway.shut_down();
            Ok(Outcome::Good)
        }
        Err(error) => {
            say(&format!("scopegate: {error}"));
            Ok(Outcome::Failed)
        }
    }
}

/// All of it, running.
struct Demo {
    gateway: Running,
    settings: Settings,
    issuer: String,
    certificates: Option<Certificates>,
    tenant: Tenant,
    _drain: crate::net::DrainTrigger,
}

impl Demo {
    fn start(address: SocketAddr, transport: Transport, runtime: &Runtime) -> Result<Self, DemoError> {
        let certificates = match transport {
            Transport::Cleartext => None,
            Transport::Tls => Some(Certificates::make(address.ip())?),
        };
        let (drain, watcher) = crate::net::drain();
        let upstream = upstream::serve(watcher)?;
        let authority = free(AUTHORITY);
        let scheme = if certificates.is_some() { "https" } else { "http" };
        let issuer = format!("{scheme}://{authority}/");
        let addresses = configuration::Addresses {
            gateway: free(address),
            admin: free(ADMIN),
            authority,
            upstream,
        };
        let sources = InMemory::new(&addresses, &issuer, certificates.as_ref());
        let path = Path::new(configuration::NAME);
        let settings = load_with(path, &sources).map_err(DemoError::Configuration)?;
        let origin = Origin {
            path: path.into(),
            sources: Arc::new(sources),
        };
        let gateway = app::start(&settings, Some(origin))?;
        let registered = register(&gateway, &issuer, certificates.as_ref(), runtime);
        let tenant = match registered {
            Ok(tenant) => tenant,
            Err(error) => {
                gateway.shut_down();
                return Err(error);
            }
        };
        Ok(Self {
            gateway,
            settings,
            issuer,
            certificates,
            tenant,
            _drain: drain,
        })
    }
}

/// Registers what the demo shows, and waits until the gateway enforces it: what is printed works at once.
fn register(
    gateway: &Running,
    issuer: &str,
    certificates: Option<&Certificates>,
    runtime: &Runtime,
) -> Result<Tenant, DemoError> {
    let Some(Administrator {
        client_id,
        client_secret,
    }) = gateway.administrator()
    else {
        return Err(DemoError::NotReady(vec!["there is no administrator".into()]));
    };
    runtime.block_on(async {
        let administrator = tenant::Application {
            name: "administrator",
            client_id: client_id.clone(),
            client_secret: client_secret.clone(),
        };
        let tls = certificates.map(Certificates::trust).transpose()?;
        let tenant = Tenant::register(issuer, administrator, tls).await?;
        let end = Instant::now() + PATIENCE;
        while let Err(missing) = gateway.ready() {
            if Instant::now() > end {
                return Err(DemoError::NotReady(missing));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(tenant)
    })
}

/// The address, or one with a free port where its own is taken.
fn free(address: SocketAddr) -> SocketAddr {
    let port = |address| TcpListener::bind(address).and_then(|listener| listener.local_addr());
    port(address)
        .or_else(|_taken| port((address.ip(), 0).into()))
        .unwrap_or(address)
}
