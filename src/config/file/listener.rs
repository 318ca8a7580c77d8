//! Listeners, the TLS that they speak, and what stands in front of them, as written.

use schemars::JsonSchema;

use super::super::reader::{Keys, Mirror, Placed, Word};
use crate::definition::{Words, refuse_null};
use crate::gateway::ForwardedFields;
use crate::net::{ClientCertificate, ProxyVersions, TlsVersion};

/// One address to accept connections on.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Listener {
    /// `IP:port`; port 0 takes any free port.
    pub(in super::super) address: Placed<String>,
    /// HTTP/2 beside HTTP/1.1. With `tls` it is agreed upon by ALPN, and the default is true; in cleartext it needs
    /// prior knowledge, and the default is false.
    pub(in super::super) http2: Option<bool>,
    /// TLS; without it the listener speaks cleartext.
    pub(in super::super) tls: Option<Placed<Tls>>,
    /// Every connection must begin with a PROXY header of this version (`any`: 1 or 2), and come from
    /// `trusted_proxies`. Default: none is expected.
    pub(in super::super) proxy_protocol: Option<Placed<Word<ProxyVersions>>>,
}

impl Mirror for Listener {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let address = keys.required("address");
        let http2 = keys.optional("http2");
        let tls = keys.optional("tls");
        let proxy_protocol = keys.optional("proxy_protocol");
        Some(Self {
            address: address?,
            http2,
            tls,
            proxy_protocol,
        })
    }
}

/// TLS towards clients.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Tls {
    /// PEM file: the certificate, then those that lead to its authority. Read again when it changes, as all files
    /// below. This pair is shown to clients that ask for no name that another pair is for.
    pub(in super::super) certificate: Placed<String>,
    /// PEM file: its key, not encrypted.
    pub(in super::super) private_key: Placed<String>,
    /// Further pairs; which one is shown follows from the names in the certificates. At most 63.
    #[schemars(length(min = 1, max = 63))]
    pub(in super::super) certificates: Option<Placed<Vec<Pair>>>,
    /// PEM file: the authorities that issue client certificates.
    pub(in super::super) client_ca: Option<Placed<String>>,
    /// Whether clients show a certificate. Default: `required` with a `client_ca`, `off` without.
    pub(in super::super) client_certificate: Option<Placed<Word<ClientCertificate>>>,
    /// The lowest version that is spoken. Default: "1.2".
    pub(in super::super) min_version: Option<Word<TlsVersion>>,
}

impl Mirror for Tls {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let certificate = keys.required("certificate");
        let private_key = keys.required("private_key");
        let certificates = keys.optional("certificates");
        let client_ca = keys.optional("client_ca");
        let client_certificate = keys.optional("client_certificate");
        let min_version = keys.optional("min_version");
        Some(Self {
            certificate: certificate?,
            private_key: private_key?,
            certificates,
            client_ca,
            client_certificate,
            min_version,
        })
    }
}

/// A certificate and its key.
#[derive(Clone, Debug, JsonSchema)]
#[schemars(rename = "CertificatePair", deny_unknown_fields, transform = refuse_null)]
pub(in super::super) struct Pair {
    /// PEM file: the certificate, then those that lead to its authority.
    pub(in super::super) certificate: Placed<String>,
    /// PEM file: its key, not encrypted.
    pub(in super::super) private_key: Placed<String>,
}

impl Mirror for Pair {
    fn read(keys: &mut Keys<'_, '_>) -> Option<Self> {
        let certificate = keys.required("certificate");
        let private_key = keys.required("private_key");
        Some(Self {
            certificate: certificate?,
            private_key: private_key?,
        })
    }
}

impl Words for ClientCertificate {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("off", Self::Off),
        ("optional", Self::Optional),
        ("required", Self::Required),
    ];
}

impl Words for TlsVersion {
    const WORDS: &'static [(&'static str, Self)] = &[("1.2", Self::V1_2), ("1.3", Self::V1_3)];
}

impl Words for ProxyVersions {
    const WORDS: &'static [(&'static str, Self)] = &[("v1", Self::V1), ("v2", Self::V2), ("any", Self::Any)];
}

impl Words for ForwardedFields {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("x_forwarded", Self::XForwarded),
        ("forwarded", Self::Forwarded),
        ("both", Self::Both),
    ];
}
