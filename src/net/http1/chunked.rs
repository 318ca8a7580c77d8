//! The chunked coding of a body, taken off (RFC 9112 section 7.1). Pure: bytes in, parts out.
//!
//! Stricter than the RFC lets a recipient be: lines end with CRLF, and a size has no more digits than a length can have.

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

/// A line with a size and its extensions.
const MAX_LINE: usize = 4 << 10;
/// All extensions of one body, in bytes: they carry nothing that anybody reads.
const MAX_EXTENSIONS: usize = 16 << 10;
const MAX_TRAILER_FIELDS: usize = 100;

/// Where in the coding the next byte is.
#[derive(Debug)]
pub(crate) struct Chunked {
    next: Next,
    extensions: usize,
    /// The longest trailer section, in bytes.
    most: usize,
}

#[derive(Debug, PartialEq, Eq)]
enum Next {
    Size,
    /// So many bytes of a chunk.
    Data(u64),
    EndOfData,
    Trailers,
}

/// What comes next of a body.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Data(Bytes),
    /// The last.
    Trailers(HeaderMap),
    End,
}

/// This is not the chunked coding, or more of it than anybody needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadChunk;

impl Chunked {
    /// Of a body whose trailer section has at most so many bytes.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            next: Next::Size,
            extensions: 0,
            most,
        }
    }

    /// Takes the next part off the input; `None` where more has to be read first.
    pub(crate) fn take(&mut self, input: &mut BytesMut) -> Result<Option<Part>, BadChunk> {
        loop {
            match self.next {
                Next::Size => {
                    let Some(line) = line(input)? else { return Ok(None) };
                    let (size, extensions) = size(input.get(..line).unwrap_or_default())?;
                    self.extensions += extensions;
                    if self.extensions > MAX_EXTENSIONS {
                        return Err(BadChunk);
                    }
                    input.advance(line + 2);
                    self.next = if size == 0 {
                        Next::Trailers
                    } else {
                        Next::Data(size)
                    };
                }
                Next::Data(left) => {
                    if input.is_empty() {
                        return Ok(None);
                    }
                    let length = usize::try_from(left).map_or(input.len(), |left| left.min(input.len()));
                    self.next = match left - length as u64 {
                        0 => Next::EndOfData,
                        left => Next::Data(left),
                    };
                    return Ok(Some(Part::Data(input.split_to(length).freeze())));
                }
                Next::EndOfData => match input.get(..2) {
                    Some(b"\r\n") => {
                        input.advance(2);
                        self.next = Next::Size;
                    }
                    None if input.first().is_none_or(|byte| *byte == b'\r') => return Ok(None),
                    _ => return Err(BadChunk),
                },
                Next::Trailers => return trailers(input, self.most),
            }
        }
    }
}

/// The length of the line that the input begins with, without its end.
fn line(input: &[u8]) -> Result<Option<usize>, BadChunk> {
    match input.iter().take(MAX_LINE).position(|byte| *byte == b'\n') {
        Some(end) if end > 0 && input.get(end - 1) == Some(&b'\r') => Ok(Some(end - 1)),
        None if input.len() < MAX_LINE => Ok(None),
        _ => Err(BadChunk),
    }
}

/// Reads a line: the size of a chunk, and how many bytes of extensions follow it.
fn size(line: &[u8]) -> Result<(u64, usize), BadChunk> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let (digits, rest) = line.split_at_checked(digits).ok_or(BadChunk)?;
    let rest = rest.trim_ascii_start();
    let is_sound = !digits.is_empty()
        && digits.len() <= 15
        && rest.first().is_none_or(|byte| *byte == b';')
        && !rest.contains(&b'\r');
    let digits = std::str::from_utf8(digits).ok().filter(|_| is_sound);
    let size = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    Ok((size.ok_or(BadChunk)?, rest.len()))
}

fn trailers(input: &mut BytesMut, most: usize) -> Result<Option<Part>, BadChunk> {
    if input.starts_with(b"\r\n") {
        input.advance(2);
        return Ok(Some(Part::End));
    }
    let mut parsed = [httparse::EMPTY_HEADER; MAX_TRAILER_FIELDS];
    let (length, fields) = match httparse::parse_headers(input, &mut parsed) {
        Ok(httparse::Status::Complete((length, fields))) if length <= most => (length, fields),
        Ok(httparse::Status::Partial) if input.len() <= most => return Ok(None),
        _ => return Err(BadChunk),
    };
    let mut trailers = HeaderMap::with_capacity(fields.len());
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_invalid| BadChunk)?;
        let value = HeaderValue::from_bytes(field.value).map_err(|_invalid| BadChunk)?;
        trailers.append(name, value);
    }
    input.advance(length);
    Ok(Some(Part::Trailers(trailers)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Data and trailers.
    type Taken = (Vec<u8>, Vec<String>);

    /// What a body in pieces of this size is taken for; `None` where it has not ended.
    fn taken(body: &[u8], piece: usize) -> Result<Option<Taken>, BadChunk> {
        let (mut chunked, mut input, mut data) = (Chunked::new(1_000), BytesMut::new(), Vec::new());
        for piece in body.chunks(piece) {
            input.extend_from_slice(piece);
            while let Some(part) = chunked.take(&mut input)? {
                let trailers = match part {
                    Part::Data(bytes) => {
                        assert!(!bytes.is_empty());
                        data.extend_from_slice(&bytes);
                        continue;
                    }
                    Part::Trailers(trailers) => trailers,
                    Part::End => HeaderMap::new(),
                };
                let shown = trailers
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.to_str().unwrap()));
                return Ok(Some((data, shown.collect())));
            }
        }
        Ok(None)
    }

    #[test]
    fn wherever_the_reads_end() {
        for (body, data, trailers) in [
            (&b"0\r\n\r\n"[..], &b""[..], &[][..]),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello", &[]),
            (
                b"00a;x=\"y\"\r\n0123456789\r\n1 ;z\r\n!\r\n000\r\n\r\n",
                b"0123456789!",
                &[],
            ),
            (
                b"1\r\n\n\r\n0;q\r\nX-A: 1\r\nx-b:2\r\n\r\n",
                b"\n",
                &["x-a=1", "x-b=2"],
            ),
        ] {
            for piece in 1..=body.len() {
                let (found, fields) = taken(body, piece).unwrap().unwrap();
                assert_eq!(found, data, "{piece}");
                assert_eq!(fields, trailers, "{piece}");
            }
            for length in 0..body.len() {
                assert_eq!(taken(&body[..length], 3), Ok(None), "{length}");
            }
        }
    }

    #[test]
    fn what_has_two_readings_has_none() {
        for body in [
            &b"\r\n"[..],
            b"g\r\n",
            b"0x5\r\nhello\r\n",
            b"-1\r\n",
            b"+5\r\nhello\r\n",
            b" 5\r\nhello\r\n",
            b"5\nhello\r\n",
            b"5\r\nhello0\r\n\r\n",
            b"5\r\nhello\n0\r\n\r\n",
            b"5 x\r\nhello\r\n",
            b"5;a\rb\r\nhello\r\n",
            b"1000000000000000\r\n",
            b"0\r\nno colon\r\n\r\n",
            b"0\r\n bad: 1\r\n\r\n",
            b"0\r\nx: 1\r\n folded\r\n\r\n",
        ] {
            for piece in [1, 2, body.len()] {
                assert_eq!(
                    taken(body, piece),
                    Err(BadChunk),
                    "{:?}",
                    body.escape_ascii().to_string()
                );
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn what_was_cut_into_chunks_comes_out(
            chunks in proptest::collection::vec(proptest::collection::vec(proptest::prelude::any::<u8>(), 1..300), 0..8),
            piece in 1_usize..400,
        ) {
            let mut body = Vec::new();
            for chunk in &chunks {
                body.extend_from_slice(format!("{:X};x=1\r\n", chunk.len()).as_bytes());
                body.extend_from_slice(chunk);
                body.extend_from_slice(b"\r\n");
            }
            body.extend_from_slice(b"0\r\nx: 1\r\n\r\n");
            let expected = (chunks.concat(), vec!["x=1".to_owned()]);
            proptest::prop_assert_eq!(taken(&body, piece), Ok(Some(expected)));
        }

        #[test]
        fn whatever_comes_ends(body in "([0-9a-f]{0,2}[\r\n;x:]{0,3}){0,40}", piece in 1_usize..9) {
            if let Ok(Some((data, _))) = taken(body.as_bytes(), piece) {
                proptest::prop_assert!(data.len() < body.len());
                proptest::prop_assert_eq!(taken(body.as_bytes(), body.len()).map(|found| found.map(|found| found.0)), Ok(Some(data)));
            }
        }
    }

    #[test]
    fn what_nobody_needs_is_bounded() {
        let long = [&b"5;"[..], &vec![b'x'; MAX_LINE]].concat();
        assert_eq!(taken(&long, 100), Err(BadChunk));
        let many = [b"1;".as_slice(), &[b'x'; 1_000], b"\r\n.\r\n"]
            .concat()
            .repeat(17);
        assert_eq!(taken(&many, 100), Err(BadChunk));
        let trailers = [&b"0\r\nx: "[..], &vec![b'x'; 1_000]].concat();
        assert_eq!(taken(&trailers, 1_000), Err(BadChunk));
        let fields = [&b"0\r\n"[..], &b"a:b\r\n".repeat(MAX_TRAILER_FIELDS + 1), b"\r\n"].concat();
        assert_eq!(taken(&fields, 1_000), Err(BadChunk));
    }
}
