//! The pure core: a decision, without a socket.

use std::hint::black_box;
use std::net::SocketAddr;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method};
use scopegate::definition::SigningAlg;
use scopegate::policy::{Api, Decision, Reason, RequestHead, decide};
use scopegate::snapshot::Snapshot;
use scopegate::token::{Principal, TokenError, UnixSeconds, VerifyToken};

use super::material::Material;
use super::support::api::NOW;
use super::support::routes::Uncached;

/// One entry, compared byte for byte, with the checks that a hit must repeat.
struct OneEntry<'t> {
    token: &'t str,
    principal: Arc<Principal>,
}

impl<'t> OneEntry<'t> {
    fn of(snapshot: &Snapshot, token: &'t str) -> Self {
        let verifier = &snapshot.table.apis()[0].verifier;
        Self {
            token,
            principal: Arc::new(verifier.verify(token, NOW).unwrap()),
        }
    }
}

impl VerifyToken<Api> for OneEntry<'_> {
    fn verify(&self, api: &Api, token: &str, now: UnixSeconds) -> Result<Arc<Principal>, TokenError> {
        assert_eq!(token, self.token, "nothing else is asked for");
        api.verifier.check_times(&self.principal, now)?;
        Ok(Arc::clone(&self.principal))
    }
}

pub(crate) fn cached(material: &Material, times: u32) {
    let snapshot = snapshot(material, SigningAlg::RS256);
    let entry = OneEntry::of(&snapshot, &material.rs256);
    repeat(times, &snapshot, &entry, Some(&material.rs256), Reason::Ok);
}

pub(crate) fn new_rs256(material: &Material, times: u32) {
    let snapshot = snapshot(material, SigningAlg::RS256);
    repeat(times, &snapshot, &Uncached, Some(&material.rs256), Reason::Ok);
}

pub(crate) fn new_hs256(material: &Material, times: u32) {
    let snapshot = snapshot(material, SigningAlg::HS256);
    repeat(times, &snapshot, &Uncached, Some(&material.hs256), Reason::Ok);
}

pub(crate) fn no_token(material: &Material, times: u32) {
    let snapshot = snapshot(material, SigningAlg::RS256);
    repeat(times, &snapshot, &Uncached, None, Reason::MissingToken);
}

pub(crate) fn no_scope(material: &Material, times: u32) {
    let snapshot = snapshot(material, SigningAlg::RS256);
    let entry = OneEntry::of(&snapshot, &material.narrow);
    repeat(
        times,
        &snapshot,
        &entry,
        Some(&material.narrow),
        Reason::InsufficientScope,
    );
}

fn snapshot(material: &Material, alg: SigningAlg) -> Snapshot {
    material.snapshot(alg, SocketAddr::from(([127, 0, 0, 1], 1)))
}

fn repeat(
    times: u32,
    snapshot: &Snapshot,
    verify: &impl VerifyToken<Api>,
    token: Option<&str>,
    expected: Reason,
) {
    let mut headers = HeaderMap::new();
    headers.insert("accept", HeaderValue::from_static("application/json"));
    headers.insert("user-agent", HeaderValue::from_static("bench"));
    if let Some(token) = token {
        let value = HeaderValue::from_str(&format!("Bearer {token}"));
        headers.insert(AUTHORIZATION, value.unwrap());
    }
    let head = RequestHead {
        method: &Method::GET,
        authority: "items.example.com",
        path: "/items/0f8fad5b-d9cb-469f-a165-70867728950e",
        query: None,
        headers: &headers,
    };
    for _ in 0..times {
        let reason = match decide(&snapshot.table, black_box(head), verify, NOW) {
            Decision::Forward(permit) => permit.reason(),
            Decision::Refuse(denial) => denial.reason,
        };
        assert_eq!(reason, expected);
    }
}
