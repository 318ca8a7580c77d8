//! An upstream behind TLS, with certificates made for it. It answers 200 and keeps what it learnt in the handshake.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;

use super::server::Watched;

/// An authority that issues certificates for a test.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate with its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Certified {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        // Two with one name would be taken for one another.
        static NEXT: AtomicUsize = AtomicUsize::new(1);
        let name = format!("authority {}", NEXT.fetch_add(1, Ordering::Relaxed));
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Its own certificate.
    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// A certificate for this name.
    pub(crate) fn issue(&self, name: &str) -> Certified {
        self.issue_with(name, |_| ())
    }

    pub(crate) fn issue_with(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Certified {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Certified {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What a handshake and a request said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TlsSeen {
    pub(crate) server_name: Option<String>,
    pub(crate) alpn: Option<String>,
    pub(crate) has_client_certificate: bool,
    pub(crate) target: String,
}

/// A running upstream; it ends when it is dropped.
pub(crate) struct TlsUpstream {
    address: SocketAddr,
    seen: Arc<Watched<Vec<TlsSeen>>>,
    _end: oneshot::Sender<()>,
}

impl TlsUpstream {
    /// Shows this certificate and speaks these protocols. With `clients`, asks for a certificate of that authority.
    pub(crate) fn start(certified: &Certified, alpn: &[&str], clients: Option<&Authority>) -> Self {
        use rustls_pki_types::pem::PemObject as _;
        let builder = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(authority) => {
                let mut roots = rustls::RootCertStore::empty();
                let pem = authority.pem();
                roots
                    .add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap())
                    .unwrap();
                let provider = Arc::new(default_provider());
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let certificate = CertificateDer::from_pem_slice(certified.certificate.as_bytes()).unwrap();
        let key = PrivateKeyDer::from_pem_slice(certified.key.as_bytes()).unwrap();
        let mut config = builder.with_single_cert(vec![certificate], key).unwrap();
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Watched::<Vec<TlsSeen>>::default());
        let for_thread = Arc::clone(&seen);
        let (end, ended) = oneshot::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                let acceptor = TlsAcceptor::from(Arc::new(config));
                let serving = async {
                    while let Ok((stream, _)) = listener.accept().await {
                        tokio::spawn(serve(acceptor.clone(), stream, Arc::clone(&for_thread)));
                    }
                };
                tokio::select! {
                    () = serving => {}
                    _ = ended => {}
                }
            });
        });
        Self {
            address,
            seen,
            _end: end,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn seen(&self) -> Vec<TlsSeen> {
        self.seen.read(Clone::clone)
    }
}

async fn serve(acceptor: TlsAcceptor, stream: tokio::net::TcpStream, seen: Arc<Watched<Vec<TlsSeen>>>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let (_, connection) = stream.get_ref();
    let handshake = TlsSeen {
        server_name: connection.server_name().map(str::to_owned),
        alpn: connection
            .alpn_protocol()
            .map(|name| String::from_utf8_lossy(name).into_owned()),
        has_client_certificate: connection.peer_certificates().is_some(),
        target: String::new(),
    };
    let is_http2 = handshake.alpn.as_deref() == Some("h2");
    let service = service_fn(move |request: Request<Incoming>| {
        let seen_now = TlsSeen {
            target: request.uri().to_string(),
            ..handshake.clone()
        };
        seen.change(|seen| seen.push(seen_now));
        async { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(b"behind TLS")))) }
    });
    let io = TokioIo::new(stream);
    if is_http2 {
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        drop(server.serve_connection(io, service).await);
    } else {
        let server = hyper::server::conn::http1::Builder::new();
        drop(server.serve_connection(io, service).await);
    }
}
