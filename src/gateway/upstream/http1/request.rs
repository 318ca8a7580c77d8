//! A request as bytes: its head, and the framing of its body (RFC 9112 sections 3, 6 and 7).
//!
//! The connection calls it. What says how long the body is, is said here and nowhere else: whatever the head has of that
//! is left out.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderName;
use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::request::Parts;
use http::uri::PathAndQuery;
use http_body::{Body as _, Frame};

use super::Broken;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::request_body::RequestBody;
use crate::net::http1::{Output, announced, write_field};

/// What is left of the body of a request.
#[derive(Debug)]
pub(super) enum Upload {
    /// All is in the output.
    Over,
    Going(Box<Going>),
    /// The server takes no more.
    Refused,
}

#[derive(Debug)]
pub(super) struct Going {
    body: RequestBody,
    framing: Framing,
}

#[derive(Debug)]
enum Framing {
    /// So many bytes are still to come.
    Length(u64),
    /// With the trailers that the head has announced.
    Chunked(Vec<HeaderName>),
}

/// Writes the head.
pub(super) fn write_head(request: &Outgoing, bytes: &mut Vec<u8>) {
    let Outgoing { head, added, body } = request;
    bytes.extend_from_slice(head.method.as_str().as_bytes());
    bytes.push(b' ');
    let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
    // A path is never empty here (RFC 9112 section 3.2.1).
    if !target.starts_with(['/', '*']) {
        bytes.push(b'/');
    }
    bytes.extend_from_slice(target.as_bytes());
    bytes.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &head.headers {
        if *name != CONTENT_LENGTH && *name != TRANSFER_ENCODING {
            write_field(name.as_str(), value.as_bytes(), bytes);
        }
    }
    bytes.extend_from_slice(added.lines());
    match body.size_hint().exact() {
        Some(0) if !head.headers.contains_key(CONTENT_LENGTH) => {}
        Some(length) => bytes.extend_from_slice(format!("content-length: {length}\r\n").as_bytes()),
        None => write_field("transfer-encoding", b"chunked", bytes),
    }
    bytes.extend_from_slice(b"\r\n");
}

impl Upload {
    /// The body of a request whose head is in the output; and the head, which is of no use any more.
    pub(super) fn of(request: Outgoing) -> (Self, Box<Parts>) {
        let Outgoing { head, body, .. } = request;
        if matches!(body, RequestBody::Empty) {
            return (Self::Over, head);
        }
        let framing = match body.size_hint().exact() {
            Some(length) => Framing::Length(length),
            None => Framing::Chunked(announced(&head.headers)),
        };
        (Self::Going(Box::new(Going { body, framing })), head)
    }

    /// Puts what there is of the body into the output. Ready once that is worth writing, or all.
    ///
    /// # Errors
    /// The body has broken off, or is not as long as was said; the request cannot be completed.
    pub(super) fn poll_fill(
        &mut self,
        output: &mut Output,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        while let Self::Going(going) = self {
            if output.is_full() {
                break;
            }
            let frame = match Pin::new(&mut going.body).poll_frame(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(frame) => frame.transpose().map_err(|_its_own_record| Broken::Request)?,
            };
            let is_over = match frame {
                Some(frame) => going.push(frame, output)? || going.body.is_end_stream(),
                None => true,
            };
            if is_over {
                going.end(output)?;
                *self = Self::Over;
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl Going {
    /// Whether it was the last.
    fn push(&mut self, frame: Frame<Bytes>, output: &mut Output) -> Result<bool, Broken> {
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(frame) => {
                if let (Framing::Chunked(announced), Ok(trailers)) = (&self.framing, frame.into_trailers()) {
                    output.bytes().extend_from_slice(b"0\r\n");
                    for (name, value) in &trailers {
                        if announced.contains(name) {
                            write_field(name.as_str(), value.as_bytes(), output.bytes());
                        }
                    }
                    output.bytes().extend_from_slice(b"\r\n");
                    self.framing = Framing::Length(0);
                }
                return Ok(true);
            }
        };
        match &mut self.framing {
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Broken::Request)?;
                output.push(data);
            }
            // An empty chunk would be the last.
            Framing::Chunked(_) if data.is_empty() => {}
            Framing::Chunked(_) => {
                output
                    .bytes()
                    .extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
                output.bytes().extend_from_slice(&data);
                output.bytes().extend_from_slice(b"\r\n");
            }
        }
        Ok(false)
    }

    fn end(&self, output: &mut Output) -> Result<(), Broken> {
        match self.framing {
            Framing::Length(0) => Ok(()),
            // What was announced does not come.
            Framing::Length(_) => Err(Broken::Request),
            Framing::Chunked(_) => {
                output.bytes().extend_from_slice(b"0\r\n\r\n");
                Ok(())
            }
        }
    }
}
