//! Where the tokens of an API come from, if not only from `Authorization`, and its keys; and that what a browser adds by
//! itself does not speak for another site.
//!
//! `decide` asks it for the one token, or key, of a request. Two tokens in two places are refused: an upstream might read the
//! one that was not verified.

use std::borrow::Cow;

use http::header::{AUTHORIZATION, COOKIE, ORIGIN, SEC_WEBSOCKET_PROTOCOL, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

use super::{Reason, RequestHead};
use crate::token::{
    BearerError, BearerToken, PresentedKey, ProtocolForm, Scheme, basic_key, bearer_token, cookie_token,
    header_key, header_token, protocol_token, query_token,
};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A place where a token may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenPlace {
    /// RFC 6750 section 2.1. The only one for bound tokens of RFC 9449.
    Authorization,
    /// A field of its own.
    Header {
        /// Its name.
        name: HeaderName,
        /// What stands before the token, and a space; without it the value is the token.
        scheme: Option<Box<str>>,
    },
    /// A cookie.
    Cookie {
        /// Its name, by case.
        name: Box<str>,
        /// The other origins that may make requests with it: `https://app.example.com`.
        origins: Vec<Box<str>>,
    },
    /// An element of `Sec-WebSocket-Protocol`.
    WebSocketProtocol(ProtocolForm),
    /// A parameter of the query (RFC 6750 section 2.3).
    Query(Box<str>),
}

/// The places of one API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenPlaces {
    places: Box<[TokenPlace]>,
    keys: Option<KeyPlaces>,
    /// What clients see before the path, where it is known.
    public_origin: Option<Box<str>>,
}

/// That an API takes keys, and from where: always from `Authorization`, with the scheme `Basic`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPlaces {
    /// A field that may have one, too.
    pub header: Option<HeaderName>,
    /// What keys are remembered under: the same for two APIs only if one key is exchanged for the same token for both.
    pub space: KeySpace,
}

/// See [`KeyPlaces::space`].
pub type KeySpace = [u8; 12];

/// What a request speaks by.
#[derive(Debug)]
pub(super) enum Found<'a> {
    Token(FoundToken<'a>),
    Key(PresentedKey<'a>),
}

/// The one token of a request.
#[derive(Debug)]
pub(super) struct FoundToken<'a> {
    text: Cow<'a, str>,
    scheme: Scheme,
}

impl FoundToken<'_> {
    pub(super) fn token(&self) -> BearerToken<'_> {
        BearerToken::found(&self.text, self.scheme)
    }
}

impl TokenPlaces {
    /// `None` where tokens come from `Authorization` alone, and there are no keys. `public_url` is what clients see,
    /// without a slash at its end.
    pub fn new(
        places: &[TokenPlace],
        keys: Option<KeyPlaces>,
        public_url: Option<&str>,
    ) -> Option<Box<Self>> {
        let places = if places.is_empty() {
            &[TokenPlace::Authorization]
        } else {
            places
        };
        if matches!(places, [TokenPlace::Authorization]) && keys.is_none() {
            return None;
        }
        Some(Box::new(Self {
            places: places.into(),
            keys,
            public_origin: public_url.map(origin_of).map(Box::from),
        }))
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = &TokenPlace> {
        self.places.iter()
    }

    /// Whether tokens come from `Authorization`, too.
    pub fn has_authorization(&self) -> bool {
        self.places.contains(&TokenPlace::Authorization)
    }

    /// Whether a browser may send what is looked for by itself: a cookie, or what somebody has typed when it asked for a
    /// name and a password.
    pub fn has_what_browsers_add(&self) -> bool {
        self.keys.is_some()
            || self
                .iter()
                .any(|place| matches!(place, TokenPlace::Cookie { .. }))
    }

    /// Where keys come from; `None`: there are none.
    pub fn keys(&self) -> Option<&KeyPlaces> {
        self.keys.as_ref()
    }

    /// What a request speaks by, where there is exactly one such thing.
    pub(super) fn find<'a>(&self, head: RequestHead<'a>) -> Result<Found<'a>, Reason> {
        let key = self.key(head)?;
        match self.find_token(head) {
            Err(Reason::MissingToken) => key.map(Found::Key).ok_or(Reason::MissingToken),
            Ok(_) if key.is_some() => Err(Reason::MultipleTokens),
            found => found.map(Found::Token),
        }
    }

    /// The key of a request, in one place only.
    fn key<'a>(&self, head: RequestHead<'a>) -> Result<Option<PresentedKey<'a>>, Reason> {
        let Some(places) = &self.keys else {
            return Ok(None);
        };
        let basic = basic_key(bytes(head.headers, &AUTHORIZATION))?;
        let own = match &places.header {
            Some(name) => header_key(bytes(head.headers, name))?,
            None => None,
        };
        match (basic, own) {
            (Some(_), Some(_)) => Err(Reason::MultipleTokens),
            (Some(_), None) if !self.is_own(head, &[]) => Err(Reason::CrossSite),
            (basic, own) => Ok(basic.or(own)),
        }
    }

    /// The token of a request, where there is exactly one.
    fn find_token<'a>(&self, head: RequestHead<'a>) -> Result<FoundToken<'a>, Reason> {
        let mut found = None;
        for place in &self.places {
            match find_at(place, head) {
                Ok(token) if found.is_none() => found = Some((place, token)),
                Ok(_) => return Err(Reason::MultipleTokens),
                Err(BearerError::Missing) => {}
                Err(error) => return Err(error.into()),
            }
        }
        match found {
            None => Err(Reason::MissingToken),
            Some((TokenPlace::Cookie { origins, .. }, _)) if !self.is_own(head, origins) => {
                Err(Reason::CrossSite)
            }
            Some((_, token)) => Ok(token),
        }
    }

    /// Whether a request was made by a page of our own, or by no browser. A browser sends cookies along whoever makes
    /// it, and the name and password that it was given for `Basic`, so only what changes nothing may come from elsewhere; a WebSocket is read by whoever opens it.
    fn is_own(&self, head: RequestHead<'_>, origins: &[Box<str>]) -> bool {
        let is_safe = [Method::GET, Method::HEAD, Method::OPTIONS].contains(head.method);
        if is_safe && !head.headers.contains_key(UPGRADE) {
            return true;
        }
        let mut said = head.headers.get_all(ORIGIN).iter();
        let origin = said.next().map(HeaderValue::as_bytes);
        if said.next().is_some() {
            return false;
        }
        let is = |one: &str, other: &[u8]| one.as_bytes().eq_ignore_ascii_case(other);
        if origin.is_some_and(|origin| origins.iter().any(|allowed| is(allowed, origin))) {
            return true;
        }
        let mut sites = head.headers.get_all(SEC_FETCH_SITE).iter().peekable();
        if sites.peek().is_some() {
            return sites.all(|site| matches!(site.as_bytes(), b"same-origin" | b"none"));
        }
        match (origin, &self.public_origin) {
            // Browsers that send neither of the two are gone.
            (None, _) => true,
            (Some(origin), Some(public)) => is(public, origin),
            (Some(origin), None) => {
                let host = std::str::from_utf8(origin)
                    .ok()
                    .and_then(|origin| origin.split_once("://"));
                host.is_some_and(|(scheme, host)| {
                    let port = if scheme == "https" { ":443" } else { ":80" };
                    let own = head.authority.strip_suffix(port).unwrap_or(head.authority);
                    host.eq_ignore_ascii_case(own)
                })
            }
        }
    }
}

fn find_at<'a>(place: &TokenPlace, head: RequestHead<'a>) -> Result<FoundToken<'a>, BearerError> {
    let values = |name: &HeaderName| bytes(head.headers, name);
    let text = match place {
        TokenPlace::Authorization => {
            let token = bearer_token(values(&AUTHORIZATION))?;
            return Ok(FoundToken {
                text: Cow::Borrowed(token.as_str()),
                scheme: token.scheme(),
            });
        }
        TokenPlace::Header { name, scheme } => Cow::Borrowed(header_token(values(name), scheme.as_deref())?),
        TokenPlace::Cookie { name, .. } => cookie_token(values(&COOKIE), name)?,
        TokenPlace::WebSocketProtocol(form) => protocol_token(values(&SEC_WEBSOCKET_PROTOCOL), form)?,
        TokenPlace::Query(name) => query_token(head.query.unwrap_or_default(), name)?,
    };
    Ok(FoundToken {
        text,
        scheme: Scheme::Bearer,
    })
}

fn bytes<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a [u8]> + use<'a> {
    headers.get_all(name).into_iter().map(HeaderValue::as_bytes)
}

/// Scheme, host and port.
fn origin_of(url: &str) -> &str {
    let host = url.find("://").map_or(0, |colon| colon + 3);
    let end = url
        .get(host..)
        .and_then(|rest| rest.find('/'))
        .map_or(url.len(), |slash| host + slash);
    url.get(..end).unwrap_or(url)
}
