//! Keys and tokens. The parent makes them once and the counted processes read them: to make an RSA key takes a number of
//! instructions that nobody knows beforehand.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use scopegate::definition::{Secret, SigningAlg, TokenDialect};
use scopegate::snapshot::handoff::KeyMisses;
use scopegate::snapshot::{ClaimsOf, CompileSettings, IssuerKeys, Plan, ServerAddress, Snapshot, compile};
use scopegate::token::{DecryptionKey, DecryptionKeys, Encryption, KeySet, Unencrypted};
use serde::{Deserialize, Serialize};

use super::support::api::{ISSUER, KID, MAX_BYTES, TestApi};
use super::support::forge::{SigningKey, jwks};
use super::support::routes::{api_plan, guarded, public};
use super::support::seal::{Recipient, Seal};

/// A secret of 256 bits; nothing but the counted processes takes it.
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";

/// The file of the tokens that are new.
const NEW_HS256: &str = "new-hs256";

/// How many tokens there are of which each is sent once.
const NEW: usize = 4_500;

/// What a counted process is given.
#[derive(Serialize, Deserialize)]
pub(crate) struct Material {
    jwks: String,
    /// With every scope.
    pub(crate) rs256: String,
    pub(crate) hs256: String,
    /// With another scope than the one that is asked for.
    pub(crate) narrow: String,
    /// `rs256` encrypted, and the key to it.
    pub(crate) sealed: String,
    decryption_key: String,
    /// Where it was read, with the tokens that only one case needs.
    #[serde(skip)]
    folder: PathBuf,
}

impl Material {
    /// Makes keys and tokens, valid from 2023 to 2096, whenever this runs.
    pub(crate) fn make(folder: &Path) {
        let api = api(SigningAlg::RS256);
        let mut claims = api.claims();
        claims["iat"] = 1_700_000_000.into();
        claims["exp"] = 4_000_000_000_i64.into();
        let mut narrow = claims.clone();
        narrow["scope"] = "write:items".into();
        let hs256 = self::api(SigningAlg::HS256);
        let rs256 = api.sign(&api.header(), &claims);
        let recipient = Recipient::fixture("RSA", 0);
        let secret = SigningKey::hmac(SECRET);
        let new_hs256: Vec<String> = (0..NEW)
            .map(|number| {
                let mut claims = claims.clone();
                claims["jti"] = format!("{number:032x}").into();
                claims["sub"] = format!("auth0|{number:024x}").into();
                secret.token(SigningAlg::HS256, &hs256.header(), &claims)
            })
            .collect();
        std::fs::write(folder.join(NEW_HS256), new_hs256.join("\n")).unwrap();
        let material = Self {
            jwks: jwks(&[api.key().jwk(KID)]),
            sealed: recipient.seal(&Seal::new("RSA-OAEP-256", "A256GCM"), rs256.as_bytes()),
            decryption_key: recipient.pem(),
            rs256,
            hs256: secret.token(SigningAlg::HS256, &hs256.header(), &claims),
            narrow: api.sign(&api.header(), &narrow),
            folder: PathBuf::new(),
        };
        std::fs::write(path(folder), serde_json::to_string(&material).unwrap()).unwrap();
    }

    /// What was made.
    pub(crate) fn read(folder: &Path) -> Self {
        let material = serde_json::from_str(&std::fs::read_to_string(path(folder)).unwrap()).unwrap();
        Self {
            folder: folder.to_owned(),
            ..material
        }
    }

    /// Tokens that differ from one another.
    pub(crate) fn new_hs256(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join(NEW_HS256)).unwrap();
        text.lines().map(str::to_owned).collect()
    }

    /// An API of this algorithm with a public route and two that ask for `read:items`.
    pub(crate) fn snapshot(&self, alg: SigningAlg, upstream: SocketAddr) -> Snapshot {
        self.compiled(alg, upstream, None)
    }

    /// The same for an API that takes encrypted tokens.
    pub(crate) fn decrypting_snapshot(&self, alg: SigningAlg, upstream: SocketAddr) -> Snapshot {
        let key = DecryptionKey::read(self.decryption_key.as_bytes()).unwrap();
        let encryption = Encryption {
            keys: DecryptionKeys::new(vec![key], None),
            unencrypted: Unencrypted::Refuse,
        };
        self.compiled(alg, upstream, Some(encryption))
    }

    fn compiled(&self, alg: SigningAlg, upstream: SocketAddr, encryption: Option<Encryption>) -> Snapshot {
        let mut plan = api_plan(
            api(alg),
            &[],
            vec![
                public("/public"),
                guarded("/items/{id}", &["read:items"]),
                guarded("/items", &["read:items"]),
            ],
        );
        plan.signing_secret = alg.is_symmetric().then(|| Secret::new(SECRET));
        plan.encryption = encryption;
        plan.upstream.servers = vec![ServerAddress::tcp(upstream.ip().to_string(), upstream.port())];
        let (set, _) = KeySet::from_jwks(self.jwks.as_bytes()).unwrap();
        let keys = IssuerKeys {
            keys: Some(Arc::new(set)),
            misses: KeyMisses::new(Duration::from_secs(30)),
        };
        let plan = Plan {
            issuers: vec![ISSUER.into()],
            apis: vec![plan],
        };
        let settings = CompileSettings {
            generation: 1,
            config_hash: Arc::from("bench"),
            max_token_bytes: MAX_BYTES,
            claims: ClaimsOf::Requests,
        };
        compile(&plan, &HashMap::from([(ISSUER.to_owned(), keys)]), &settings).unwrap()
    }
}

fn api(alg: SigningAlg) -> TestApi {
    TestApi::new(alg, TokenDialect::AccessToken)
}

fn path(folder: &Path) -> std::path::PathBuf {
    folder.join("material.json")
}
