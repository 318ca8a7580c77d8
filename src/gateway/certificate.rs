//! Which certificate a client has shown: to us, or to a trusted proxy that ends TLS in front of us and passes it on.
//!
//! Asked for only where a token is bound to a certificate (RFC 8705). A field of a peer that is not trusted is never
//! looked at, and the certificate of a trusted proxy is never taken for that of its client.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderName};

use crate::token::Thumbprint;

const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
const X_FORWARDED_CLIENT_CERT: HeaderName = HeaderName::from_static("x-forwarded-client-cert");

/// The header field in which trusted proxies pass the certificate of their client on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateField {
    /// `Client-Cert` (RFC 9440).
    ClientCert,
    /// `X-Forwarded-Client-Cert`, as Envoy writes it.
    XForwardedClientCert,
}

impl CertificateField {
    /// The certificate that a trusted peer passes on; `None` where there is none, or more than one reading.
    pub(super) fn read(self, fields: &HeaderMap) -> Option<Thumbprint> {
        match self {
            Self::ClientCert => {
                let mut values = fields.get_all(CLIENT_CERT).iter();
                let value = values.next().filter(|_| values.next().is_none())?;
                client_cert(value.to_str().ok()?)
            }
            Self::XForwardedClientCert => {
                let value = fields.get_all(X_FORWARDED_CLIENT_CERT).iter().next_back()?;
                x_forwarded_client_cert(value.to_str().ok()?)
            }
        }
    }
}

/// A byte sequence (RFC 9440 section 2.1, RFC 8941 section 3.3.5): base64 of the DER between colons, and nothing else.
fn client_cert(value: &str) -> Option<Thumbprint> {
    let text = value.trim().strip_prefix(':')?.strip_suffix(':')?;
    let der = STANDARD.decode(text).ok()?;
    (!der.is_empty()).then(|| Thumbprint::of(&der))
}

/// One element for each hop, the last by the peer itself: `By=…;Hash=…;Cert="…"`. `Hash` is the SHA-256 of the DER in
/// hexadecimal, `Cert` the PEM, percent-encoded. Where there are both they must agree.
fn x_forwarded_client_cert(value: &str) -> Option<Thumbprint> {
    let element = split(value, ',')?.pop()?;
    let (mut by_hash, mut by_certificate) = (None, None);
    for pair in split(element, ';')? {
        let (name, value) = pair.split_once('=')?;
        let value = value
            .strip_prefix('"')
            .map_or(Some(value), |value| value.strip_suffix('"'))?;
        let found = match name.to_ascii_lowercase().as_str() {
            "hash" => &mut by_hash,
            "cert" => &mut by_certificate,
            _ => continue,
        };
        if found.is_some() {
            return None;
        }
        *found = Some(value);
    }
    let by_hash = by_hash.map(hexadecimal);
    let by_certificate = by_certificate.map(percent_encoded_pem);
    match (by_hash, by_certificate) {
        (Some(hash), None) => hash,
        (None, Some(certificate)) => certificate,
        (Some(hash), Some(certificate)) => hash.filter(|hash| certificate == Some(*hash)),
        (None, None) => None,
    }
}

/// The parts of a text between separators that are not within quotes; within them `\` takes the next character as it
/// is. `None` where a quote does not end.
fn split(text: &str, separator: char) -> Option<Vec<&str>> {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let parts = text.split(|character| {
        if std::mem::take(&mut is_escaped) {
            return false;
        }
        is_escaped = is_quoted && character == '\\';
        is_quoted ^= character == '"';
        character == separator && !is_quoted
    });
    let parts = parts.map(str::trim).collect();
    (!is_quoted && !is_escaped).then_some(parts)
}

fn hexadecimal(text: &str) -> Option<Thumbprint> {
    let mut bytes = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let [high, low] = pair else { return None };
        let digit = |character: &u8| char::from(*character).to_digit(16);
        *byte = u8::try_from(digit(high)? * 16 + digit(low)?).ok()?;
    }
    Some(Thumbprint(bytes))
}

/// One PEM certificate.
fn percent_encoded_pem(text: &str) -> Option<Thumbprint> {
    let mut pem = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '%' {
            let mut digit = || characters.next()?.to_digit(16);
            pem.push(char::from(u8::try_from(digit()? * 16 + digit()?).ok()?));
        } else {
            pem.push(character);
        }
    }
    let body = pem.trim().strip_prefix("-----BEGIN CERTIFICATE-----")?;
    let body = body.strip_suffix("-----END CERTIFICATE-----")?;
    let base64: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(base64).ok()?;
    (!der.is_empty()).then(|| Thumbprint::of(&der))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DER: &[u8] = b"any bytes will do";

    fn read(field: CertificateField, values: &[&str]) -> Option<Thumbprint> {
        let mut fields = HeaderMap::new();
        for value in values {
            fields.append(CLIENT_CERT, value.parse().unwrap());
            fields.append(X_FORWARDED_CLIENT_CERT, value.parse().unwrap());
        }
        field.read(&fields)
    }

    #[test]
    fn client_cert_is_one_byte_sequence() {
        let right = format!(":{}:", STANDARD.encode(DER));
        let of = |values: &[&str]| read(CertificateField::ClientCert, values);
        assert_eq!(of(&[&right]), Some(Thumbprint::of(DER)));
        for wrong in [
            "",
            ":",
            "::",
            ":!:",
            &right[1..],
            &right[..right.len() - 1],
            &format!("{right}, {right}"),
            &format!("{right};a"),
        ] {
            assert_eq!(of(&[wrong]), None, "{wrong}");
        }
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[&right, &right]), None);
    }

    #[test]
    fn of_forwarded_certificates_the_last_counts() {
        let of = |values: &[&str]| read(CertificateField::XForwardedClientCert, values);
        let right = Thumbprint::of(DER);
        let hash: String = right.0.iter().map(|byte| format!("{byte:02x}")).collect();
        let other = "0".repeat(64);
        let pem = format!(
            "-----BEGIN CERTIFICATE-----%0A{}%0A-----END CERTIFICATE-----%0A",
            STANDARD.encode(DER).replace('+', "%2B").replace('=', "%3D")
        );
        for value in [
            format!("Hash={hash}"),
            format!("By=spiffe://a/b;Hash={hash};Subject=\"CN=a;b,c\\\"d\";URI=spiffe://c"),
            format!("hash={}", hash.to_uppercase()),
            format!("Cert=\"{pem}\""),
            format!("Hash={hash};Cert=\"{pem}\""),
            format!("By=a;Hash={other}, By=b;Hash={hash}"),
        ] {
            assert_eq!(of(&[&value]), Some(right), "{value}");
        }
        assert_eq!(
            of(&[&format!("Hash={other}"), &format!("Hash={hash}")]),
            Some(right)
        );
        for value in [
            String::new(),
            "By=a".into(),
            "Hash".into(),
            "Hash=".into(),
            format!("Hash={}", &hash[1..]),
            format!("Hash={hash}0"),
            format!("Hash={};", "é".repeat(32)),
            format!("Hash={hash};Hash={other}"),
            format!("Hash={other};Cert=\"{pem}\""),
            format!("Cert=\"{pem}"),
            format!("Cert=\"{pem}\\\""),
            "Cert=\"%0\"".into(),
            // Within quotes it is no element of its own.
            format!("Subject=\"a, Hash={hash}\""),
            format!("Hash={hash}, By=b"),
        ] {
            assert_eq!(of(&[&value]), None, "{value:?}");
        }
    }
}
