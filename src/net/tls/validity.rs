//! Until when a certificate is valid (RFC 5280 section 4.1.2.5).
//!
//! Neither rustls nor webpki tells. For a metric and a warning only: whether a certificate is accepted is decided by
//! whoever is shown it.

/// The end of the validity in seconds since 1970. `None` where the bytes are no certificate.
pub fn not_after(certificate: &[u8]) -> Option<i64> {
    let (SEQUENCE, certificate, _) = element(certificate)? else {
        return None;
    };
    let (SEQUENCE, mut rest, _) = element(certificate)? else {
        return None;
    };
    // Version (absent in version 1), serial number, algorithm, issuer; then the validity.
    let (tag, _, after) = element(rest)?;
    if tag == VERSION {
        rest = after;
    }
    for _ in 0..3 {
        (_, _, rest) = element(rest)?;
    }
    let (SEQUENCE, validity, _) = element(rest)? else {
        return None;
    };
    let (_, _, rest) = element(validity)?;
    match element(rest)? {
        (UTC_TIME, text, _) => {
            let text = std::str::from_utf8(text).ok()?;
            // Two digits: 50 to 99 are of the last century.
            let century = if text.get(..2)? < "50" { "20" } else { "19" };
            seconds(&format!("{century}{text}"))
        }
        (GENERALIZED_TIME, text, _) => seconds(std::str::from_utf8(text).ok()?),
        _ => None,
    }
}

/// `YYYYMMDDHHMMSSZ`.
fn seconds(text: &str) -> Option<i64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%d%H%M%SZ", text).ok()?;
    Some(
        time.to_zoned(jiff::tz::TimeZone::UTC)
            .ok()?
            .timestamp()
            .as_second(),
    )
}

/// Tag, content and what follows of the first DER element.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        short if *short < 0x80 => (usize::from(*short), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            let length = digits
                .iter()
                .fold(0_usize, |length, digit| length << 8 | usize::from(*digit));
            (length, rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate() {
        for (year, month, day) in [
            (1999, 12, 31),
            (2026, 11, 22),
            (2049, 1, 2),
            (2050, 1, 1),
            (2099, 6, 30),
        ] {
            let mut parameters = rcgen::CertificateParams::new(vec!["a.test".to_owned()]).unwrap();
            parameters.not_before = rcgen::date_time_ymd(1990, 1, 1);
            parameters.not_after = rcgen::date_time_ymd(year, month, day);
            let key = rcgen::KeyPair::generate().unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            let end = parameters_end(year, month, day);
            assert_eq!(not_after(certificate.der()), Some(end), "{year}");
            for cut in 0..certificate.der().len() {
                // No prefix is a certificate, and none brings this down.
                assert_eq!(not_after(&certificate.der()[..cut]), None);
            }
        }
    }

    fn parameters_end(year: i32, month: u8, day: u8) -> i64 {
        rcgen::date_time_ymd(year, month, day).unix_timestamp()
    }
}
