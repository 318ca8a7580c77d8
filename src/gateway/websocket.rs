//! What the gateway has to know of WebSocket (RFC 6455): a sound handshake on both sides, and where a frame ends.
//!
//! `upgrade` uses it. Messages are never read: only the heads of frames are, so that a closing frame of ours comes
//! between two frames and not into one.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

/// RFC 6455 section 1.3.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The protocol as it is written in `Upgrade`.
pub(super) const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// What a client asks for with its head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// No WebSocket: any other request, also one that would change to something else.
    Nothing,
    /// A WebSocket, the way RFC 6455 section 4.2.1 wants it. Holds the answer that proves that the server understood.
    WebSocket(String),
    /// A WebSocket, in a way that a server could take for something else.
    Malformed,
}

impl Asked {
    /// Reads a head.
    pub(super) fn read(parts: &Parts) -> Self {
        let fields = &parts.headers;
        let names_websocket = |value: &HeaderValue| has_token(value, "websocket");
        if !fields.get_all(UPGRADE).iter().any(names_websocket) {
            return Self::Nothing;
        }
        let is_sound = parts.method == Method::GET
            && parts.version == Version::HTTP_11
            && only(fields, &UPGRADE)
                .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
            && names_upgrade(fields)
            && only(fields, &SEC_WEBSOCKET_VERSION).is_some_and(|version| version.as_bytes() == b"13")
            && !fields.contains_key(TRANSFER_ENCODING);
        match only(fields, &SEC_WEBSOCKET_KEY).filter(|key| is_sound && is_key(key.as_bytes())) {
            Some(key) => Self::WebSocket(accept(key.as_bytes())),
            None => Self::Malformed,
        }
    }
}

/// Whether an upstream has agreed to a WebSocket that was asked for (RFC 6455 section 4.1).
pub(super) fn has_agreed(status: StatusCode, fields: &HeaderMap, expected: &str) -> bool {
    status == StatusCode::SWITCHING_PROTOCOLS
        && only(fields, &UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && names_upgrade(fields)
        && only(fields, &SEC_WEBSOCKET_ACCEPT).is_some_and(|accept| accept.as_bytes() == expected.as_bytes())
}

fn names_upgrade(fields: &HeaderMap) -> bool {
    fields
        .get_all(CONNECTION)
        .iter()
        .any(|value| has_token(value, "upgrade"))
}

fn has_token(value: &HeaderValue, token: &str) -> bool {
    value
        .to_str()
        .is_ok_and(|value| value.split(',').any(|own| own.trim().eq_ignore_ascii_case(token)))
}

/// The value of a field that is there once.
fn only<'a>(fields: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    let mut values = fields.get_all(name).iter();
    values.next().filter(|_| values.next().is_none())
}

/// Sixteen bytes in base64.
fn is_key(key: &[u8]) -> bool {
    STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16)
}

fn accept(key: &[u8]) -> String {
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, GUID].concat()))
}

/// Why a WebSocket is closed by the gateway (RFC 6455 section 7.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub(super) enum CloseCode {
    GoingAway = 1001,
    PolicyViolation = 1008,
}

impl CloseCode {
    /// The closing frame of a server.
    pub(super) fn to_client(self) -> [u8; 4] {
        let [high, low] = (self as u16).to_be_bytes();
        [0x88, 0x02, high, low]
    }

    /// The closing frame of a client, whose payload is masked.
    pub(super) fn to_upstream(self, mask: [u8; 4]) -> [u8; 8] {
        let [high, low] = (self as u16).to_be_bytes();
        let [first, second, third, fourth] = mask;
        [
            0x88,
            0x82,
            first,
            second,
            third,
            fourth,
            high ^ first,
            low ^ second,
        ]
    }
}

/// Where in a sequence of frames a direction has come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FramePosition {
    /// The head of a frame, as far as it has come: two bytes, up to eight of length, four of mask.
    head: [u8; 14],
    head_bytes: usize,
    /// How much of the payload is still to come.
    payload: u64,
}

impl FramePosition {
    /// Whether a frame may begin here.
    pub(super) fn is_between_frames(&self) -> bool {
        self.head_bytes == 0 && self.payload == 0
    }

    /// These bytes have gone by.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) {
        loop {
            let skipped = usize::try_from(self.payload).map_or(bytes.len(), |left| left.min(bytes.len()));
            self.payload -= skipped as u64;
            bytes = bytes.get(skipped..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else {
                return;
            };
            if let Some(place) = self.head.get_mut(self.head_bytes) {
                *place = *byte;
            }
            self.head_bytes += 1;
            bytes = rest;
            if let Some(payload) = self.payload_of_head() {
                self.payload = payload;
                self.head_bytes = 0;
            }
        }
    }

    /// The length of the payload, once the head is whole (RFC 6455 section 5.2).
    fn payload_of_head(&self) -> Option<u64> {
        let [_, second, extended @ ..] = self.head;
        if self.head_bytes < 2 {
            return None;
        }
        let mask = if second & 0x80 == 0 { 0 } else { 4 };
        let [a, b, c, d, e, f, g, h, ..] = extended;
        let (length_bytes, payload) = match second & 0x7f {
            126 => (2, u64::from(u16::from_be_bytes([a, b]))),
            127 => (8, u64::from_be_bytes([a, b, c, d, e, f, g, h])),
            short => (0, u64::from(short)),
        };
        (self.head_bytes == 2 + length_bytes + mask).then_some(payload)
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const SOUND: [(&str, &str); 4] = [
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    fn read(method: &str, fields: &[(&str, &str)]) -> Asked {
        let mut request = Request::builder().method(method).uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        Asked::read(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn the_handshake_of_the_standard() {
        let expected = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
        assert_eq!(read("GET", &SOUND), Asked::WebSocket(expected.to_owned()));
        let mut fields = HeaderMap::new();
        fields.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        fields.insert(UPGRADE, HeaderValue::from_static("websocket"));
        fields.insert(
            SEC_WEBSOCKET_ACCEPT,
            HeaderValue::from_static("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        );
        let switching = StatusCode::SWITCHING_PROTOCOLS;
        assert!(has_agreed(switching, &fields, expected));
        assert!(!has_agreed(StatusCode::OK, &fields, expected));
        assert!(!has_agreed(switching, &fields, "another"));
        for name in [CONNECTION, UPGRADE, SEC_WEBSOCKET_ACCEPT] {
            let mut without = fields.clone();
            without.remove(name);
            assert!(!has_agreed(switching, &without, expected));
        }
        fields.insert(UPGRADE, HeaderValue::from_static("h2c"));
        assert!(!has_agreed(switching, &fields, expected));
    }

    #[test]
    fn what_is_no_handshake() {
        assert_eq!(read("GET", &[]), Asked::Nothing);
        assert_eq!(
            read("GET", &[("connection", "upgrade"), ("upgrade", "h2c")]),
            Asked::Nothing
        );
        assert_eq!(read("POST", &SOUND), Asked::Malformed);
        for (index, (name, _)) in SOUND.iter().enumerate().filter(|(index, _)| *index != 1) {
            let mut fields = SOUND.to_vec();
            fields.remove(index);
            assert_eq!(read("GET", &fields), Asked::Malformed, "without {name}");
            fields.push((name, "x"));
            assert_eq!(read("GET", &fields), Asked::Malformed, "another {name}");
        }
        for (name, value) in [
            ("upgrade", "h2c"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("transfer-encoding", "chunked"),
        ] {
            let mut fields = SOUND.to_vec();
            fields.push((name, value));
            assert_eq!(read("GET", &fields), Asked::Malformed, "{name} as well");
        }
        let both = SOUND.iter().map(|&(name, value)| match name {
            "upgrade" => (name, "websocket, h2c"),
            _ => (name, value),
        });
        assert_eq!(read("GET", &both.collect::<Vec<_>>()), Asked::Malformed);
    }

    #[test]
    fn frames_end_where_they_end_however_they_are_cut() {
        let frame = |masked: bool, length: usize| {
            let flag = if masked { 0x80 } else { 0 };
            let mut bytes = vec![0x82];
            match length {
                0..=125 => bytes.push(flag | u8::try_from(length).unwrap()),
                126..=0xffff => {
                    bytes.push(flag | 126);
                    bytes.extend(u16::try_from(length).unwrap().to_be_bytes());
                }
                _ => {
                    bytes.push(flag | 127);
                    bytes.extend((length as u64).to_be_bytes());
                }
            }
            bytes.extend(vec![7; length + if masked { 4 } else { 0 }]);
            bytes
        };
        for masked in [false, true] {
            for length in [0, 1, 125, 126, 65_535, 65_536, 100_000] {
                let bytes = [frame(masked, length), frame(masked, 3)].concat();
                let first = frame(masked, length).len();
                for piece in [1, 2, 3, 7, 1_000, bytes.len()] {
                    let (mut position, mut gone) = (FramePosition::default(), 0);
                    for part in bytes.chunks(piece) {
                        position.advance(part);
                        gone += part.len();
                        assert_eq!(
                            position.is_between_frames(),
                            gone == first || gone == bytes.len(),
                            "{masked} {length} {piece} {gone}"
                        );
                    }
                }
            }
        }
        let mut endless = FramePosition::default();
        endless.advance(&[0x82, 127, 255, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3]);
        assert!(!endless.is_between_frames());
    }

    #[test]
    fn closing_frames() {
        assert_eq!(CloseCode::PolicyViolation.to_client(), [0x88, 2, 0x03, 0xf0]);
        let [head @ .., high, low] = CloseCode::GoingAway.to_upstream([1, 2, 3, 4]);
        assert_eq!(head, [0x88, 0x82, 1, 2, 3, 4]);
        assert_eq!(u16::from_be_bytes([high ^ 1, low ^ 2]), 1001);
    }
}
