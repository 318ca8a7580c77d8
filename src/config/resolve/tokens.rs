//! Where the tokens of an API come from: what each place is called, and that no name has a meaning of its own.

use http::HeaderName;

use super::super::address::WebAddress;
use super::super::faults::Fault;
use super::super::file::{ApiKeys, Elsewhere, Encoding, TokenFrom, Tokens};
use super::super::reader::Placed;
use super::api::is_taken;
use crate::definition::Place;
use crate::policy::TokenPlace;
use crate::snapshot::ApiPlan;
use crate::token::ProtocolForm;

/// The most places of one API.
const MOST: usize = 8;

/// Every place that can be made sense of. Empty: nothing was written.
pub(super) fn places(written: Option<&Tokens>, faults: &mut Vec<Fault>) -> Vec<TokenPlace> {
    let mut places = Vec::new();
    let Some(written) = written else { return places };
    let from = &written.from;
    if from.value.len() > MOST {
        faults.push(Fault::new(
            &from.place,
            format!("`from` has more than {MOST} places"),
        ));
    }
    for one in &from.value {
        let place = match &one.value {
            TokenFrom::Authorization(_) => Some(TokenPlace::Authorization),
            TokenFrom::Elsewhere(elsewhere) => self::elsewhere(&one.place, elsewhere, faults),
        };
        match place {
            Some(place) if places.iter().any(|other| is_same(other, &place)) => {
                faults.push(Fault::new(&one.place, "this place is twice in `from`"));
            }
            place => places.extend(place),
        }
    }
    places
}

fn is_same(one: &TokenPlace, other: &TokenPlace) -> bool {
    match (one, other) {
        (TokenPlace::Header { name: one, .. }, TokenPlace::Header { name: other, .. }) => one == other,
        (TokenPlace::Cookie { name: one, .. }, TokenPlace::Cookie { name: other, .. }) => one == other,
        (one, other) => one == other,
    }
}

fn elsewhere(place: &Place, written: &Elsewhere, faults: &mut Vec<Fault>) -> Option<TokenPlace> {
    let Elsewhere {
        header,
        scheme,
        cookie,
        origins,
        websocket_protocol,
        websocket_prefix,
        encoding,
        query,
    } = written;
    let beside = [
        (
            scheme.as_ref().map(|scheme| &scheme.place),
            header.is_some(),
            "`scheme` belongs to `header`",
        ),
        (
            origins
                .as_ref()
                .and_then(|origins| origins.first())
                .map(|origin| &origin.place),
            cookie.is_some(),
            "`origins` belongs to `cookie`",
        ),
        (
            encoding.as_ref().map(|encoding| &encoding.place),
            websocket_prefix.is_some(),
            "`encoding` belongs to `websocket_prefix`",
        ),
    ];
    for (place, is_there, message) in beside {
        faults.extend(
            place
                .filter(|_| !is_there)
                .map(|place| Fault::new(place, message)),
        );
    }
    match (header, cookie, websocket_protocol, websocket_prefix, query) {
        (Some(name), None, None, None, None) => self::header(name, scheme.as_ref(), faults),
        (None, Some(name), None, None, None) => Some(TokenPlace::Cookie {
            name: named("cookie", name, is_token_byte, faults)?,
            origins: origins
                .iter()
                .flatten()
                .filter_map(|origin| self::origin(origin, faults))
                .collect(),
        }),
        (None, None, Some(name), None, None) => Some(TokenPlace::WebSocketProtocol(ProtocolForm::After(
            named("websocket_protocol", name, is_token_byte, faults)?,
        ))),
        (None, None, None, Some(prefix), None) => {
            let name = named("websocket_prefix", prefix, is_token_byte, faults)?;
            let is_encoded = encoding
                .as_ref()
                .is_some_and(|encoding| encoding.value.0 == Encoding::Base64url);
            Some(TokenPlace::WebSocketProtocol(if is_encoded {
                ProtocolForm::EncodedPrefix(name)
            } else {
                ProtocolForm::Prefix(name)
            }))
        }
        (None, None, None, None, Some(name)) => {
            Some(TokenPlace::Query(named("query", name, is_unreserved, faults)?))
        }
        _ => {
            let message = "a place of tokens is exactly one of these";
            let hint = "header, cookie, websocket_protocol, websocket_prefix or query";
            faults.push(Fault::new(place, message).with_hint(hint));
            None
        }
    }
}

pub(super) fn header(
    name: &Placed<String>,
    scheme: Option<&Placed<String>>,
    faults: &mut Vec<Fault>,
) -> Option<TokenPlace> {
    let mut refuse = |place: &Place, message: String, hint: Option<&str>| {
        faults.push(Fault::new(place, message).with_any_hint(hint.map(str::to_owned)));
    };
    let bearer = scheme.filter(|scheme| {
        scheme.value.eq_ignore_ascii_case("dpop") || !scheme.value.bytes().all(is_token_byte)
    });
    if let Some(scheme) = bearer {
        // RFC 9449 section 7.1: only `Authorization` has it.
        refuse(
            &scheme.place,
            format!("`{}` cannot be the scheme of another header", scheme.value),
            None,
        );
    }
    let (rule, hint) = match HeaderName::from_bytes(name.value.as_bytes()) {
        Err(_) => ("is not a header name", None),
        // A request that has such a name is refused.
        Ok(header) if header.as_str().contains('_') => ("must not contain `_`", None),
        Ok(header) if header == "authorization" => (
            "is a place of its own",
            Some("write `authorization` in place of the mapping"),
        ),
        Ok(header) if header == "cookie" => ("carries more than a token", Some("write `cookie: NAME`")),
        Ok(header) if is_taken(header.as_str()) || STEERING.contains(&header.as_str()) => {
            ("has a meaning of its own and cannot carry a token", None)
        }
        Ok(header) => {
            return Some(TokenPlace::Header {
                name: header,
                scheme: scheme.map(|scheme| scheme.value.as_str().into()),
            });
        }
    };
    refuse(&name.place, format!("header `{}` {rule}", name.value), hint);
    None
}

/// Headers that are removed from every request.
const STEERING: [&str; 14] = [
    "client-cert",
    "client-cert-chain",
    "content-language",
    "content-location",
    "if-match",
    "if-none-match",
    "proxy",
    "referer",
    "user-agent",
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-rewrite-url",
];

fn named(
    key: &str,
    written: &Placed<String>,
    fits: impl Fn(u8) -> bool,
    faults: &mut Vec<Fault>,
) -> Option<Box<str>> {
    if written.value.bytes().all(fits) {
        return Some(written.value.as_str().into());
    }
    let message = format!(
        "`{key}` cannot be `{}`: no client can send that as it is",
        written.value
    );
    faults.push(Fault::new(&written.place, message));
    None
}

fn origin(written: &Placed<String>, faults: &mut Vec<Fault>) -> Option<Box<str>> {
    let rule = match WebAddress::parse(&written.value) {
        Err(rule) => rule,
        Ok(_) if written.value.matches('/').count() > 2 || written.value.contains(['?', '#']) => {
            "must be a scheme and a host, without a path"
        }
        Ok(_) => return Some(written.value.as_str().into()),
    };
    faults.push(Fault::new(
        &written.place,
        format!("origin `{}` {rule}", written.value),
    ));
    None
}

/// Identity headers of any API are removed from every request: none can carry a token.
pub(super) fn identities(apis: &[super::super::file::Api], plans: &[ApiPlan], faults: &mut Vec<Fault>) {
    let identity = |name: &str| {
        let mut headers = plans.iter().flat_map(|plan| &plan.forward.identity_headers);
        headers.any(|header| header.name.as_str().eq_ignore_ascii_case(name))
    };
    let tokens = apis.iter().filter_map(|api| api.tokens.as_ref());
    let of_tokens = tokens
        .flat_map(|tokens| &tokens.from.value)
        .filter_map(|from| match &from.value {
            TokenFrom::Elsewhere(elsewhere) => elsewhere.header.as_ref(),
            TokenFrom::Authorization(_) => None,
        });
    let of_keys = apis.iter().filter_map(|api| match &api.api_keys.as_ref()?.value {
        ApiKeys::As(written) => written.header.as_ref(),
        ApiKeys::Exchange(_) => None,
    });
    for name in of_tokens.chain(of_keys).filter(|name| identity(&name.value)) {
        let message = format!(
            "header `{}` is an identity header, which no client can send",
            name.value
        );
        faults.push(Fault::new(&name.place, message));
    }
}

/// RFC 9110 section 5.6.2.
fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// RFC 3986 section 2.3: what is sent as it is.
fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~".contains(&byte)
}
