//! Certificates, and clients that speak TLS.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use rustls::{
    ClientConfig, ClientConnection, ProtocolVersion, RootCertStore, StreamOwned, SupportedProtocolVersion,
    version,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use super::DEADLINE;
use super::client::head;

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// The kind of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Rsa,
    Ecdsa,
    Ed25519,
}

/// Somebody who issues certificates.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        Self {
            issuer: CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap(),
        }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn issue(&self, names: &[&str]) -> Pair {
        self.issue_for(names, Kind::Ecdsa, 2099)
    }

    pub(crate) fn issue_for(&self, names: &[&str], kind: Kind, until: i32) -> Pair {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2020, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = match kind {
            Kind::Rsa => KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048),
            Kind::Ecdsa => KeyPair::generate(),
            Kind::Ed25519 => KeyPair::generate_for(&rcgen::PKCS_ED25519),
        };
        let key = key.unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Pair {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}

/// What a client speaks, whom it trusts, what it shows.
#[derive(Clone)]
pub(crate) struct TlsClient {
    config: ClientConfig,
}

impl TlsClient {
    pub(crate) fn trusting(authority: &Authority) -> Self {
        Self::with(authority, None, &[&version::TLS13, &version::TLS12])
    }

    pub(crate) fn showing(authority: &Authority, pair: &Pair) -> Self {
        Self::with(authority, Some(pair), &[&version::TLS13, &version::TLS12])
    }

    pub(crate) fn with(
        authority: &Authority,
        shown: Option<&Pair>,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(authority.issuer.der().clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(roots);
        let config = match shown {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let chain = CertificateDer::pem_slice_iter(pair.certificate.as_bytes());
                let key = PrivateKeyDer::from_pem_slice(pair.key.as_bytes()).unwrap();
                builder
                    .with_client_auth_cert(chain.collect::<Result<_, _>>().unwrap(), key)
                    .unwrap()
            }
        };
        Self { config }
    }

    /// Offers these application protocols.
    pub(crate) fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    /// Would send requests before the handshake is over, if it may.
    pub(crate) fn with_early_data(mut self) -> Self {
        self.config.enable_early_data = true;
        self
    }

    /// Shakes hands as a client that asks for `name`, which may be an address.
    pub(crate) fn connect(&self, address: SocketAddr, name: &str) -> io::Result<TlsSession> {
        self.connect_after(b"", address, name)
    }

    /// The same, after some bytes in cleartext.
    pub(crate) fn connect_after(
        &self,
        early: &[u8],
        address: SocketAddr,
        name: &str,
    ) -> io::Result<TlsSession> {
        let mut stream = TcpStream::connect_timeout(&address, DEADLINE)?;
        stream.set_read_timeout(Some(DEADLINE))?;
        stream.set_write_timeout(Some(DEADLINE))?;
        stream.set_nodelay(true)?;
        stream.write_all(early)?;
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let mut session = ClientConnection::new(Arc::new(self.config.clone()), name).unwrap();
        // Whether a session from before allows it.
        let may_send_early = session.early_data().is_some();
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(TlsSession {
            stream: StreamOwned::new(session, stream),
            may_send_early,
        })
    }

    /// One HTTP/2 request to `https://{host}{path}`, on a connection that asked for `name`.
    pub(crate) fn http2(&self, address: SocketAddr, name: &str, host: &str, path: &str) -> (u16, String) {
        let config = Arc::new(self.clone().offering(&["h2"]).config);
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let asking = async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let connector = tokio_rustls::TlsConnector::from(config);
            let stream = connector.connect(name, stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            drop(tokio::spawn(connection));
            let request = Request::builder()
                .uri(format!("https://{host}{path}"))
                .body(Full::<Bytes>::default())
                .unwrap();
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            (head.status.as_u16(), String::from_utf8_lossy(&body).into_owned())
        };
        runtime
            .block_on(async { tokio::time::timeout(DEADLINE, asking).await })
            .expect("too slow")
    }
}

/// One connection over TLS.
#[derive(Debug)]
pub(crate) struct TlsSession {
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Whether the server has offered to take requests before the handshake is over.
    pub(crate) may_send_early: bool,
}

impl TlsSession {
    pub(crate) fn version(&self) -> Option<ProtocolVersion> {
        self.stream.conn.protocol_version()
    }

    pub(crate) fn protocol(&self) -> Option<String> {
        let protocol = self.stream.conn.alpn_protocol();
        protocol.map(|name| String::from_utf8_lossy(name).into_owned())
    }

    /// Whether a former session was resumed.
    pub(crate) fn is_resumed(&self) -> bool {
        self.stream.conn.handshake_kind() == Some(rustls::HandshakeKind::Resumed)
    }

    pub(crate) fn certificate(&self) -> CertificateDer<'static> {
        let chain = self.stream.conn.peer_certificates().unwrap();
        chain[0].clone().into_owned()
    }

    /// Status and body of a `GET` on this connection, which stays open.
    pub(crate) fn get(&mut self, target: &str, fields: &[(&str, &str)]) -> io::Result<(u16, String)> {
        self.stream.write_all(&head("GET", target, fields, None))?;
        let mut text = Vec::new();
        let (start, length) = loop {
            if let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&text[..end]).to_lowercase();
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
                text.drain(..end + 4);
                break (head, length.unwrap_or(0));
            }
            self.more(&mut text)?;
        };
        while text.len() < length {
            self.more(&mut text)?;
        }
        let status = start.get(9..12).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, start))?;
        Ok((status, String::from_utf8_lossy(&text).into_owned()))
    }

    /// Sends bytes as they are, and reads until the other side closes.
    pub(crate) fn exchange(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut answer = Vec::new();
        // However it ends, what has come is what counts.
        drop(self.stream.write_all(bytes));
        drop(self.stream.read_to_end(&mut answer));
        answer
    }

    fn more(&mut self, text: &mut Vec<u8>) -> io::Result<()> {
        let mut part = [0; 4096];
        match self.stream.read(&mut part)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            count => {
                text.extend_from_slice(&part[..count]);
                Ok(())
            }
        }
    }
}
