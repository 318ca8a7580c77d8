//! An issuer for tests: a real HTTP server that answers, or misbehaves, as it is told.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a path answers.
#[derive(Clone, Debug)]
pub(in crate::control) enum Behaviour {
    /// 200 with this body.
    Body(String),
    /// 200 with this header line and body.
    With(&'static str, String),
    /// This status line, no body.
    Status(&'static str),
    /// Nothing at all.
    Hang,
    /// A 200 whose body never ends.
    Endless,
    /// The connection is closed.
    HangUp,
}

#[derive(Clone, Debug)]
pub(in crate::control) struct TestIssuer {
    pub(in crate::control) address: SocketAddr,
    scheme: &'static str,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    paths: HashMap<String, Behaviour>,
    requests: HashMap<String, usize>,
}

impl TestIssuer {
    pub(in crate::control) async fn start() -> Self {
        Self::serve("http", None).await
    }

    pub(in crate::control) async fn start_tls(tls: TlsAcceptor) -> Self {
        Self::serve("https", Some(tls)).await
    }

    async fn serve(scheme: &'static str, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = Self {
            address: listener.local_addr().unwrap(),
            scheme,
            state: Arc::default(),
        };
        let served = issuer.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (served, tls) = (served.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => served.answer(stream).await,
                        Some(tls) => {
                            if let Ok(stream) = tls.accept(stream).await {
                                served.answer(stream).await;
                            }
                        }
                    }
                });
            }
        });
        issuer
    }

    pub(in crate::control) fn url(&self, path: &str) -> String {
        format!("{}://localhost:{}{path}", self.scheme, self.address.port())
    }

    pub(in crate::control) fn set(&self, path: &str, behaviour: Behaviour) {
        self.state.lock().unwrap().paths.insert(path.into(), behaviour);
    }

    pub(in crate::control) fn requests(&self, path: &str) -> usize {
        self.state
            .lock()
            .unwrap()
            .requests
            .get(path)
            .copied()
            .unwrap_or(0)
    }

    async fn answer(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = stream.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        let path = head.split(' ').nth(1).unwrap().to_owned();
        assert!(
            head.to_lowercase().contains("accept-encoding: identity"),
            "{head}"
        );
        let behaviour = {
            let mut state = self.state.lock().unwrap();
            *state.requests.entry(path.clone()).or_default() += 1;
            state
                .paths
                .get(&path)
                .cloned()
                .unwrap_or(Behaviour::Status("404 Not Found"))
        };
        let ok = |extra: &str, body: &str| {
            format!(
                "HTTP/1.1 200 OK\r\n{extra}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let text = match behaviour {
            Behaviour::Body(body) => ok("", &body),
            Behaviour::With(header, body) => ok(&format!("{header}\r\n"), &body),
            Behaviour::Status(status) => format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"),
            Behaviour::Hang => {
                tokio::time::sleep(Duration::from_secs(60)).await;
                return;
            }
            Behaviour::Endless => {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while stream.write_all(&[b' '; 8192]).await.is_ok() {}
                return;
            }
            Behaviour::HangUp => return,
        };
        let _ = stream.write_all(text.as_bytes()).await;
        let _ = stream.shutdown().await;
    }
}

/// A set of fresh P-256 keys with these ids.
pub(in crate::control) fn jwks(kids: &[&str]) -> String {
    let keys: Vec<_> = kids
        .iter()
        .map(|kid| {
            let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let point = pair.public_key().as_ref();
            let (x, y) = point[1..].split_at(32);
            let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
            json!({"kty": "EC", "crv": "P-256", "alg": "ES256", "use": "sig", "kid": kid, "x": encode(x), "y": encode(y)})
        })
        .collect();
    json!({ "keys": keys }).to_string()
}
