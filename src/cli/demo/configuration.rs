//! The configuration of the demo, as the text that a user would write.

use std::io;
use std::net::SocketAddr;
use std::path::Path;

use zeroize::Zeroizing;

use super::certificates::Certificates;
use super::tenant::AUDIENCE;
use crate::config::{Sources, System};

/// The name of the configuration; no such file is looked for.
pub(super) const NAME: &str = "demo.yaml";
const CERTIFICATE: &str = "demo.pem";
const PRIVATE_KEY: &str = "demo.key";

/// Who listens where.
pub(super) struct Addresses {
    pub(super) gateway: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) authority: SocketAddr,
    pub(super) upstream: SocketAddr,
}

/// The configuration and the pair that it names; everything else is read from the disk.
pub(super) struct InMemory {
    configuration: String,
    certificate: String,
    private_key: Zeroizing<String>,
}

impl InMemory {
    pub(super) fn new(addresses: &Addresses, issuer: &str, certificates: Option<&Certificates>) -> Self {
        let text = |of: fn(&Certificates) -> &str| certificates.map(of).unwrap_or_default().to_owned();
        Self {
            configuration: configuration(addresses, issuer, certificates),
            certificate: text(|made| &made.certificate),
            private_key: text(|made| &made.private_key).into(),
        }
    }
}

impl Sources for InMemory {
    fn file(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.to_str() {
            Some(NAME) => Ok(self.configuration.clone().into_bytes()),
            Some(CERTIFICATE) => Ok(self.certificate.clone().into_bytes()),
            Some(PRIVATE_KEY) => Ok(self.private_key.as_bytes().to_vec()),
            _ => System.file(path),
        }
    }

    fn variable(&self, _name: &str) -> Option<String> {
        None
    }
}

fn configuration(addresses: &Addresses, issuer: &str, certificates: Option<&Certificates>) -> String {
    let Addresses {
        gateway,
        admin,
        authority,
        upstream,
    } = addresses;
    let tls = match certificates {
        Some(_) => format!(", tls: {{ certificate: {CERTIFICATE}, private_key: {PRIVATE_KEY} }}"),
        None => String::new(),
    };
    let ca = certificates.map_or_else(String::new, |made| {
        let path = serde_json::Value::from(made.authority().to_string_lossy());
        format!(", jwks: {{ ca: {path} }}")
    });
    format!(
        r#"
listeners: [{{ address: "{gateway}", http2: true{tls} }}]
admin: {{ address: "{admin}" }}
authority: {{ address: "{authority}", issuer: "{issuer}", store: memory{tls} }}
issuers: [{{ issuer: "{issuer}"{ca} }}]
access_log: {{ output: stderr, identities: plain }}
timeouts: {{ drain: 1s }}
apis:
  - definition: {{ follow: "{AUDIENCE}" }}
    leeway: 0s
    upstream: http://{upstream}
    forward: {{ identity_headers: {{ X-Auth-Subject: sub, X-Auth-Permissions: permissions }} }}
    routes:
      - {{ path: /health,       methods: [GET],    require: public }}
      - {{ path: /items,        methods: [GET],    require: read:items }}
      - {{ path: /items,        methods: [POST],   require: create:items }}
      - {{ path: "/items/{{id}}", methods: [GET],    require: read:items }}
      - {{ path: "/items/{{id}}", methods: [DELETE], require: delete:items }}
      - {{ path: /me,           methods: [GET],    require: authenticated }}
"#
    )
}
