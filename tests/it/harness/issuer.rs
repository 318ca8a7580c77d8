//! An issuer with discovery and a JWK set, whose keys rotate and which can fail in every way that matters.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use scopegate::definition::{SigningAlg, TokenDialect};
use serde_json::{Value, json};

use super::DEADLINE;
use super::http1::{Head, Wire};
use super::introspector::form;
use super::server::{Server, Watched};
use super::token_endpoint::{Exchanged, KnownClient, TokenEndpoint, TokenMode};
use crate::support::forge::{SigningKey, jwks};

/// How the issuer answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum IssuerMode {
    /// As it should.
    #[default]
    Up,
    /// Closes each connection as soon as it is there.
    Down,
    /// Reads the request and never answers, until the mode changes.
    Hang,
    /// Answers 200 with these bytes as the body.
    Garbage(Vec<u8>),
    /// Answers with this status and a short body.
    Status(u16),
    /// Answers with these bytes as the whole response, and closes.
    Raw(Vec<u8>),
}

/// How often what was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// OpenID Connect discovery and RFC 8414.
    pub(crate) discovery: usize,
    pub(crate) jwks: usize,
    /// Anything else.
    pub(crate) other: usize,
}

#[derive(Debug)]
struct State {
    mode: IssuerMode,
    counts: Counts,
    /// The generation of keys that signs.
    current: usize,
    /// The generations that are in the set.
    published: Vec<usize>,
    /// In place of the set that would be right.
    jwks: Option<String>,
    cache_control: Option<String>,
    is_openid: bool,
    is_over: bool,
    tokens: TokenEndpoint,
}

/// A running issuer. Its keys have one generation at first; each generation has a key of every kind.
#[derive(Debug)]
pub(crate) struct Issuer {
    server: Server,
    state: Arc<Watched<State>>,
}

/// A token that is right until a test changes it.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    pub(crate) alg: SigningAlg,
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Draft {
    /// Sets a claim.
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    /// Removes a claim.
    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    /// Sets a member of the header.
    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }
}

impl Issuer {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Watched::new(State {
            mode: IssuerMode::Up,
            counts: Counts::default(),
            current: 1,
            published: vec![1],
            jwks: None,
            cache_control: None,
            is_openid: true,
            is_over: false,
            tokens: TokenEndpoint::default(),
        }));
        let for_server = Arc::clone(&state);
        let server = Server::start(move |mut wire, _number| {
            // An error is the other side's leaving.
            drop(serve(&mut wire, &for_server));
        });
        Self { server, state }
    }

    /// The issuer identifier, with its slash at the end.
    pub(crate) fn identifier(&self) -> String {
        format!("http://{}/", self.server.address())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    pub(crate) fn jwks_uri(&self) -> String {
        format!("{}.well-known/jwks.json", self.identifier())
    }

    /// The set as it is published now.
    pub(crate) fn jwks(&self) -> String {
        self.state.read(State::jwks)
    }

    pub(crate) fn set_mode(&self, mode: IssuerMode) {
        self.state.change(|state| state.mode = mode);
    }

    /// Publishes this text in place of the set; `None` publishes the set again.
    pub(crate) fn set_jwks(&self, text: Option<String>) {
        self.state.change(|state| state.jwks = text);
    }

    /// The `Cache-Control` of the set.
    pub(crate) fn set_cache_control(&self, value: Option<&str>) {
        self.state
            .change(|state| state.cache_control = value.map(str::to_owned));
    }

    /// Whether OpenID Connect discovery is there; RFC 8414 always is.
    pub(crate) fn set_openid(&self, is_openid: bool) {
        self.state.change(|state| state.is_openid = is_openid);
    }

    /// Signs with a new generation of keys, which is published beside the ones that are.
    pub(crate) fn rotate(&self) -> usize {
        self.state.change(|state| {
            state.current += 1;
            state.published.push(state.current);
            state.current
        })
    }

    /// Signs with a new generation of keys that is not published yet: see [`Self::publish`].
    pub(crate) fn rotate_unpublished(&self) -> usize {
        self.state.change(|state| {
            state.current += 1;
            state.current
        })
    }

    /// The set has these generations and no others.
    pub(crate) fn publish(&self, generations: &[usize]) {
        self.state.change(|state| state.published = generations.to_vec());
    }

    pub(crate) fn counts(&self) -> Counts {
        self.state.read(|state| state.counts)
    }

    pub(crate) fn connections(&self) -> usize {
        self.server.connections()
    }

    /// Waits until the set was asked for so often in all.
    #[track_caller]
    pub(crate) fn wait_for_jwks(&self, count: usize) {
        self.state
            .expect("requests for the JWK set", |state| state.counts.jwks >= count);
    }

    /// A right token for this audience, of the algorithm and the profile, with no scope.
    pub(crate) fn draft(&self, alg: SigningAlg, dialect: TokenDialect, audience: &str) -> Draft {
        let generation = self.state.read(|state| state.current);
        let now = now();
        let mut claims = json!({
            "iss": self.identifier(), "aud": audience, "sub": "auth0|user", "iat": now, "exp": now + 3_600,
        });
        let typ = if dialect.is_rfc9068() {
            claims["client_id"] = json!("client");
            claims["jti"] = json!(format!("token-{now}"));
            "at+jwt"
        } else {
            claims["azp"] = json!("client");
            "JWT"
        };
        Draft {
            alg,
            header: json!({"alg": alg.name(), "typ": typ, "kid": kid(alg, generation)}),
            claims,
        }
    }

    /// Signs with the current key of the draft's algorithm.
    pub(crate) fn sign(&self, draft: &Draft) -> String {
        let generation = self.state.read(|state| state.current);
        SigningKey::fixture(draft.alg, generation).token(draft.alg, &draft.header, &draft.claims)
    }

    /// An RS256 token of the Auth0 profile with these scopes, separated by spaces.
    pub(crate) fn token(&self, audience: &str, scope: &str) -> String {
        let draft = self.draft(SigningAlg::RS256, TokenDialect::AccessToken, audience);
        self.sign(&draft.claim("scope", scope))
    }

    /// Knows a client from now on, whose credentials get tokens.
    pub(crate) fn know(&self, id: &str, client: KnownClient) {
        self.state
            .change(|state| drop(state.tokens.clients.insert(id.into(), client)));
    }

    /// Knows a client no longer.
    pub(crate) fn forget(&self, id: &str) {
        self.state.change(|state| drop(state.tokens.clients.remove(id)));
    }

    /// How its token endpoint answers.
    pub(crate) fn set_token_mode(&self, mode: TokenMode) {
        self.state.change(|state| state.tokens.mode = mode);
    }

    /// Every exchange that was asked for.
    pub(crate) fn exchanges(&self) -> Vec<Exchanged> {
        self.state.read(|state| state.tokens.exchanges.clone())
    }

    /// How many.
    pub(crate) fn exchanged(&self) -> usize {
        self.state.read(|state| state.tokens.exchanges.len())
    }

    /// Waits until so many exchanges were asked for in all.
    #[track_caller]
    pub(crate) fn wait_for_exchanges(&self, count: usize) {
        self.state
            .expect("exchanges", |state| state.tokens.exchanges.len() >= count);
    }

    /// The secret that HS* tokens of this issuer are signed with now.
    pub(crate) fn secret(&self) -> String {
        let generation = self.state.read(|state| state.current);
        let key = SigningKey::fixture(SigningAlg::HS256, generation);
        String::from_utf8(key.secret().to_vec()).unwrap()
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.state.change(|state| state.is_over = true);
    }
}

impl State {
    fn jwks(&self) -> String {
        if let Some(text) = &self.jwks {
            return text.clone();
        }
        let kinds = [
            SigningAlg::RS256,
            SigningAlg::ES256,
            SigningAlg::ES384,
            SigningAlg::EdDSA,
        ];
        let keys: Vec<Value> = self
            .published
            .iter()
            .flat_map(|&generation| {
                kinds.map(|alg| {
                    let mut jwk = SigningKey::fixture(alg, generation).jwk(&kid(alg, generation));
                    jwk["use"] = json!("sig");
                    jwk
                })
            })
            .collect();
        jwks(&keys)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(time.as_secs()).unwrap()
}

/// One id for all algorithms of one kind of key: the key says none.
fn kid(alg: SigningAlg, generation: usize) -> String {
    let kind = match alg {
        SigningAlg::ES256 => "p256",
        SigningAlg::ES384 => "p384",
        SigningAlg::EdDSA => "ed25519",
        alg if alg.is_symmetric() => "secret",
        _ => "rsa",
    };
    format!("{kind}-{generation}")
}

fn serve(wire: &mut Wire, state: &Watched<State>) -> io::Result<()> {
    loop {
        if state.read(|state| state.mode == IssuerMode::Down) {
            return Ok(());
        }
        let Some(head) = wire.within(DEADLINE).head()? else {
            return Ok(());
        };
        if head.start.starts_with("POST /oauth/token ") && state.read(|state| state.mode == IssuerMode::Up) {
            return give_token(wire, head, state);
        }
        let (status, fields, body) = match respond(&head, state, wire.stream().local_addr()?) {
            Answer::Full(status, fields, body) => (status, fields, body),
            Answer::Raw(bytes) => return wire.send(&bytes),
            Answer::Hang => {
                state.wait(DEADLINE, |state| state.mode != IssuerMode::Hang || state.is_over);
                return Ok(());
            }
            Answer::Close => return Ok(()),
        };
        let length = body.len();
        wire.send(
            format!("HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n{fields}\r\n")
                .as_bytes(),
        )?;
        wire.send(&body)?;
    }
}

fn give_token(wire: &mut Wire, head: Head, state: &Watched<State>) -> io::Result<()> {
    let (body, _) = wire.within(DEADLINE).request_body(&head)?;
    let form = form(&String::from_utf8(body).unwrap());
    let exchanged = Exchanged { head, form };
    let mode = state.change(|state| {
        state.tokens.exchanges.push(exchanged.clone());
        state.tokens.mode.clone()
    });
    match &mode {
        TokenMode::Up => {}
        TokenMode::Close => return Ok(()),
        TokenMode::Hang | TokenMode::Hold => {
            state.wait(DEADLINE, |state| state.tokens.mode != mode || state.is_over);
            if mode == TokenMode::Hang {
                return Ok(());
            }
        }
        TokenMode::Answer(status, fields, body) => {
            let length = body.len();
            // A redirect that somebody follows would be seen as another exchange.
            return wire.send(
                format!("HTTP/1.1 {status} X\r\n{fields}location: /oauth/token\r\ncontent-length: {length}\r\n\r\n{body}")
                    .as_bytes(),
            );
        }
    }
    let address = wire.stream().local_addr()?;
    let (status, answer) = state.change(|state| match state.tokens.client(&exchanged) {
        Ok((id, client)) => (200, token_answer(state, address, &exchanged, &id, &client)),
        Err(refusal) => refusal,
    });
    let body = answer.to_string();
    let length = body.len();
    wire.send(
        format!(
            "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    )
}

fn token_answer(
    state: &State,
    address: SocketAddr,
    exchanged: &Exchanged,
    id: &str,
    client: &KnownClient,
) -> Value {
    let now = now();
    let mut claims = json!({
        "iss": format!("http://{address}/"), "aud": exchanged.form["audience"], "sub": format!("{id}@clients"),
        "azp": id, "gty": "client-credentials", "iat": now, "exp": now + client.lifetime, "scope": client.scope,
        // No two of them are the same.
        "jti": format!("{}", state.tokens.exchanges.len()),
    });
    for (name, value) in client.claims.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let alg = SigningAlg::RS256;
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": kid(alg, state.current)});
    let token = SigningKey::fixture(alg, state.current).token(alg, &header, &claims);
    let token = client.token.clone().unwrap_or(token);
    let mut answer = json!({"access_token": token, "token_type": client.token_type, "scope": client.scope});
    if client.tells_lifetime {
        answer["expires_in"] = json!(client.lifetime);
    }
    answer
}

enum Answer {
    Full(u16, String, Vec<u8>),
    Raw(Vec<u8>),
    Hang,
    Close,
}

fn respond(head: &Head, state: &Watched<State>, address: SocketAddr) -> Answer {
    let target = head.start.split(' ').nth(1).unwrap_or_default();
    state.change(|state| {
        let is_openid = target == "/.well-known/openid-configuration";
        let is_oauth = target == "/.well-known/oauth-authorization-server";
        let is_jwks = target == "/.well-known/jwks.json";
        match (is_openid || is_oauth, is_jwks) {
            (true, _) => state.counts.discovery += 1,
            (_, true) => state.counts.jwks += 1,
            _ => state.counts.other += 1,
        }
        match &state.mode {
            IssuerMode::Up => {}
            IssuerMode::Down => return Answer::Close,
            IssuerMode::Hang => return Answer::Hang,
            IssuerMode::Garbage(body) => return Answer::Full(200, String::new(), body.clone()),
            IssuerMode::Status(status) => return Answer::Full(*status, String::new(), b"{}".to_vec()),
            IssuerMode::Raw(bytes) => return Answer::Raw(bytes.clone()),
        }
        if is_jwks {
            let cache_control = state
                .cache_control
                .as_ref()
                .map_or(String::new(), |value| format!("cache-control: {value}\r\n"));
            return Answer::Full(200, cache_control, state.jwks().into_bytes());
        }
        if is_oauth || (is_openid && state.is_openid) {
            let document = json!({
                "issuer": format!("http://{address}/"),
                "jwks_uri": format!("http://{address}/.well-known/jwks.json"),
                "token_endpoint": format!("http://{address}/oauth/token"),
            });
            return Answer::Full(200, String::new(), document.to_string().into_bytes());
        }
        Answer::Full(404, String::new(), b"{}".to_vec())
    })
}

/// A time that is long for a fetch and short for a test.
pub(crate) const SOON: Duration = Duration::from_millis(300);
