//! HTTP/1.1 messages on a socket, as they are: raw heads, bodies by length, chunks or end of connection.
//!
//! Written apart from hyper, so that a fault of the gateway's HTTP library cannot hide behind the same fault here.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::DEADLINE;

/// More than this is no message of a test.
const MAX_BYTES: usize = 64 << 20;

/// Names and values in their order, names as they came.
pub(crate) type Fields = Vec<(String, String)>;

/// The start line and the fields of a message, or its trailers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Head {
    /// Everything up to and with the empty line.
    pub(crate) bytes: Vec<u8>,
    /// Without its line end.
    pub(crate) start: String,
    pub(crate) fields: Fields,
}

/// A whole response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    pub(crate) trailers: Fields,
    /// What came before: 100, 103, …
    pub(crate) informational: Vec<Head>,
}

/// A connection with what was read from it too early.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    deadline: Instant,
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Head {
    fn parse(bytes: Vec<u8>) -> io::Result<Self> {
        // Latin-1, so that every byte keeps its place.
        let text: String = bytes.iter().map(|&byte| char::from(byte)).collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let fields = lines
            .filter(|line| !line.is_empty())
            .map(|line| {
                let (name, value) = line
                    .split_once(':')
                    .ok_or_else(|| invalid("a field without a colon"))?;
                Ok((name.to_owned(), value.trim().to_owned()))
            })
            .collect::<io::Result<_>>()?;
        Ok(Self { bytes, start, fields })
    }

    /// The value of the only field of this name.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} more than once: {all:?}");
        all.first().copied()
    }

    /// The values of all fields of this name.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        self.fields
            .iter()
            .filter(|(own, _)| own.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// The status of a response.
    pub(crate) fn status(&self) -> io::Result<u16> {
        self.start
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5)?.parse().ok())
            .ok_or_else(|| invalid("no status line"))
    }

    fn is_chunked(&self) -> bool {
        self.all("transfer-encoding")
            .iter()
            .any(|value| value.eq_ignore_ascii_case("chunked"))
    }

    fn length(&self) -> io::Result<Option<usize>> {
        let all = self.all("content-length");
        match all.as_slice() {
            [] => Ok(None),
            [one] => one
                .parse()
                .map(Some)
                .map_err(|_text| invalid("a length that is no number")),
            _ => Err(invalid("more than one Content-Length")),
        }
    }
}

impl Response {
    /// The value of the only field of this name.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.field(name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }
}

impl Wire {
    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self {
            stream,
            buffer: Vec::new(),
            deadline: Instant::now() + DEADLINE,
        }
    }

    /// What is read from now on must be there in this time.
    pub(crate) fn within(&mut self, time: Duration) -> &mut Self {
        self.deadline = Instant::now() + time;
        self
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// No more bytes from this side.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.stream.shutdown(Shutdown::Write)
    }

    /// Reads more. 0 is the end of the connection.
    pub(crate) fn fill(&mut self) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() || self.buffer.len() > MAX_BYTES {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "too slow, or too much"));
        }
        self.stream.set_read_timeout(Some(left))?;
        let mut part = [0; 16 << 10];
        let count = self.stream.read(&mut part)?;
        self.buffer.extend_from_slice(&part[..count]);
        Ok(count)
    }

    /// What was read and not yet asked for.
    pub(crate) fn take_buffer(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Everything until the other side closes.
    pub(crate) fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(self.take_buffer())
    }

    /// So many bytes.
    pub(crate) fn exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        self.within(DEADLINE * 3).read_exact(count)
    }

    fn read_exact(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < count {
            if self.fill()? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(self.buffer.drain(..count).collect())
    }

    /// Up to and with the mark; `None` where the connection ends before its first byte.
    fn read_until(&mut self, mark: &[u8]) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(at) = self.buffer.windows(mark.len()).position(|window| window == mark) {
                return Ok(Some(self.buffer.drain(..at + mark.len()).collect()));
            }
            if self.fill()? == 0 {
                return if self.buffer.is_empty() {
                    Ok(None)
                } else {
                    Err(io::ErrorKind::UnexpectedEof.into())
                };
            }
        }
    }

    /// The next head; `None` where the connection ends in its place.
    pub(crate) fn head(&mut self) -> io::Result<Option<Head>> {
        self.read_until(b"\r\n\r\n")?.map(Head::parse).transpose()
    }

    fn line(&mut self) -> io::Result<String> {
        let line = self.read_until(b"\r\n")?.ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(String::from_utf8_lossy(&line[..line.len() - 2]).into_owned())
    }

    /// A chunked body and its trailers.
    fn chunks(&mut self) -> io::Result<(Vec<u8>, Fields)> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = usize::from_str_radix(line.split(';').next().unwrap_or_default().trim(), 16)
                .map_err(|_text| invalid("a chunk size that is no number"))?;
            if size == 0 {
                break;
            }
            body.extend(self.read_exact(size)?);
            if !self.line()?.is_empty() {
                return Err(invalid("a chunk that is longer than its size"));
            }
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.line()?;
            match line.split_once(':') {
                Some((name, value)) => trailers.push((name.to_owned(), value.trim().to_owned())),
                None if line.is_empty() => return Ok((body, trailers)),
                None => return Err(invalid("a trailer without a colon")),
            }
        }
    }

    /// The body of a request.
    pub(crate) fn request_body(&mut self, head: &Head) -> io::Result<(Vec<u8>, Fields)> {
        if head.is_chunked() {
            return self.chunks();
        }
        let length = head.length()?.unwrap_or(0);
        Ok((self.read_exact(length)?, Vec::new()))
    }

    /// The response to a request with this method; `None` where the connection ends in its place.
    pub(crate) fn response(&mut self, method: &str) -> io::Result<Option<Response>> {
        let mut response = Response::default();
        loop {
            let Some(head) = self.head()? else {
                return Ok(None);
            };
            response.status = head.status()?;
            if (100..200).contains(&response.status) && response.status != 101 {
                response.informational.push(head);
                continue;
            }
            response.head = head;
            break;
        }
        let has_body =
            method != "HEAD" && response.status != 101 && response.status != 204 && response.status != 304;
        if has_body {
            if response.head.is_chunked() {
                (response.body, response.trailers) = self.chunks()?;
            } else if let Some(length) = response.head.length()? {
                response.body = self.read_exact(length)?;
            } else {
                response.body = self.read_to_end()?;
            }
        }
        Ok(Some(response))
    }
}
