//! A client that proves that it has its key: DPoP proofs (RFC 9449), right until a test changes them.

use aws_lc_rs::digest::{SHA256, digest};
use scopegate::definition::SigningAlg;
use serde_json::{Value, json};

use super::issuer::now;
use crate::support::forge::{SigningKey, encode};

/// The holder of a key.
#[derive(Clone, Debug)]
pub(crate) struct Prover {
    pub(crate) alg: SigningAlg,
    pub(crate) key: SigningKey,
}

/// A proof that is not signed yet.
#[derive(Clone, Debug)]
pub(crate) struct ProofDraft {
    pub(crate) header: Value,
    pub(crate) claims: Value,
}

impl Prover {
    pub(crate) fn new(alg: SigningAlg) -> Self {
        Self::with_key(alg, 1)
    }

    /// With another key than [`Self::new`].
    pub(crate) fn another(alg: SigningAlg) -> Self {
        Self::with_key(alg, 2)
    }

    fn with_key(alg: SigningAlg, slot: usize) -> Self {
        Self {
            alg,
            key: SigningKey::fixture(alg, slot),
        }
    }

    /// The public key, with nothing beside it.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = self.key.jwk("");
        jwk.as_object_mut().unwrap().remove("kid");
        jwk
    }

    /// RFC 7638 section 3: the required members in the order of their names.
    pub(crate) fn thumbprint(&self) -> String {
        let jwk = self.jwk();
        let names: &[&str] = match jwk["kty"].as_str().unwrap() {
            "EC" => &["crv", "kty", "x", "y"],
            "OKP" => &["crv", "kty", "x"],
            _ => &["e", "kty", "n"],
        };
        let members: Vec<String> = names
            .iter()
            .map(|name| format!("\"{name}\":{}", jwk[name]))
            .collect();
        hash(&format!("{{{}}}", members.join(",")))
    }

    /// A right proof.
    pub(crate) fn draft(&self, method: &str, address: &str, token: &str) -> ProofDraft {
        ProofDraft {
            header: json!({"typ": "dpop+jwt", "alg": self.alg.name(), "jwk": self.jwk()}),
            claims: json!({
                "jti": unique(), "htm": method, "htu": address, "iat": now(), "ath": hash(token),
            }),
        }
    }

    pub(crate) fn sign(&self, draft: &ProofDraft) -> String {
        self.key.token(self.alg, &draft.header, &draft.claims)
    }

    pub(crate) fn proof(&self, method: &str, address: &str, token: &str) -> String {
        self.sign(&self.draft(method, address, token))
    }
}

impl ProofDraft {
    pub(crate) fn claim(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.claims[name] = value.into();
        self
    }

    pub(crate) fn without(mut self, name: &str) -> Self {
        self.claims.as_object_mut().unwrap().remove(name);
        self
    }

    pub(crate) fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header[name] = value.into();
        self
    }

    pub(crate) fn jwk(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.header["jwk"][name] = value.into();
        self
    }
}

/// base64url of the SHA-256.
pub(crate) fn hash(text: &str) -> String {
    encode(digest(&SHA256, text.as_bytes()).as_ref())
}

fn unique() -> String {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    format!(
        "proof-{}-{}",
        std::process::id(),
        NUMBER.fetch_add(1, Ordering::Relaxed)
    )
}
