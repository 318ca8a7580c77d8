//! An issuer that says of a token whether it is good (RFC 7662), as a test has told it, and that can fail in every way
//! that matters. It serves discovery and no keys.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use serde_json::{Value, json};

use super::DEADLINE;
use super::http1::{Head, Wire};
use super::issuer::now;
use super::server::{Server, Watched};

/// How it answers a question about a token.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) enum IntrospectorMode {
    /// As it should.
    #[default]
    Up,
    /// Closes the connection instead.
    Close,
    /// Never answers, until the mode changes.
    Hang,
    /// Answers as it should once the mode changes.
    Hold,
    /// Answers with this status, and `{}`.
    Status(u16),
    /// Answers 200 with this media type and these bytes.
    Content(&'static str, Vec<u8>),
    /// Answers with these bytes as the whole response, and closes.
    Raw(Vec<u8>),
}

/// A question as it came.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) head: Head,
    pub(crate) form: HashMap<String, String>,
}

#[derive(Debug, Default)]
struct State {
    mode: IntrospectorMode,
    tokens: HashMap<String, Value>,
    questions: Vec<Question>,
    discoveries: usize,
    endpoint: Option<String>,
    is_over: bool,
}

/// A running one.
#[derive(Debug)]
pub(crate) struct Introspector {
    server: Server,
    state: Arc<Watched<State>>,
}

impl Introspector {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Watched::new(State::default()));
        let for_server = Arc::clone(&state);
        let server = Server::start(move |mut wire, _number| {
            // An error is the other side's leaving.
            drop(serve(&mut wire, &for_server));
        });
        Self { server, state }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// The issuer identifier, with its slash at the end.
    pub(crate) fn identifier(&self) -> String {
        format!("http://{}/", self.address())
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("{}introspect", self.identifier())
    }

    pub(crate) fn set_mode(&self, mode: IntrospectorMode) {
        self.state.change(|state| state.mode = mode);
    }

    /// What discovery gives in place of the endpoint that would be right.
    pub(crate) fn set_endpoint(&self, endpoint: &str) {
        self.state.change(|state| state.endpoint = Some(endpoint.into()));
    }

    /// Answers with this about a token from now on.
    pub(crate) fn tell(&self, token: &str, answer: Value) {
        self.state
            .change(|state| drop(state.tokens.insert(token.into(), answer)));
    }

    /// Says no more of a token than that it is not active.
    pub(crate) fn revoke(&self, token: &str) {
        self.state.change(|state| drop(state.tokens.remove(token)));
    }

    /// A right answer for this audience.
    pub(crate) fn active(&self, audience: &str, scope: &str) -> Value {
        json!({
            "active": true, "iss": self.identifier(), "aud": audience, "sub": "user", "client_id": "client",
            "scope": scope, "token_type": "Bearer", "iat": now(), "exp": now() + 3_600,
        })
    }

    /// Everything that was asked.
    pub(crate) fn questions(&self) -> Vec<Question> {
        self.state.read(|state| state.questions.clone())
    }

    pub(crate) fn asked(&self) -> usize {
        self.state.read(|state| state.questions.len())
    }

    pub(crate) fn discoveries(&self) -> usize {
        self.state.read(|state| state.discoveries)
    }

    /// Waits until so many questions have come in all.
    #[track_caller]
    pub(crate) fn wait_for_questions(&self, count: usize) {
        self.state
            .expect("questions about tokens", |state| state.questions.len() >= count);
    }
}

impl Drop for Introspector {
    fn drop(&mut self) {
        self.state.change(|state| state.is_over = true);
    }
}

fn serve(wire: &mut Wire, state: &Watched<State>) -> io::Result<()> {
    let Some(head) = wire.within(DEADLINE).head()? else {
        return Ok(());
    };
    if !head.start.starts_with("POST /introspect ") {
        let address = wire.stream().local_addr()?;
        let endpoint = state.change(|state| {
            state.discoveries += 1;
            state.endpoint.clone()
        });
        let endpoint = endpoint.unwrap_or_else(|| format!("http://{address}/introspect"));
        let document =
            json!({"issuer": format!("http://{address}/"), "introspection_endpoint": endpoint}).to_string();
        return respond(wire, 200, "application/json", document.as_bytes());
    }
    let (body, _) = wire.within(DEADLINE).request_body(&head)?;
    let form = form(&String::from_utf8(body).unwrap());
    let token = form.get("token").cloned().unwrap_or_default();
    let mode = state.change(|state| {
        state.questions.push(Question { head, form });
        state.mode.clone()
    });
    match &mode {
        IntrospectorMode::Up => {}
        IntrospectorMode::Close => return Ok(()),
        IntrospectorMode::Hang | IntrospectorMode::Hold => {
            state.wait(DEADLINE, |state| state.mode != mode || state.is_over);
            if mode == IntrospectorMode::Hang {
                return Ok(());
            }
        }
        IntrospectorMode::Status(status) => return respond(wire, *status, "application/json", b"{}"),
        IntrospectorMode::Content(media_type, body) => return respond(wire, 200, media_type, body),
        IntrospectorMode::Raw(bytes) => return wire.send(bytes),
    }
    let answer = state.read(|state| state.tokens.get(&token).cloned());
    let answer = answer.unwrap_or_else(|| json!({"active": false}));
    respond(
        wire,
        200,
        "application/json;charset=UTF-8",
        answer.to_string().as_bytes(),
    )
}

fn respond(wire: &mut Wire, status: u16, media_type: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    // A redirect that somebody follows would be seen as another question.
    wire.send(
        format!("HTTP/1.1 {status} X\r\ncontent-type: {media_type}\r\nlocation: /introspect\r\ncontent-length: {length}\r\n\r\n")
            .as_bytes(),
    )?;
    wire.send(body)
}

/// The fields of a form.
pub(crate) fn form(body: &str) -> HashMap<String, String> {
    body.split('&')
        .filter_map(|field| field.split_once('='))
        .map(|(name, value)| (name.to_owned(), unescaped(value)))
        .collect()
}

/// With `%XX` undone.
pub(crate) fn unescaped(text: &str) -> String {
    let mut parts = text.split('%');
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(u8::from_str_radix(&part[..2], 16).unwrap());
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
