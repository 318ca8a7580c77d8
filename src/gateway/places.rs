//! Takes tokens out of what is forwarded, where an API has them come from elsewhere than `Authorization`, and says what
//! the answer needs for it; and every API key.
//!
//! `headers` calls it for such an API, or one that takes keys, only. A token in the query or among the sub-protocols never goes on; where the
//! upstream is to have the token, it gets it as `Authorization`.

use http::header::{AUTHORIZATION, CACHE_CONTROL, COOKIE, REFERER, SEC_WEBSOCKET_PROTOCOL};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use zeroize::Zeroizing;

use crate::policy::{Permit, TokenPlace, TokenPlaces};
use crate::snapshot::TokenForwarding;
use crate::token::{
    BearerError, ProtocolForm, basic_key, bearer_token, protocol_token, query_token, without_cookie,
    without_parameter, without_protocol,
};

/// What the answer to a request needs whose token may have come from elsewhere.
#[derive(Debug)]
pub(super) struct Taken {
    caching: Caching,
    /// The sub-protocol for a client that offered nothing else but a token.
    protocol: Option<HeaderValue>,
}

/// No cache between knows that the answer is for one client: only `Authorization` says so (RFC 9111 section 3.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caching {
    /// The token came with `Authorization`, or there was none.
    Usual,
    /// It is for one client, unless the upstream says something else.
    PrivateByDefault,
    /// It is for one client (RFC 6750 section 2.3).
    Private,
}

impl Taken {
    /// Takes every token out that must not go on.
    pub(super) fn from(
        parts: &mut Parts,
        places: &TokenPlaces,
        forwarding: TokenForwarding,
        permit: &Permit,
    ) -> Box<Self> {
        let is_bearer = bearer_token(lines(&parts.headers, &AUTHORIZATION)) != Err(BearerError::Missing);
        let mut taken = Self {
            caching: Caching::Usual,
            protocol: None,
        };
        let has_basic = places.keys().is_some() && take_keys(&mut parts.headers, places);
        if permit.principal().is_some() && !(is_bearer && places.has_authorization() || has_basic) {
            taken.caching = Caching::PrivateByDefault;
        }
        // What nobody has verified must not pass for what was.
        if is_bearer && !places.has_authorization() {
            parts.headers.remove(AUTHORIZATION);
        }
        let mut token = permit
            .exchanged()
            .map(|token| Zeroizing::new(token.expose().to_owned()));
        for place in places.iter() {
            match place {
                TokenPlace::Query(name) => {
                    token = token.or(take_parameter(parts, name).map(Zeroizing::new));
                    if token.is_some() {
                        taken.caching = Caching::Private;
                    }
                }
                TokenPlace::WebSocketProtocol(form) => {
                    let found = take_protocol(&mut parts.headers, form);
                    if let (Some(_), ProtocolForm::After(marker)) = (&found, form) {
                        taken.protocol = HeaderValue::from_str(marker).ok();
                    }
                    token = token.or(found.map(Zeroizing::new));
                }
                TokenPlace::Header { name, .. } if forwarding == TokenForwarding::Strip => {
                    parts.headers.remove(name);
                }
                TokenPlace::Cookie { name, .. } if forwarding == TokenForwarding::Strip => {
                    take_cookie(&mut parts.headers, name);
                }
                TokenPlace::Authorization | TokenPlace::Header { .. } | TokenPlace::Cookie { .. } => {}
            }
        }
        // Only a request whose one token was found good has a principal. What a key was exchanged for goes on where only
        // reported is what is wrong with it, as the token of a client would.
        let goes_on = permit.principal().is_some() || permit.exchanged().is_some();
        if let (Some(token), TokenForwarding::Keep, true) = (token, forwarding, goes_on)
            && let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", *token))
        {
            value.set_sensitive(true);
            parts.headers.insert(AUTHORIZATION, value);
        }
        Box::new(taken)
    }

    /// Completes the answer.
    pub(super) fn complete(&self, status: StatusCode, fields: &mut HeaderMap) {
        let is_private = || {
            let directives = fields
                .get_all(CACHE_CONTROL)
                .iter()
                .filter_map(|line| line.to_str().ok());
            directives.flat_map(|line| line.split(',')).any(|directive| {
                let directive = directive.trim();
                directive.eq_ignore_ascii_case("private") || directive.eq_ignore_ascii_case("no-store")
            })
        };
        let is_added = match self.caching {
            Caching::Usual => false,
            Caching::PrivateByDefault => !fields.contains_key(CACHE_CONTROL),
            Caching::Private => !is_private(),
        };
        if is_added {
            fields.append(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        // A browser that offered sub-protocols closes a WebSocket for which none was chosen.
        if status == StatusCode::SWITCHING_PROTOCOLS
            && !fields.contains_key(SEC_WEBSOCKET_PROTOCOL)
            && let Some(protocol) = &self.protocol
        {
            fields.insert(SEC_WEBSOCKET_PROTOCOL, protocol.clone());
        }
    }
}

/// Takes every key out, right or not: no upstream sees one. Returns whether there was one in `Authorization`.
fn take_keys(fields: &mut HeaderMap, places: &TokenPlaces) -> bool {
    if let Some(name) = places.keys().and_then(|keys| keys.header.as_ref()) {
        fields.remove(name);
    }
    let has_basic = basic_key(lines(fields, &AUTHORIZATION)) != Ok(None);
    if has_basic {
        fields.remove(AUTHORIZATION);
    }
    has_basic
}

fn take_parameter(parts: &mut Parts, name: &str) -> Option<String> {
    take_from_referer(&mut parts.headers, name);
    let query = parts.uri.query()?;
    let left = without_parameter(query, name)?;
    let token = query_token(query, name).ok().map(|token| token.into_owned());
    let path = parts.uri.path();
    let target = if left.is_empty() {
        path.to_owned()
    } else {
        format!("{path}?{left}")
    };
    // Parts of a target are a target; if they were not, the query would have to go as a whole.
    let target = PathAndQuery::try_from(target).or_else(|_invalid| PathAndQuery::try_from(path));
    let mut uri = std::mem::take(&mut parts.uri).into_parts();
    uri.path_and_query = Some(target.unwrap_or(PathAndQuery::from_static("/")));
    parts.uri = Uri::from_parts(uri).unwrap_or_default();
    token
}

/// The page before may have had its token in the query, too.
fn take_from_referer(fields: &mut HeaderMap, name: &str) {
    let Some(referer) = fields.get(REFERER) else {
        return;
    };
    let kept = match referer.to_str() {
        Err(_) => None,
        Ok(referer) => match referer.split_once('?') {
            None => return,
            Some((page, query)) => match without_parameter(query, name) {
                None => return,
                Some(left) if left.is_empty() => HeaderValue::from_str(page).ok(),
                Some(left) => HeaderValue::from_str(&format!("{page}?{left}")).ok(),
            },
        },
    };
    match kept {
        Some(kept) => drop(fields.insert(REFERER, kept)),
        None => drop(fields.remove(REFERER)),
    }
}

fn take_protocol(fields: &mut HeaderMap, form: &ProtocolForm) -> Option<String> {
    let left = without_protocol(lines(fields, &SEC_WEBSOCKET_PROTOCOL), form)?;
    let token = protocol_token(lines(fields, &SEC_WEBSOCKET_PROTOCOL), form);
    let token = token.ok().map(|token| token.into_owned());
    match HeaderValue::from_bytes(&left) {
        Ok(left) if !left.is_empty() => drop(fields.insert(SEC_WEBSOCKET_PROTOCOL, left)),
        _ => drop(fields.remove(SEC_WEBSOCKET_PROTOCOL)),
    }
    token
}

fn take_cookie(fields: &mut HeaderMap, name: &str) {
    if lines(fields, &COOKIE).all(|line| without_cookie(line, name).is_none()) {
        return;
    }
    let left: Vec<Vec<u8>> = lines(fields, &COOKIE)
        .map(|line| without_cookie(line, name).unwrap_or_else(|| line.to_vec()))
        .filter(|line| !line.is_empty())
        .collect();
    fields.remove(COOKIE);
    for line in left {
        if let Ok(line) = HeaderValue::from_bytes(&line) {
            fields.append(COOKIE, line);
        }
    }
}

fn lines<'a>(fields: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    fields.get_all(name).into_iter().map(HeaderValue::as_bytes)
}
