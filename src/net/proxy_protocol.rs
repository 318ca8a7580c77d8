//! The PROXY protocol, versions 1 and 2: what a proxy in front says of its client before the client's own bytes.
//!
//! Whether it is believed, and that it must be there, is the caller's business (`app`); this file reads one header, within
//! bounds of its own. It is stricter than most readers: one spelling of each address and port, stream sockets only.
//! Source: "The PROXY protocol, versions 1 & 2", sections 2.1 and 2.2.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, timeout_at};

use crate::net::{ClientSocket, ProxyVersions};

/// A header, read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProxyHeader {
    /// The client; `None` where the proxy speaks for itself (`LOCAL`, such as a health check) or does not know.
    pub source: Option<SocketAddr>,
    /// Bytes of the header; what follows is the client's.
    pub length: usize,
}

/// Why there is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The peer is not one that may send one.
    #[error("not from a trusted proxy")]
    Untrusted,
    /// The bytes are not one.
    #[error("malformed PROXY header")]
    Malformed,
    /// It did not come in time.
    #[error("no PROXY header in time")]
    TimedOut,
    /// The connection ended or broke.
    #[error("the connection ended before the PROXY header did")]
    Gone,
    /// Its client has as many connections as it may.
    #[error("too many connections of one client")]
    TooMany,
}

/// Reads a header at the beginning of `bytes`. `None`: it is good so far, and more is needed.
///
/// # Errors
/// [`ProxyError::Malformed`], as soon as no continuation can make a header of it.
pub fn parse(bytes: &[u8], versions: ProxyVersions) -> Result<Option<ProxyHeader>, ProxyError> {
    let may_be = |signature: &[u8]| bytes.starts_with(signature) || signature.starts_with(bytes);
    match versions {
        ProxyVersions::V1 | ProxyVersions::Any if may_be(TEXT) => text(bytes),
        ProxyVersions::V2 | ProxyVersions::Any if may_be(BINARY) => binary(bytes),
        _ => Err(ProxyError::Malformed),
    }
}

/// Takes the header off the connection; what was read beyond it stays to be read.
///
/// # Errors
/// [`ProxyError`]; the connection is of no use then.
pub async fn read_proxy_header(
    socket: &mut ClientSocket,
    versions: ProxyVersions,
    deadline: Instant,
) -> Result<ProxyHeader, ProxyError> {
    let mut bytes = Vec::with_capacity(USUAL);
    loop {
        if let Some(header) = parse(&bytes, versions)? {
            socket.give_back(bytes.get(header.length..).unwrap_or_default());
            return Ok(header);
        }
        let reading = socket.read_buf(&mut bytes);
        match timeout_at(deadline, reading).await {
            Err(_elapsed) => return Err(ProxyError::TimedOut),
            Ok(Ok(0)) => return Err(ProxyError::Gone),
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
            Ok(Err(_)) => return Err(ProxyError::Gone),
        }
    }
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`.
fn text(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let looked_at = bytes.get(..LONGEST_TEXT).unwrap_or(bytes);
    let Some(end) = looked_at.iter().position(|byte| *byte == b'\n') else {
        // A lone CR may be half of its end.
        let line = looked_at.strip_suffix(b"\r").unwrap_or(looked_at);
        let is_good_so_far = bytes.len() < LONGEST_TEXT && is_visible(line);
        return if is_good_so_far {
            Ok(None)
        } else {
            Err(ProxyError::Malformed)
        };
    };
    let line = bytes.get(..end).and_then(|line| line.strip_suffix(b"\r"));
    // Also where the rest of the line is to be ignored: a header is the same however its bytes arrive.
    let line = line.filter(|line| is_visible(line));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let mut words = line.ok_or(ProxyError::Malformed)?.split(' ').skip(1);
    let source = match words.next() {
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(addresses::<Ipv4Addr>(words).ok_or(ProxyError::Malformed)?),
        Some("TCP6") => Some(addresses::<Ipv6Addr>(words).ok_or(ProxyError::Malformed)?),
        _ => return Err(ProxyError::Malformed),
    };
    Ok(Some(ProxyHeader {
        source,
        length: end + 1,
    }))
}

/// Nothing but visible ASCII and spaces stands in a line.
fn is_visible(line: &[u8]) -> bool {
    line.iter().all(|byte| matches!(byte, b' '..=b'~'))
}

/// Source and destination address, source and destination port; the source is answered.
fn addresses<'a, A: FromStr + Into<IpAddr>>(mut words: impl Iterator<Item = &'a str>) -> Option<SocketAddr> {
    let source: A = words.next()?.parse().ok()?;
    let _: A = words.next()?.parse().ok()?;
    let port = port(words.next()?)?;
    self::port(words.next()?)?;
    match words.next() {
        None => Some(SocketAddr::new(source.into(), port)),
        Some(_) => None,
    }
}

/// Digits without a sign or a leading zero.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// Signature, version and command, family and protocol, length, addresses, further fields.
fn binary(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
    let Some((_, rest)) = bytes.split_first_chunk::<{ BINARY.len() }>() else {
        return Ok(None);
    };
    let Some(([command, family, high, low], rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes([*high, *low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Malformed),
    };
    let addresses = match family {
        // What it says of addresses is to be ignored.
        _ if is_local => 0,
        0x00 => 0,
        0x11 => 12,
        0x21 => 36,
        // Of a Unix socket there is nothing to learn.
        0x31 => 216,
        _ => return Err(ProxyError::Malformed),
    };
    if length > LONGEST_BINARY || length < addresses {
        return Err(ProxyError::Malformed);
    }
    let Some(fields) = rest.get(..length) else {
        return Ok(None);
    };
    let source = match family {
        _ if is_local => None,
        0x11 => source::<4, 8>(fields),
        0x21 => source::<16, 32>(fields),
        _ => None,
    };
    Ok(Some(ProxyHeader {
        source,
        length: BINARY.len() + 4 + length,
    }))
}

/// The source of an address block whose addresses have `SIZE` bytes each, and whose ports stand at `PORTS`.
fn source<const SIZE: usize, const PORTS: usize>(fields: &[u8]) -> Option<SocketAddr>
where
    [u8; SIZE]: Into<IpAddr>,
{
    let (address, _) = fields.split_first_chunk::<SIZE>()?;
    let (port, _) = fields.get(PORTS..)?.split_first_chunk::<2>()?;
    Some(SocketAddr::new((*address).into(), u16::from_be_bytes(*port)))
}

const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// With its line end (section 2.1).
const LONGEST_TEXT: usize = 107;
/// Addresses and further fields. Proxies send a few hundred bytes at most.
const LONGEST_BINARY: usize = 2_048;
const USUAL: usize = 256;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn binary(command: u8, family: u8, fields: &[u8]) -> Vec<u8> {
        let length = u16::try_from(fields.len()).unwrap().to_be_bytes();
        [BINARY, &[command, family][..], &length, fields].concat()
    }

    fn either(bytes: &[u8]) -> Result<Option<ProxyHeader>, ProxyError> {
        parse(bytes, ProxyVersions::Any)
    }

    #[test]
    fn text_headers() {
        for (line, source) in [
            (
                "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n",
                Some("192.0.2.1:56324"),
            ),
            (
                "PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n",
                Some("255.255.255.255:65535"),
            ),
            ("PROXY TCP6 2001:db8::1 ::1 1 2\r\n", Some("[2001:db8::1]:1")),
            ("PROXY UNKNOWN\r\n", None),
            ("PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
        ] {
            let with_more = format!("{line}GET / HTTP/1.1\r\n\r\n");
            let header = either(with_more.as_bytes()).unwrap().unwrap();
            assert_eq!(
                header.source,
                source.map(|source| source.parse().unwrap()),
                "{line}"
            );
            assert_eq!(header.length, line.len());
            assert_eq!(
                parse(line.as_bytes(), ProxyVersions::V2),
                Err(ProxyError::Malformed)
            );
        }
        for line in [
            "GET / HTTP/1.1\r\n\r\n",
            "PROXY\r\n",
            "PROXY \r\n",
            "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n",
            "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1  192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
            "PROXY TCP4 ::1 ::1 1 2\r\n",
            "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP6 ::1%1 ::1 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 +1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 01 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n",
            "PROXY TCP4\t192.0.2.1 192.0.2.2 1 2\r\n",
            "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n",
            "PROXY UNKNOWN TCP6 \r\r\n",
            "PROXY UNKNOWN \t\r\n",
            "PROXY UNKNOWN \u{e9}\r\n",
            "PROXY TCP4 192.0.2.1\x00 192.0.2.2 1 2",
        ] {
            assert_eq!(either(line.as_bytes()), Err(ProxyError::Malformed), "{line:?}");
        }
        let endless = format!("PROXY UNKNOWN {}", "x".repeat(LONGEST_TEXT));
        assert_eq!(either(endless.as_bytes()), Err(ProxyError::Malformed));
        assert_eq!(either(&endless.as_bytes()[..LONGEST_TEXT - 1]), Ok(None));
    }

    #[test]
    fn binary_headers() {
        let v4 = [192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 4, 1, 0xbb];
        let mut v6 = [0; 36];
        v6[15] = 1;
        v6[33] = 80;
        let with_fields = [&v4[..], &[4, 0, 1, 0]].concat();
        for (bytes, source) in [
            (binary(0x21, 0x11, &v4), Some("192.0.2.1:56324")),
            (binary(0x21, 0x11, &with_fields), Some("192.0.2.1:56324")),
            (binary(0x21, 0x21, &v6), Some("[::1]:80")),
            (binary(0x21, 0x31, &[0; 216]), None),
            (binary(0x21, 0x00, &[]), None),
            (binary(0x20, 0x00, &[]), None),
            (binary(0x20, 0x11, &v4), None),
        ] {
            let header = either(&bytes).unwrap().unwrap();
            assert_eq!(header.source, source.map(|source| source.parse().unwrap()));
            assert_eq!(header.length, bytes.len());
            for cut in 0..bytes.len() {
                assert_eq!(either(&bytes[..cut]), Ok(None));
            }
            assert_eq!(parse(&bytes, ProxyVersions::V1), Err(ProxyError::Malformed));
        }
        for bytes in [
            binary(0x11, 0x11, &v4),
            binary(0x22, 0x11, &v4),
            binary(0x21, 0x12, &v4),
            binary(0x21, 0x41, &v4),
            binary(0x21, 0x11, &v4[..11]),
            binary(0x21, 0x21, &v4),
            binary(0x21, 0x11, &[0; LONGEST_BINARY + 1]),
            b"\r\n\r\n\0\r\nQUIX\n".to_vec(),
        ] {
            assert_eq!(either(&bytes), Err(ProxyError::Malformed));
        }
    }

    proptest! {
        /// A verdict does not depend on how the bytes were cut, and a header is never longer than its bounds.
        #[test]
        fn cutting_changes_nothing(
            head in prop_oneof![Just(TEXT.to_vec()), Just(BINARY.to_vec()), Just(Vec::new())],
            tail in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let bytes = [head, tail].concat();
            let whole = super::parse(&bytes, ProxyVersions::Any);
            for cut in 0..bytes.len() {
                match super::parse(&bytes[..cut], ProxyVersions::Any) {
                    Ok(None) => {}
                    early => prop_assert_eq!(early, whole),
                }
            }
            if let Ok(Some(header)) = whole {
                prop_assert!(header.length <= bytes.len() && header.length <= 16 + LONGEST_BINARY);
            }
        }

        #[test]
        fn what_is_written_is_read(address in any::<IpAddr>(), port in any::<u16>(), rest in prop::collection::vec(any::<u8>(), 0..50)) {
            let kind = if address.is_ipv4() { "TCP4" } else { "TCP6" };
            let line = format!("PROXY {kind} {address} {address} {port} 1\r\n");
            let bytes = [line.as_bytes(), &rest].concat();
            let header = super::parse(&bytes, ProxyVersions::V1).unwrap().unwrap();
            prop_assert_eq!(header, ProxyHeader { source: Some(SocketAddr::new(address, port)), length: line.len() });
        }
    }
}
