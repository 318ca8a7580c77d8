//! Every reason through the front door: status, challenge, body, metric and access log say the same word, and a refused
//! request never reaches the upstream.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use scopegate::definition::{SigningAlg, TokenDialect};
use scopegate::policy::Reason;
use serde_json::{Value, json};

use crate::harness::gateway::{ITEMS, decisions};
use crate::harness::http1::Response;
use crate::harness::issuer::{Draft, now};
use crate::harness::{Behaviour, Client, Gateway, Http2Client, Issuer, IssuerMode, Upstream, eventually};
use crate::support::seal::{Recipient, Seal};

/// What stands around the gateway of the table.
struct World {
    issuer: Issuer,
    down: Issuer,
    /// The canary of nearly every case.
    upstream: Upstream,
    /// For cases in which the upstream is at fault.
    faulty: Upstream,
    /// Behind one connection.
    narrow: Upstream,
    gateway: Gateway,
    /// Where nobody listens.
    closed: String,
}

impl World {
    fn start() -> Self {
        let (issuer, down) = (Issuer::start(), Issuer::start());
        down.set_mode(IssuerMode::Down);
        let (upstream, faulty, narrow) = (Upstream::start(), Upstream::start(), Upstream::start());
        let closed = {
            let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
            listener.local_addr().unwrap()
        };
        let yaml = configuration(&issuer, &down, [&upstream, &faulty, &narrow], closed);
        let key = Recipient::fixture("P-256", 0).pem();
        let gateway = Gateway::start_unready(&yaml, &[("jwe.pem", &key)]);
        crate::harness::eventually("the keys of the issuer that is up", || {
            gateway.ready().is_err_and(|missing| missing.len() == 1)
        });
        Self {
            issuer,
            down,
            upstream,
            faulty,
            narrow,
            gateway,
            closed: closed.to_string(),
        }
    }

    fn draft(&self) -> Draft {
        let dialect = TokenDialect::AccessToken;
        let draft = self.issuer.draft(SigningAlg::RS256, dialect, ITEMS);
        draft.claim("scope", "read:items")
    }

    fn token(&self, change: impl FnOnce(Draft) -> Draft) -> String {
        self.issuer.sign(&change(self.draft()))
    }

    fn requests(&self) -> usize {
        self.upstream.requests() + self.faulty.requests() + self.narrow.requests()
    }
}

fn configuration(
    issuer: &Issuer,
    down: &Issuer,
    [upstream, faulty, narrow]: [&Upstream; 3],
    closed: SocketAddr,
) -> String {
    let (issuer, down) = (issuer.identifier(), down.identifier());
    let (upstream, faulty, narrow) = (upstream.url(), faulty.url(), narrow.url());
    format!(
        "workers: 1
limits: {{ upstream_connections: 1 }}
timeouts: {{ body: 400ms }}
issuers:
  - issuer: {issuer}
  - issuer: {down}
apis:
  - definition: &definition
      identifier: {ITEMS}
      signing_alg: RS256
      scopes: [{{ value: read:items }}, {{ value: write:items }}]
    issuers: [{issuer}]
    max_age: 1h
    upstream: {upstream}
    routes:
      - {{ path: /public, require: public }}
      - {{ path: /items, methods: [GET, HEAD, POST], require: read:items, max_body: 1KiB }}
      - {{ path: /items, methods: [PUT], require: write:items }}
      - {{ path: /client, require: {{ clients: [another] }} }}
      - {{ path: /claim, require: {{ claims: {{ org_id: [org_1] }} }} }}
      - {{ path: /step, require: {{ step_up: {{ within: 15m, acr: [gold] }} }} }}
  - definition:
      identifier: urn:permissions
      signing_alg: RS256
      token_dialect: access_token_authz
      enforce_policies: true
      scopes: [{{ value: read:items }}]
    issuers: [{issuer}]
    hosts: [permissions.test]
    upstream: {upstream}
    routes: [{{ path: /items, require: read:items }}]
  - definition: {{ identifier: urn:sealed, signing_alg: RS256 }}
    issuers: [{issuer}]
    hosts: [sealed.test]
    decryption_keys: [file:jwe.pem]
    accept_unencrypted: false
    upstream: {upstream}
    routes: [{{ path: /items, require: authenticated }}]
  - definition: {{ identifier: urn:cookie, signing_alg: RS256 }}
    issuers: [{issuer}]
    hosts: [cookie.test]
    tokens: {{ from: [{{ cookie: sid }}] }}
    upstream: {upstream}
    routes: [{{ path: /items, require: authenticated }}]
  - definition: {{ identifier: urn:unwell, signing_alg: RS256 }}
    hosts: [unwell.test]
    issuers: [{issuer}]
    upstream: {{ servers: ['http://{closed}'], health: {{ path: /healthz }} }}
    routes: [{{ path: /items, require: public }}]
  - definition: {{ identifier: urn:down, signing_alg: RS256 }}
    issuers: [{down}]
    hosts: [down.test]
    upstream: {upstream}
    routes: [{{ path: /items, require: authenticated }}]
  - definition: {{ identifier: urn:closed, signing_alg: RS256 }}
    issuers: [{issuer}]
    hosts: [closed.test]
    upstream: http://{closed}
    routes: [{{ path: /items, require: public }}]
  - definition: {{ identifier: urn:faulty, signing_alg: RS256 }}
    issuers: [{issuer}]
    hosts: [faulty.test]
    upstream: {faulty}
    routes:
      - {{ path: /slow, require: public, timeout: 300ms }}
      - {{ path: /broken, require: public }}
  - definition: {{ identifier: urn:narrow, signing_alg: RS256 }}
    issuers: [{issuer}]
    hosts: [narrow.test]
    upstream: {narrow}
    routes: [{{ path: /items, require: public }}]
"
    )
    .replace("&definition", "")
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Asked {
    method: &'static str,
    target: String,
    host: &'static str,
    fields: Vec<(&'static str, String)>,
    body: Body,
}

#[derive(Clone, Debug, PartialEq)]
enum Body {
    None,
    /// So many bytes, after their number.
    Length(usize),
    /// So many bytes, in chunks.
    Chunked(usize),
    /// Less than was said, and then nothing.
    Stalled,
}

fn ask(target: &str) -> Asked {
    Asked {
        method: "GET",
        target: target.into(),
        host: "localhost",
        fields: Vec::new(),
        body: Body::None,
    }
}

impl Asked {
    fn method(mut self, method: &'static str) -> Self {
        self.method = method;
        self
    }

    fn host(mut self, host: &'static str) -> Self {
        self.host = host;
        self
    }

    fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.fields.push((name, value.into()));
        self
    }

    fn token(self, token: impl AsRef<str>) -> Self {
        self.field("authorization", format!("Bearer {}", token.as_ref()))
    }

    fn body(mut self, body: Body) -> Self {
        self.body = body;
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut text = format!(
            "{} {} HTTP/1.1\r\nhost: {}\r\n",
            self.method, self.target, self.host
        );
        for (name, value) in &self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&match self.body {
            Body::None => "\r\n".to_owned(),
            Body::Length(count) => format!("content-length: {count}\r\n\r\n{}", "x".repeat(count)),
            Body::Chunked(count) => {
                let body = "x".repeat(count);
                format!("transfer-encoding: chunked\r\n\r\n{count:x}\r\n{body}\r\n0\r\n\r\n")
            }
            Body::Stalled => "content-length: 10\r\n\r\nxxx".to_owned(),
        });
        text.into_bytes()
    }
}

/// One row of the table.
struct Case {
    name: &'static str,
    reason: Reason,
    status: u16,
    /// Labels of metric and log.
    api: &'static str,
    route: &'static str,
    /// The `error` of the challenge: `None` for no challenge, `Some("")` for one without an error.
    error: Option<&'static str>,
    /// What the challenge says besides.
    challenge: &'static str,
    asked: Asked,
}

fn case(name: &'static str, reason: Reason, status: u16, asked: Asked) -> Case {
    Case {
        name,
        reason,
        status,
        api: ITEMS,
        route: "/items",
        error: match status {
            401 => Some("invalid_token"),
            _ => None,
        },
        challenge: "",
        asked,
    }
}

impl Case {
    fn on(mut self, api: &'static str, route: &'static str) -> Self {
        (self.api, self.route) = (api, route);
        self
    }

    fn unrouted(self) -> Self {
        self.on("", "")
    }

    fn error(mut self, error: &'static str) -> Self {
        self.error = Some(error);
        self
    }

    fn challenge(mut self, text: &'static str) -> Self {
        self.challenge = text;
        self
    }

    /// Whether the request goes to an upstream, whatever comes of it.
    fn is_forwarded(&self) -> bool {
        matches!(
            self.reason,
            Reason::Ok | Reason::Public | Reason::UpstreamTimeout | Reason::UpstreamProtocol
        )
    }

    /// A request was allowed, and then failed: the decision was `allow`.
    fn decision(&self) -> (&'static str, &'static str) {
        match self.reason {
            Reason::Ok => ("allow", "ok"),
            Reason::UpstreamConnect
            | Reason::UpstreamTimeout
            | Reason::UpstreamProtocol
            | Reason::UpstreamUnhealthy
            | Reason::Overloaded
            | Reason::Public => ("allow", "public"),
            Reason::BodyTooLarge | Reason::RequestTimeout => ("allow", "ok"),
            other => ("deny", other.name()),
        }
    }
}

/// Reasons that no request can bring about.
const UNREACHABLE: [(Reason, &str); 22] = [
    (
        Reason::Internal,
        "a permit whose route is not in its own snapshot: a fault of the gateway",
    ),
    (
        Reason::MisdirectedRequest,
        "needs TLS with several certificates; `tls.rs` meets it",
    ),
    (
        Reason::Revoked,
        "needs a list of revoked tokens; `revocations.rs` meets it",
    ),
    (Reason::Inactive, BY_INTROSPECTION),
    (Reason::IntrospectionUnavailable, BY_INTROSPECTION),
    (Reason::BadApiKey, BY_KEY),
    (Reason::ApiKeyNotGranted, BY_KEY),
    (Reason::ApiKeyThrottled, BY_KEY),
    (Reason::ExchangeUnavailable, BY_KEY),
    (Reason::DpopDowngrade, BY_DPOP),
    (Reason::DpopInvalid, BY_DPOP),
    (Reason::DpopWrongKey, BY_DPOP),
    (Reason::DpopWrongMethod, BY_DPOP),
    (Reason::DpopWrongAddress, BY_DPOP),
    (Reason::DpopStale, BY_DPOP),
    (Reason::DpopFuture, BY_DPOP),
    (Reason::DpopWrongToken, BY_DPOP),
    (Reason::DpopNonce, BY_DPOP),
    (Reason::DpopReplay, BY_DPOP),
    (Reason::DpopStoreFull, BY_DPOP),
    (Reason::TokenUnbound, BY_DPOP),
    (
        Reason::CertificateMismatch,
        "needs a client certificate; `mtls.rs` meets it",
    ),
];

const BY_KEY: &str = "an API that takes keys: see `api_keys.rs`";
const BY_INTROSPECTION: &str = "needs an issuer that is asked; `introspection.rs` meets it";
const BY_DPOP: &str = "needs a proof; `dpop.rs` meets it";

fn request_cases(world: &World) -> Vec<Case> {
    use Reason as R;
    let good = world.token(|draft| draft);
    let items = || ask("/items").token(&good);
    vec![
        case("allowed", R::Ok, 200, items()),
        case("public", R::Public, 200, ask("/public")).on(ITEMS, "/public"),
        case("no route", R::NoRoute, 404, ask("/nowhere").token(&good)).unrouted(),
        case(
            "another method",
            R::MethodNotAllowed,
            405,
            items().method("DELETE"),
        )
        .unrouted(),
        case("trace", R::MethodNotAllowed, 405, items().method("TRACE")).unrouted(),
        case(
            "an expectation",
            R::ExpectationFailed,
            417,
            items().field("expect", "200-ok"),
        )
        .unrouted(),
        case("dot segments", R::BadPath, 400, ask("/public/%2e%2e/items")).unrouted(),
        case("an encoded slash", R::BadPath, 400, ask("/items%2f1")).unrouted(),
        case(
            "a name with an underscore",
            R::BadRequest,
            400,
            items().field("x_user", "1"),
        )
        .unrouted(),
        case("a host that is none", R::BadRequest, 400, items().host("a b")).unrouted(),
        case(
            "a long target",
            R::UriTooLong,
            414,
            ask(&format!("/items?{}", "x".repeat(9_000))),
        )
        .unrouted(),
        case(
            "large fields",
            R::HeadersTooLarge,
            431,
            items().field("x-large", "x".repeat(33_000)),
        )
        .unrouted(),
        case(
            "a large body",
            R::BodyTooLarge,
            413,
            items().method("POST").body(Body::Length(1_025)),
        ),
        case(
            "large chunks",
            R::BodyTooLarge,
            413,
            items().method("POST").body(Body::Chunked(1_025)),
        ),
        case(
            "a body that stalls",
            R::RequestTimeout,
            408,
            items().method("POST").body(Body::Stalled),
        ),
        case("no token", R::MissingToken, 401, ask("/items")).error(""),
        case(
            "another scheme",
            R::MissingToken,
            401,
            ask("/items").field("authorization", "Basic YTpi"),
        )
        .error(""),
        case("two tokens", R::MultipleTokens, 400, items().token(&good)).error("invalid_request"),
        case(
            "no one token",
            R::MalformedAuthorization,
            400,
            ask("/items").token(format!("{good}, x")),
        )
        .error("invalid_request"),
        case("another site", R::CrossSite, 403, {
            let cookie = ask("/items").method("POST").host("cookie.test");
            cookie
                .field("cookie", "sid=x")
                .field("origin", "https://evil.test")
        })
        .on("urn:cookie", "/items"),
        case("keys unavailable", R::KeysUnavailable, 503, {
            let draft = world
                .down
                .draft(SigningAlg::RS256, TokenDialect::AccessToken, "urn:down");
            ask("/items").host("down.test").token(world.down.sign(&draft))
        })
        .on("urn:down", "/items"),
        case(
            "nobody listens",
            R::UpstreamConnect,
            502,
            ask("/items").host("closed.test"),
        )
        .on("urn:closed", "/items"),
        case(
            "no answer",
            R::UpstreamTimeout,
            504,
            ask("/slow").host("faulty.test"),
        )
        .on("urn:faulty", "/slow"),
        case(
            "no HTTP",
            R::UpstreamProtocol,
            502,
            ask("/broken").host("faulty.test"),
        )
        .on("urn:faulty", "/broken"),
        case(
            "all servers down",
            R::UpstreamUnhealthy,
            503,
            ask("/items").host("unwell.test"),
        )
        .on("urn:unwell", "/items"),
        case("full", R::Overloaded, 503, ask("/items").host("narrow.test")).on("urn:narrow", "/items"),
    ]
}

fn token_cases(world: &World) -> Vec<Case> {
    use Reason as R;
    let good = world.token(|draft| draft);
    let with = |change: &dyn Fn(Draft) -> Draft| ask("/items").token(world.token(change));
    let (head, signature) = good.rsplit_once('.').unwrap();
    let (first, rest) = signature.split_at(1);
    let forged = format!("{head}.{}{rest}", if first == "A" { "B" } else { "A" });
    let symmetric = {
        let draft = world
            .issuer
            .draft(SigningAlg::HS256, TokenDialect::AccessToken, ITEMS);
        world.issuer.sign(&draft)
    };
    let permissions = {
        let draft = world.draft().claim("aud", "urn:permissions");
        world.issuer.sign(&draft.claim("permissions", json!(["other"])))
    };
    let foreign = Recipient::fixture("P-256", 1).seal(&Seal::new("ECDH-ES", "A256GCM"), good.as_bytes());
    vec![
        case(
            "no JWT",
            R::MalformedToken,
            401,
            ask("/items").token("not-a-token"),
        ),
        case(
            "a critical extension",
            R::MalformedToken,
            401,
            with(&|draft| draft.header("crit", json!(["exp"]))),
        ),
        case(
            "a large token",
            R::TokenTooLarge,
            401,
            ask("/items").token("x".repeat(17_000)),
        ),
        case(
            "alg none",
            R::UnsupportedAlg,
            401,
            with(&|draft| draft.header("alg", "none")),
        ),
        case(
            "another algorithm",
            R::AlgMismatch,
            401,
            ask("/items").token(symmetric),
        ),
        case("only signed", R::Unencrypted, 401, {
            ask("/items").host("sealed.test").token(&good)
        })
        .on("urn:sealed", "/items"),
        case("sealed for another", R::DecryptionFailed, 401, {
            ask("/items").host("sealed.test").token(foreign)
        })
        .on("urn:sealed", "/items"),
        case(
            "an unknown key",
            R::UnknownKid,
            401,
            with(&|draft| draft.header("kid", "unknown")),
        ),
        case(
            "a forged signature",
            R::BadSignature,
            401,
            ask("/items").token(forged),
        ),
        case(
            "an ID token",
            R::WrongType,
            401,
            with(&|draft| draft.claim("nonce", "n")),
        ),
        case(
            "another type",
            R::WrongType,
            401,
            with(&|draft| draft.header("typ", "at+jwt")),
        ),
        case(
            "another issuer",
            R::IssuerMismatch,
            401,
            with(&|draft| draft.claim("iss", world.down.identifier())),
        ),
        case(
            "another audience",
            R::AudienceMismatch,
            401,
            with(&|draft| draft.claim("aud", "urn:other")),
        ),
        case(
            "expired",
            R::Expired,
            401,
            with(&|draft| draft.claim("exp", now() - 60)),
        ),
        case(
            "not yet",
            R::NotYetValid,
            401,
            with(&|draft| draft.claim("nbf", now() + 3_600)),
        ),
        case(
            "from the future",
            R::IssuedInFuture,
            401,
            with(&|draft| draft.claim("iat", now() + 3_600)),
        ),
        case(
            "old",
            R::TooOld,
            401,
            with(&|draft| draft.claim("iat", now() - 7_200)),
        ),
        case(
            "no exp",
            R::MissingClaim,
            401,
            with(&|draft| draft.without("exp")),
        ),
        case(
            "exp in words",
            R::MalformedClaim,
            401,
            with(&|draft| draft.claim("exp", "tomorrow")),
        ),
        case(
            "bound to a key",
            R::DpopMissing,
            401,
            with(&|draft| draft.claim("cnf", json!({"jkt": "x"}))),
        ),
        case("bound to a certificate", R::CertificateMissing, 401, {
            with(&|draft| draft.claim("cnf", json!({"x5t#S256": "x"})))
        }),
        case(
            "no scope",
            R::InsufficientScope,
            403,
            ask("/items").method("PUT").token(&good),
        )
        .error("insufficient_scope")
        .challenge(", scope=\"write:items\""),
        case("a scope that only begins alike", R::InsufficientScope, 403, {
            with(&|draft| draft.claim("scope", "read:items:all READ:ITEMS"))
        })
        .error("insufficient_scope")
        .challenge(", scope=\"read:items\""),
        case("no permission", R::InsufficientPermission, 403, {
            ask("/items").host("permissions.test").token(permissions)
        })
        .on("urn:permissions", "/items")
        .error("insufficient_scope")
        .challenge(", scope=\"read:items\""),
        case(
            "another client",
            R::ClientNotAllowed,
            403,
            ask("/client").token(&good),
        )
        .on(ITEMS, "/client"),
        case("another claim", R::ClaimMismatch, 403, ask("/claim").token(&good)).on(ITEMS, "/claim"),
        case("no step-up", R::StepUpRequired, 401, ask("/step").token(&good))
            .on(ITEMS, "/step")
            .error("insufficient_user_authentication")
            .challenge(", max_age=\"900\", acr_values=\"gold\""),
    ]
}

/// A `traceparent` of its own, by which the line of the access log is found.
fn trace() -> (String, String) {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let id = format!("{:032x}", NEXT.fetch_add(1, Ordering::Relaxed));
    let value = format!("00-{id}-00f067aa0ba902b7-01");
    (id, value)
}

/// The challenge that a case must bring.
fn challenge(case: &Case, text: &str) -> Option<String> {
    let realm = format!("Bearer realm=\"{}\"", case.api);
    match case.error? {
        "" => Some(realm),
        error => Some(format!(
            "{realm}, error=\"{error}\", error_description=\"{text}\"{}",
            case.challenge
        )),
    }
}

/// Prepares the upstream that a case needs. What is returned must be let go afterwards.
fn prepare(world: &World, case: &Case) -> Option<Client> {
    match case.reason {
        Reason::UpstreamTimeout => world.faulty.next(Behaviour::Hang),
        Reason::UpstreamProtocol => world
            .faulty
            .next(Behaviour::RawAndClose(b"what?\r\n\r\n".to_vec())),
        Reason::Overloaded => {
            let before = world.narrow.requests();
            world.narrow.next(Behaviour::Hold(Box::new(Behaviour::Echo)));
            let mut holder = world.gateway.client();
            holder.send(case.asked.bytes());
            world.narrow.wait_for_requests(before + 1);
            return Some(holder);
        }
        Reason::UpstreamUnhealthy => eventually("the check of the upstream", || {
            let metrics = world.gateway.metrics();
            metrics.value("scopegate_upstream_healthy", &[("upstream", &world.closed)]) == 0.0
        }),
        _ => {}
    }
    None
}

fn release(world: &World, holder: Option<Client>) {
    if let Some(mut holder) = holder {
        world.narrow.release();
        assert_eq!(holder.response().status, 200);
        // What it was counted is not what is looked for.
        world.gateway.until_idle();
    }
}

/// What all forms of an answer share: the canary, the metric and the log.
fn check_traces(world: &World, case: &Case, trace: &str, contacted: usize, counted: f64) {
    let name = case.name;
    let line = world.gateway.folder.log_line("trace_id", trace);
    let (decision, reason) = case.decision();
    let word = case.reason.name();
    assert_eq!(line["reason"], word, "{name}: {line}");
    assert_eq!(line["decision"], decision, "{name}: {line}");
    assert_eq!(line["status"], case.status, "{name}: {line}");
    assert_eq!(line["api"], case.api, "{name}: {line}");
    assert_eq!(line["route"], case.route, "{name}: {line}");
    let counted = counter(world, case) - counted;
    assert_eq!(
        counted, 1.0,
        "{name}: {decision} {reason} on {} {}",
        case.api, case.route
    );
    let expected = usize::from(case.is_forwarded());
    assert_eq!(
        world.requests() - contacted,
        expected,
        "{name}: requests at the upstream"
    );
}

fn counter(world: &World, case: &Case) -> f64 {
    let (decision, reason) = case.decision();
    let labels = [
        ("api", case.api),
        ("route", case.route),
        ("decision", decision),
        ("reason", reason),
    ];
    decisions(&world.gateway.metrics(), &labels)
}

fn check_http1(world: &World, case: &Case) {
    let name = case.name;
    let holder = prepare(world, case);
    let (contacted, counted) = (world.requests(), counter(world, case));
    let (trace, traceparent) = trace();
    let mut client = world.gateway.client();
    client.send(case.asked.clone().field("traceparent", traceparent).bytes());
    let response = client.response_to(case.asked.method);
    assert_eq!(response.status, case.status, "{name}: {}", response.text());
    if case.status != 200 {
        check_body(case, &response, &trace, world);
    }
    check_traces(world, case, &trace, contacted, counted);
    release(world, holder);
}

fn check_body(case: &Case, response: &Response, trace: &str, world: &World) {
    let name = case.name;
    let body = response.json();
    let word = case.reason.name();
    assert_eq!(body["reason"], word, "{name}");
    let error = case.error.filter(|error| !error.is_empty()).unwrap_or(word);
    assert_eq!(body["error"], error, "{name}");
    let text = body["error_description"].as_str().unwrap();
    assert!(!text.is_empty());
    assert_eq!(
        response.field("www-authenticate"),
        challenge(case, text).as_deref(),
        "{name}"
    );
    assert_eq!(response.field("content-type"), Some("application/json"), "{name}");
    assert_eq!(response.field("cache-control"), Some("no-store"), "{name}");
    assert_eq!(
        response.field("retry-after").is_some(),
        case.status == 503,
        "{name}"
    );
    assert_eq!(response.field("allow").is_some(), case.status == 405, "{name}");
    let line = world.gateway.folder.log_line("trace_id", trace);
    assert_eq!(body["request_id"], line["request_id"], "{name}");
    let keys: Vec<&String> = body.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        ["error", "error_description", "reason", "request_id"],
        "{name}"
    );
}

/// `HEAD` gets the same head and no body, and the connection goes on; but not after a malformed message, since nobody can
/// say where the next one begins.
fn check_head(world: &World, case: &Case) {
    let name = case.name;
    let (trace, traceparent) = trace();
    let asked = case
        .asked
        .clone()
        .method("HEAD")
        .field("traceparent", traceparent);
    let contacted = world.requests();
    let mut client = world.gateway.client();
    client.send(asked.bytes());
    let response = client.response_to("HEAD");
    let same = case.status;
    assert_eq!(response.status, same, "{name}");
    if case.reason == Reason::BadRequest {
        assert_eq!(response.head.field("connection"), Some("close"), "{name}");
        client.send(b"GET /nowhere HTTP/1.1\r\nhost: a.test\r\n\r\n");
        assert!(!matches!(client.try_response_to("GET"), Ok(Some(_))), "{name}");
    } else {
        assert_eq!(
            client.get("/nowhere", &[]).status,
            404,
            "{name}: the connection goes on"
        );
    }
    let line = world.gateway.folder.log_line("trace_id", &trace);
    assert_eq!(line["reason"], case.reason.name(), "{name}");
    assert_eq!(world.requests(), contacted, "{name}");
}

/// gRPC: 200 and a status of its own, over HTTP/2.
fn check_grpc(world: &World, case: &Case) {
    let name = case.name;
    let holder = prepare(world, case);
    let (contacted, counted) = (world.requests(), counter(world, case));
    let (trace, traceparent) = trace();
    let asked = case.asked.clone().field("traceparent", traceparent);
    let mut fields: Vec<(&str, &str)> = vec![("content-type", "application/grpc+proto")];
    fields.extend(asked.fields.iter().map(|(name, value)| (*name, value.as_str())));
    let mut client = Http2Client::connect(world.gateway.http2_address());
    let target = format!("http://{}{}", asked.host, asked.target);
    let body = match asked.body {
        Body::None => Vec::new(),
        Body::Length(count) | Body::Chunked(count) => vec![b'x'; count],
        Body::Stalled => unreachable!("left out"),
    };
    let response = client
        .request(asked.method, &target, &fields, &body)
        .unwrap_or_else(|error| panic!("{name}: {error:?}"));
    assert_eq!(response.status, 200, "{name}");
    let field = |name: &str| response.headers.get(name).map(|value| value.to_str().unwrap());
    assert_eq!(field("content-type"), Some("application/grpc"), "{name}");
    let expected = match case.status {
        401 => "16",
        403 => "7",
        404 | 405 => "5",
        400 | 414 | 417 => "3",
        413 | 431 => "8",
        408 | 504 => "4",
        503 if case.reason == Reason::Overloaded => "8",
        502 | 503 => "14",
        other => panic!("{other}"),
    };
    assert_eq!(field("grpc-status"), Some(expected), "{name}");
    let message = field("grpc-message").unwrap();
    assert!(
        message.starts_with(&format!("{}: ", case.reason.name())),
        "{name}: {message}"
    );
    assert!(response.body.is_empty() && response.trailers.is_none(), "{name}");
    // The log has the status that the reason stands for; on the wire every gRPC answer is 200.
    check_traces(world, case, &trace, contacted, counted);
    release(world, holder);
}

#[test]
fn every_reason_is_the_same_everywhere() {
    let world = World::start();
    let mut cases = request_cases(&world);
    cases.extend(token_cases(&world));
    for case in &cases {
        check_http1(&world, case);
    }
    for reason in Reason::ALL {
        let is_tested = cases.iter().any(|case| case.reason == reason);
        let is_excepted = UNREACHABLE.iter().any(|(unreachable, _)| *unreachable == reason);
        assert!(
            is_tested != is_excepted,
            "{reason:?} needs a case, or a place in the list of exceptions"
        );
    }
    for case in cases
        .iter()
        .filter(|case| case.asked.method == "GET" && case.status != 200)
    {
        if !case.is_forwarded() && case.reason != Reason::Overloaded {
            check_head(&world, case);
        }
    }
    world.gateway.until_idle();
}

#[test]
fn grpc_clients_are_told_in_their_own_way() {
    let world = World::start();
    let mut cases = request_cases(&world);
    cases.extend(token_cases(&world));
    // What HTTP/2 itself refuses, what is no refusal, and what one connection cannot show.
    let is_left_out =
        |case: &Case| case.status == 200 || case.asked.host == "a b" || case.asked.body == Body::Stalled;
    for case in cases.iter().filter(|case| !is_left_out(case)) {
        check_grpc(&world, case);
    }
    world.gateway.until_idle();
}

#[test]
fn series_do_not_grow_with_what_clients_send() {
    let world = World::start();
    let good = world.token(|draft| draft);
    let mut client = world.gateway.client();
    let mut ask = |n: usize| {
        let target = format!("/nowhere/{n}?x={n}");
        let host = format!("host-{n}.test");
        assert_eq!(client.get(&target, &[("host", &host)]).status, 404);
        let token = format!("Bearer {good}x{n}");
        let fields = [("authorization", token.as_str())];
        client.request("GET", "/items", &fields, b"");
        client.request("FROB", &format!("/items?{n}"), &[], b"");
    };
    // Every kind of refusal that such tokens meet, by their lengths.
    (100..130).for_each(&mut ask);
    let before = world.gateway.metrics().series();
    (130..400).for_each(&mut ask);
    let after = world.gateway.metrics().series();
    assert_eq!(before, after);
}

#[test]
fn nothing_that_was_sent_comes_back() {
    let world = World::start();
    let marked = "marked-by-the-client";
    let fields = [
        ("authorization", format!("Bearer {marked}")),
        ("x-marked", marked.to_owned()),
    ];
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    for target in [
        "/items?marked-by-the-client",
        "/marked-by-the-client",
        "/%2e/marked-by-the-client",
    ] {
        let response = world.gateway.client().get(target, &fields);
        assert!(response.status >= 400);
        let head = String::from_utf8(response.head.bytes.clone()).unwrap();
        assert!(
            !head.contains(marked) && !response.text().contains(marked),
            "{target}"
        );
    }
    let mut lines: Vec<Value> = Vec::new();
    eventually("a line of the access log about each request", || {
        lines = world.gateway.folder.log();
        lines.len() == 3
    });
    assert!(!lines.iter().any(|line| line.to_string().contains(marked)));
}
