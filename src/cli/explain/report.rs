//! What `explain` prints: each check of the decision with its result, the verdict and the challenge.

use std::io::{self, Write};

use http::HeaderValue;
use http::header::HOST;
use http::request::Parts;
use serde::Serialize;

use super::{Described, Exchanged, Introspected, route_of};
use crate::policy::{Api, Challenge, Decision, Denial, Reason, Requirement, Route, RouteTable, TokenPlaces};
use crate::token::{Json, Number, TokenError};

/// What a check is called, and the reasons that mean that it failed. In the order of `decide`.
const CHECKS: [(&str, &[Reason]); 28] = [
    (
        "request",
        &[
            Reason::BadRequest,
            Reason::MisdirectedRequest,
            Reason::UriTooLong,
            Reason::HeadersTooLarge,
        ],
    ),
    ("path", &[Reason::BadPath]),
    ("route", &[Reason::NoRoute]),
    ("method", &[Reason::MethodNotAllowed]),
    (
        "bearer token",
        &[
            Reason::MissingToken,
            Reason::MultipleTokens,
            Reason::MalformedAuthorization,
        ],
    ),
    ("same site", &[Reason::CrossSite]),
    (
        "API key",
        &[
            Reason::BadApiKey,
            Reason::ApiKeyNotGranted,
            Reason::ApiKeyThrottled,
            Reason::ExchangeUnavailable,
        ],
    ),
    ("token form", &[Reason::TokenTooLarge, Reason::MalformedToken]),
    (
        "introspection",
        &[Reason::IntrospectionUnavailable, Reason::Inactive],
    ),
    ("encryption", &[Reason::Unencrypted, Reason::DecryptionFailed]),
    ("algorithm", &[Reason::UnsupportedAlg, Reason::AlgMismatch]),
    ("token type", &[Reason::WrongType]),
    ("issuer", &[Reason::IssuerMismatch]),
    ("key", &[Reason::KeysUnavailable, Reason::UnknownKid]),
    ("signature", &[Reason::BadSignature]),
    ("audience", &[Reason::AudienceMismatch]),
    ("claims", &[Reason::MissingClaim, Reason::MalformedClaim]),
    (
        "times",
        &[
            Reason::Expired,
            Reason::NotYetValid,
            Reason::IssuedInFuture,
            Reason::TooOld,
        ],
    ),
    ("revocation", &[Reason::Revoked]),
    (
        "binding",
        &[
            Reason::TokenUnbound,
            Reason::DpopDowngrade,
            Reason::DpopMissing,
            Reason::CertificateMissing,
            Reason::CertificateMismatch,
        ],
    ),
    (
        "proof form and signature",
        &[Reason::DpopInvalid, Reason::DpopWrongKey],
    ),
    (
        "proof method and address",
        &[Reason::DpopWrongMethod, Reason::DpopWrongAddress],
    ),
    ("proof times", &[Reason::DpopStale, Reason::DpopFuture]),
    ("proof token", &[Reason::DpopWrongToken]),
    (
        "proof nonce and use",
        &[Reason::DpopNonce, Reason::DpopReplay, Reason::DpopStoreFull],
    ),
    (
        "permissions",
        &[Reason::InsufficientScope, Reason::InsufficientPermission],
    ),
    (
        "client and claim values",
        &[Reason::ClientNotAllowed, Reason::ClaimMismatch],
    ),
    ("step-up", &[Reason::StepUpRequired]),
];

/// From here on, checks that a public route does not make.
const FIRST_TOKEN_CHECK: usize = 4;

#[derive(Debug, Serialize)]
pub(super) struct Explanation {
    request: String,
    host: String,
    api: Option<String>,
    route: Option<String>,
    asks: Option<String>,
    checks: Vec<Check>,
    decision: &'static str,
    reason: &'static str,
    detail: Option<String>,
    status: u16,
    challenge: Option<String>,
}

#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    result: CheckResult,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CheckResult {
    Pass,
    Fail,
    NotReached,
    NotNeeded,
}

/// Where else than at the request itself was looked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Looked {
    pub(super) exchanged: Exchanged,
    pub(super) introspected: Introspected,
    /// Whether there are lists of revoked tokens.
    pub(super) is_listed: bool,
}

pub(super) fn explanation(
    table: &RouteTable,
    described: &Described,
    parts: &Parts,
    decision: &Decision,
    looked: Looked,
) -> Explanation {
    let route = route_of(table, decision);
    let api = route.and_then(|route| table.api(route.api));
    let (word, denial, status) = match decision {
        Decision::Forward(permit) => match permit.shadow() {
            Some(shadow) => ("shadow_deny", Some(shadow), 200),
            None => ("allow", None, 200),
        },
        Decision::Refuse(denial) => ("deny", Some(denial), denial.reason.status().as_u16()),
    };
    let reason = match decision {
        Decision::Forward(permit) if denial.is_none() => permit.reason(),
        _ => denial.map_or(Reason::Internal, |denial| denial.reason),
    };
    let challenge = denial.and_then(|denial| {
        Challenge::value(
            denial.reason,
            &api?.realm,
            denial.scheme,
            route.map(|route| &route.requirement),
        )
    });
    Explanation {
        // The query has no part in it, unless it has the token.
        request: match described.request.split_once('?') {
            Some((request, _)) => format!("{request}?…"),
            None => described.request.clone(),
        },
        host: String::from_utf8_lossy(parts.headers.get(HOST).map_or(b"", HeaderValue::as_bytes)).into(),
        api: api.map(|api| api.identifier.to_string()),
        route: route.map(|route| route.pattern.to_string()),
        asks: route.map(asks),
        checks: checks(route, api, denial, looked),
        decision: word,
        reason: reason.name(),
        detail: denial.map(detail),
        status,
        challenge: challenge.and_then(|value| value.to_str().ok().map(str::to_owned)),
    }
}

/// What went wrong, for the operator: unlike a client, it may see what the token says.
fn detail(denial: &Denial) -> String {
    let claim = match denial.reason {
        Reason::InsufficientScope => "scope",
        Reason::InsufficientPermission => "permissions",
        _ if failing(denial) == Reason::StepUpRequired => return authentication(denial),
        _ => {
            return denial
                .detail
                .as_ref()
                .map_or_else(|| denial.reason.text().into(), ToString::to_string);
        }
    };
    let held = denial
        .principal
        .as_ref()
        .and_then(|principal| principal.claim(claim));
    let held: Vec<&str> = match held {
        Some(Json::String(text)) => text.split(' ').collect(),
        Some(Json::Array(elements)) => elements.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let held = if held.is_empty() {
        "none".into()
    } else {
        held.join(", ")
    };
    format!("{}; its `{claim}`: {held}", denial.reason.text())
}

/// What the token says of the login that it came from.
fn authentication(denial: &Denial) -> String {
    let said = |name: &str| {
        let claim = denial
            .principal
            .as_ref()
            .and_then(|principal| principal.claim(name));
        let said = match claim {
            None => "none".into(),
            Some(Json::String(text)) => text.to_string(),
            Some(Json::Number(Number::Integer(seconds))) => seconds.to_string(),
            Some(Json::Array(elements)) if elements.iter().all(|element| element.as_str().is_some()) => {
                let elements: Vec<&str> = elements.iter().filter_map(Json::as_str).collect();
                elements.join(" ")
            }
            Some(_) => "of a wrong type".into(),
        };
        format!("`{name}`: {said}")
    };
    let said = ["auth_time", "amr", "acr"].map(said);
    format!("{}; its {}", denial.reason.text(), said.join(", "))
}

fn asks(route: &Route) -> String {
    match &route.requirement {
        Requirement::Public => "nothing: the route is public".into(),
        Requirement::Metadata(_) => "nothing: the gateway answers it".into(),
        Requirement::Token(requirement) => requirement.to_string(),
    }
}

fn checks(route: Option<&Route>, api: Option<&Api>, denial: Option<&Denial>, looked: Looked) -> Vec<Check> {
    let Looked {
        exchanged,
        introspected,
        is_listed,
    } = looked;
    let is_public = route.is_some_and(|route| !matches!(route.requirement, Requirement::Token(_)));
    let failed = denial.and_then(|denial| {
        CHECKS
            .iter()
            .position(|(_, reasons)| reasons.contains(&failing(denial)))
    });
    let is_asked = |check: &str| match check {
        "same site" => api
            .and_then(|api| api.places.as_deref())
            .is_some_and(TokenPlaces::has_what_browsers_add),
        "revocation" => is_listed,
        "binding" => api.is_some_and(|api| api.possession.is_some()),
        check if check.starts_with("proof") => api.is_some_and(Api::takes_proofs),
        _ => true,
    };
    let is_opaque = introspected == Introspected::Yes;
    let is_asked = |check: &str| match check {
        "API key" => exchanged == Exchanged::Yes,
        "introspection" => is_opaque,
        "encryption" | "algorithm" | "key" | "signature" => !is_opaque,
        check => is_asked(check),
    };
    let result = |index: usize, check: &str| match failed {
        _ if is_public && index >= FIRST_TOKEN_CHECK => CheckResult::NotNeeded,
        _ if !is_asked(check) => CheckResult::NotNeeded,
        Some(failed) if index > failed => CheckResult::NotReached,
        Some(failed) if index == failed => CheckResult::Fail,
        _ => CheckResult::Pass,
    };
    CHECKS
        .iter()
        .enumerate()
        .map(|(index, (check, _))| Check {
            check,
            result: result(index, check),
        })
        .collect()
}

/// The reason by which the failed check is found, where the reason itself stands for several. `iss` is looked at before
/// the other claims.
fn failing(denial: &Denial) -> Reason {
    match denial.detail {
        Some(TokenError::MissingClaim("iss") | TokenError::MalformedClaim("iss")) => Reason::IssuerMismatch,
        // A binding that the API does not look at is a claim that it does not take.
        Some(TokenError::DpopMissing | TokenError::CertificateMissing) => Reason::MalformedClaim,
        // That of the encryption, not of the signature.
        Some(TokenError::UnsupportedEncryption | TokenError::EncryptionMismatch) => Reason::DecryptionFailed,
        // Of a verified token only the claims about the login are read again.
        _ if denial.principal.is_some() && denial.reason == Reason::MalformedClaim => Reason::StepUpRequired,
        _ => denial.reason,
    }
}

pub(super) fn print(explanation: &Explanation, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}  (host {})", explanation.request, explanation.host)?;
    if let (Some(api), Some(route)) = (&explanation.api, &explanation.route) {
        writeln!(out, "  API    {api}\n  route  {route}")?;
    }
    if let Some(asks) = &explanation.asks {
        writeln!(out, "  asks   {asks}")?;
    }
    writeln!(out)?;
    for check in &explanation.checks {
        let (mark, word) = match check.result {
            CheckResult::Pass => ("pass", ""),
            CheckResult::Fail => ("FAIL", explanation.detail.as_deref().unwrap_or_default()),
            CheckResult::NotReached => ("-", "not reached"),
            CheckResult::NotNeeded => ("-", "not needed"),
        };
        let line = format!("  {mark:<5} {:<24} {word}", check.check);
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(
        out,
        "\n{}: {}, status {}",
        explanation.decision, explanation.reason, explanation.status
    )?;
    if let Some(challenge) = &explanation.challenge {
        writeln!(out, "WWW-Authenticate: {challenge}")?;
    }
    Ok(())
}
