//! `scopegate demo`: an issuer, an API and the gateway in one process, and requests to paste.
//!
//! Everything is on loopback and made for the occasion: the issuer's key is fresh, and nothing outlives the process.
//! The gateway is the production one, configured by a file that stands in memory only.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use serde_json::{Value, json};

use super::run::Signals;
use super::signing::{SigningError, SigningKey};
use super::{Outcome, say};
use crate::app;
use crate::config::{Settings, Sources, load_with};
use crate::net::{
    BoundListener, ConnectionSettings, ConnectionSlots, DrainWatcher, Limits, Protocol, Timeouts,
    accept_loop, drain, serve_connection,
};
use crate::token::Reading;

const AUDIENCE: &str = "https://items.example.com";
const PERMISSIONS: [(&str, &str); 3] = [
    ("read:items", "Read items"),
    ("create:items", "Create items"),
    ("delete:items", "Delete items"),
];

/// Runs until a signal ends it.
pub fn run(address: SocketAddr, out: &mut dyn Write) -> io::Result<Outcome> {
    match Demo::start(address) {
        Ok((demo, runtime, mut signals)) => {
            runtime.block_on(demo.until_ready());
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

struct Demo {
    gateway: app::Running,
    settings: Settings,
    key: Arc<SigningKey>,
    issuer: String,
    _drain: crate::net::DrainTrigger,
}

/// A request to try, and what comes of it.
struct Example {
    status: u16,
    why: &'static str,
    request: &'static str,
    token: Option<Value>,
}

impl Demo {
    fn start(
        address: SocketAddr,
    ) -> Result<(Self, tokio::runtime::Runtime, Signals), Box<dyn std::error::Error>> {
        let (runtime, signals) = Signals::new()?;
        let key = Arc::new(SigningKey::new(
            crate::definition::SigningAlg::RS256,
            None,
            "demo",
        )?);
        let (trigger, watcher) = drain();
        let upstream = serve(watcher.clone(), Arc::new(echo))?;
        let listener = BoundListener::bind(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0))?;
        let issuer = format!("http://{}/", listener.address());
        serve_on(listener, watcher, Arc::new(issuer_documents(&issuer, &key)?))?;
        let text = configuration(
            free(address),
            free(([127, 0, 0, 1], 9901).into()),
            &issuer,
            upstream,
        );
        let settings =
            load_with(Path::new("demo.yaml"), &InMemory(text)).map_err(|faults| faults.to_string())?;
        let gateway = app::start(&settings, None)?;
        Ok((
            Self {
                gateway,
                settings,
                key,
                issuer,
                _drain: trigger,
            },
            runtime,
            signals,
        ))
    }

    /// Waits for the issuer's keys, so that what is printed works at once.
    async fn until_ready(&self) {
        for _ in 0..200 {
            if self.gateway.ready().is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let address = self.gateway.addresses().first().copied();
        let base = address
            .map(|address| format!("http://{address}"))
            .unwrap_or_default();
        writeln!(
            out,
            "scopegate demo: the gateway listens on {base}, in front of an API that echoes."
        )?;
        if let Some(admin) = self.gateway.admin() {
            writeln!(
                out,
                "Metrics: http://{admin}/metrics   Ready: http://{admin}/readyz"
            )?;
        }
        writeln!(
            out,
            "The issuer is {} and the API is {AUDIENCE}; its routes:\n",
            self.issuer
        )?;
        for route in self.settings.plan.apis.iter().flat_map(|api| &api.routes) {
            let methods: Vec<&str> = route.methods.iter().map(http::Method::as_str).collect();
            let asks = match &route.require {
                crate::policy::RequirementPlan::Public => "public".into(),
                crate::policy::RequirementPlan::Token(asked) if asked.all_of.is_empty() => {
                    "a valid token".into()
                }
                crate::policy::RequirementPlan::Token(asked) => asked.all_of.join(" "),
            };
            writeln!(
                out,
                "  {:<7} {:<12} {asks}",
                methods.join(","),
                route.pattern.as_str()
            )?;
        }
        writeln!(out, "\nPaste any of these:")?;
        for example in self.examples() {
            writeln!(out, "\n# {}: {}", example.status, example.why)?;
            write!(out, "curl -i {base}{}", example.request)?;
            if let Some(claims) = &example.token {
                let token = self.token(claims).map_err(io::Error::other)?;
                write!(out, " -H 'Authorization: Bearer {token}'")?;
            }
            writeln!(out)?;
        }
        writeln!(out, "\nCtrl-C ends it.")
    }

    fn token(&self, claims: &Value) -> Result<String, SigningError> {
        let api = self
            .settings
            .plan
            .apis
            .first()
            .ok_or_else(|| SigningError::new("there is no API"))?;
        let typ = Reading::of(&api.definition).types;
        self.key.sign(typ.first().map(String::as_str), claims)
    }

    fn examples(&self) -> [Example; 6] {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let claims = |audience: &str, expires_at: u64, permissions: &[&str]| {
            Some(json!({
                "iss": self.issuer, "sub": "demo@clients", "azp": "demo", "gty": "client-credentials",
                "aud": audience, "iat": expires_at - 3_600, "exp": expires_at,
                "scope": permissions.join(" "), "permissions": permissions,
            }))
        };
        let later = now + 3_600;
        let example = |status, why, request, token| Example {
            status,
            why,
            request,
            token,
        };
        [
            example(
                200,
                "the token has read:items",
                "/items",
                claims(AUDIENCE, later, &["read:items"]),
            ),
            example(401, "there is no token", "/items", None),
            example(
                401,
                "the token has expired",
                "/items",
                claims(AUDIENCE, now - 600, &["read:items"]),
            ),
            example(
                401,
                "the token is for another API",
                "/items",
                claims("https://other.example.com", later, &["read:items"]),
            ),
            example(
                403,
                "the token lacks delete:items",
                "/items/7 -X DELETE",
                claims(AUDIENCE, later, &["read:items"]),
            ),
            example(200, "the route is public", "/health", None),
        ]
    }
}

/// The address, or one with a free port where its own is taken.
fn free(address: SocketAddr) -> SocketAddr {
    match TcpListener::bind(address) {
        Ok(_is_free) => address,
        Err(_) => TcpListener::bind((address.ip(), 0))
            .and_then(|listener| listener.local_addr())
            .unwrap_or(address),
    }
}

fn configuration(gateway: SocketAddr, admin: SocketAddr, issuer: &str, upstream: SocketAddr) -> String {
    let permissions: Vec<Value> = PERMISSIONS
        .iter()
        .map(|(value, description)| json!({ "value": value, "description": description }))
        .collect();
    let definition = json!({
        "name": "Items", "identifier": AUDIENCE, "signing_alg": "RS256",
        "enforce_policies": true, "token_dialect": "access_token_authz", "scopes": permissions,
    });
    format!(
        r#"
listeners: [{{ address: "{gateway}", http2: true }}]
admin: {{ address: "{admin}" }}
issuers: [{{ issuer: "{issuer}" }}]
access_log: {{ output: stderr, identities: plain }}
timeouts: {{ drain: 1s }}
apis:
  - definition: {definition}
    upstream: http://{upstream}
    forward: {{ identity_headers: {{ X-Auth-Subject: sub, X-Auth-Permissions: permissions }} }}
    routes:
      - {{ path: /health,       methods: [GET],    require: public }}
      - {{ path: /items,        methods: [GET],    require: read:items }}
      - {{ path: /items,        methods: [POST],   require: create:items }}
      - {{ path: "/items/{{id}}", methods: [GET],    require: read:items }}
      - {{ path: "/items/{{id}}", methods: [DELETE], require: delete:items }}
      - {{ path: /me,           methods: [GET],    require: authenticated }}
"#
    )
}

/// The one file of the demo.
struct InMemory(String);

impl Sources for InMemory {
    fn file(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone().into_bytes())
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

type Answer = dyn Fn(&Request<Incoming>) -> (u16, Value) + Send + Sync;

/// Discovery and key set of the issuer.
fn issuer_documents(
    issuer: &str,
    key: &SigningKey,
) -> Result<impl Fn(&Request<Incoming>) -> (u16, Value) + Send + Sync + 'static, SigningError> {
    let discovery = json!({ "issuer": issuer, "jwks_uri": format!("{issuer}.well-known/jwks.json") });
    let jwks: Value = serde_json::from_str(&key.jwks()?).unwrap_or_default();
    Ok(move |request: &Request<Incoming>| match request.uri().path() {
        "/.well-known/openid-configuration" => (200, discovery.clone()),
        "/.well-known/jwks.json" => (200, jwks.clone()),
        _ => (404, json!({ "error": "not found" })),
    })
}

/// What the API answers: the request as it arrived, without the credential.
fn echo(request: &Request<Incoming>) -> (u16, Value) {
    let headers: serde_json::Map<String, Value> = request
        .headers()
        .iter()
        .filter(|(name, _)| *name != http::header::AUTHORIZATION)
        .map(|(name, value)| {
            (
                name.as_str().to_owned(),
                Value::from(String::from_utf8_lossy(value.as_bytes())),
            )
        })
        .collect();
    (
        200,
        json!({ "method": request.method().as_str(), "path": request.uri().path(), "headers": headers }),
    )
}

fn serve(drain: DrainWatcher, answer: Arc<Answer>) -> io::Result<SocketAddr> {
    let listener = BoundListener::bind(SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0))?;
    let address = listener.address();
    serve_on(listener, drain, answer)?;
    Ok(address)
}

/// Serves JSON on a thread of its own.
fn serve_on(listener: BoundListener, drain: DrainWatcher, answer: Arc<Answer>) -> io::Result<()> {
    thread::Builder::new().name("demo".into()).spawn(move || {
        let Ok(runtime) = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build_local(Default::default())
        else {
            return;
        };
        runtime.block_on(async move {
            let Ok(listener) = listener.attach() else { return };
            let Ok(refused) = prometheus::IntCounter::new("refused", "Connections over the limit.") else {
                return;
            };
            let slots = ConnectionSlots::new(1_000, None, refused);
            let settings = Arc::new(ConnectionSettings::new(&Limits::default(), &Timeouts::default()));
            let watcher = drain.clone();
            accept_loop(listener, slots, drain, move |stream, _peer| {
                let (answer, settings, watcher) =
                    (Arc::clone(&answer), Arc::clone(&settings), watcher.clone());
                tokio::task::spawn_local(async move {
                    let service = service_fn(move |request| {
                        let (status, body) = answer(&request);
                        async move { Ok::<_, Infallible>(response(status, &body)) }
                    });
                    serve_connection(stream, Protocol::Http1, &settings, service, watcher).await
                });
            })
            .await;
        });
    })?;
    Ok(())
}

fn response(status: u16, body: &Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(format!("{body:#}\n"))));
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    response.headers_mut().insert(
        http::header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json"),
    );
    response
}
