//! What goes over one HTTP/1.1 connection, in both directions, one step at a time.
//!
//! `Connection` polls it; nothing here waits by itself, and nothing is shared with another connection.

use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead as _, ReadBuf};

use super::Broken;
use super::request::{Upload, write_head};
use super::response::{self, Final, Framing, Head};
use crate::gateway::client;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::request_body::RequestBody;
use crate::net::UpstreamStream;
use crate::net::http1::{BadChunk, Chunked, Input, Output, Part, Room};

/// Interim answers to one request that are passed on, the bytes of one, and of all.
const TOLD: usize = 16;
const TOLD_BYTES: usize = 16 << 10;
const TOLD_BYTES_OF_ALL: usize = 64 << 10;
/// A server that sends more interim answers is not going to answer.
const INTERIM: usize = 128;

/// One connection: what is on its way out, and what has come in.
#[derive(Debug)]
pub(super) struct Wire {
    stream: UpstreamStream,
    output: Output,
    upload: Upload,
    input: Input,
    download: Download,
    /// May be used again after this response.
    is_kept: bool,
    /// Interim answers that have come, and their bytes.
    interim: (usize, usize),
    /// Waits for the response while a task uploads.
    waiting: Option<Waker>,
}

#[derive(Debug)]
enum Download {
    /// The head of a response; of one to `HEAD`, if that is true.
    Head(bool),
    /// At least one byte is still to come.
    Length(u64),
    Chunked(Chunked),
    UntilClose,
    /// There is no more to come.
    Over,
    /// There is more to come, and it never will.
    Broken(Broken),
}

impl Wire {
    pub(super) fn new(stream: UpstreamStream) -> Self {
        Self {
            stream,
            output: Output::default(),
            upload: Upload::Over,
            input: Input::default(),
            download: Download::Over,
            is_kept: true,
            interim: (0, 0),
            waiting: None,
        }
    }

    /// The stream, and what has been read from it and is nothing of HTTP/1.1.
    pub(super) fn into_parts(self) -> (UpstreamStream, BytesMut) {
        (self.stream, self.input.into_bytes())
    }

    /// Lets go of much room.
    pub(super) fn rest(&mut self) {
        self.input.rest();
    }

    /// Whether all of the body has come.
    pub(super) fn has_all_come(&self) -> bool {
        matches!(self.download, Download::Over)
    }

    /// How much of the body is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.download {
            Download::Over => SizeHint::with_exact(0),
            Download::Length(left) => SizeHint::with_exact(left),
            Download::Head(_) | Download::Chunked(_) | Download::UntilClose | Download::Broken(_) => {
                SizeHint::default()
            }
        }
    }

    /// Who waits for the response while a task uploads is to hear if that fails.
    pub(super) fn wake_with_upload(&mut self, waker: &Waker) {
        self.waiting = Some(waker.clone());
    }

    /// For that task: ready once there is nothing left to do for it.
    pub(super) fn poll_upload(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let sent = ready!(self.poll_send(cx));
        // A response that has come whole stays whole, whatever becomes of the request.
        if let (Err(broken), false) = (sent, self.has_all_come()) {
            self.download = Download::Broken(broken);
        }
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
        Poll::Ready(())
    }

    /// Whether something of the request is still to be sent.
    pub(super) fn is_sending(&self) -> bool {
        !self.output.is_empty() || matches!(self.upload, Upload::Going(_))
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_kept
            && matches!(self.download, Download::Over)
            && matches!(self.upload, Upload::Over)
            && self.output.is_empty()
            && self.input.is_empty()
    }

    pub(super) fn is_usable(&mut self) -> bool {
        // Whoever has it next waits for it then.
        let cx = &mut Context::from_waker(Waker::noop());
        let mut byte = [0];
        let mut unasked = ReadBuf::new(&mut byte);
        self.is_over()
            && Pin::new(&mut self.stream)
                .poll_read(cx, &mut unasked)
                .is_pending()
    }

    pub(super) fn send(&mut self, request: Outgoing) -> Result<(), Outgoing> {
        if !self.is_usable() {
            return Err(request);
        }
        write_head(&request, self.output.bytes());
        let is_of_head = request.head.method == Method::HEAD;
        let cx = &mut Context::from_waker(Waker::noop());
        if matches!(request.body, RequestBody::Empty) {
            let written = self.output.poll_write(&mut self.stream, cx);
            if matches!(written, Poll::Ready(Err(_))) && self.output.is_whole() {
                self.is_kept = false;
                return Err(request);
            }
        }
        let (upload, head) = Upload::of(request);
        Room::spare(|room| room.keep_head(head));
        self.upload = upload;
        self.download = Download::Head(is_of_head);
        self.interim = (0, 0);
        Ok(())
    }

    /// Sends on. Ready once all is written, or the server takes no more.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        loop {
            let filled = self.upload.poll_fill(&mut self.output, cx)?;
            if ready!(self.output.poll_write(&mut self.stream, cx)).is_err() {
                // It may have answered all the same, and its answer says more than this.
                self.is_kept = false;
                self.upload = Upload::Refused;
                self.output = Output::default();
                return Poll::Ready(Ok(()));
            }
            ready!(filled);
            if !self.is_sending() {
                return Poll::Ready(Ok(()));
            }
        }
    }

    pub(super) fn poll_answer(
        &mut self,
        client: &client::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Broken>> {
        if self.is_sending()
            && let Poll::Ready(Err(broken)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(broken));
        }
        let Download::Head(is_of_head) = self.download else {
            return Poll::Ready(Err(Broken::Head));
        };
        loop {
            let head = if self.input.is_empty() {
                None
            } else {
                Room::spare(|room| response::read(&mut self.input, room, is_of_head))?
            };
            match head {
                Some(Head::Final(head)) => return Poll::Ready(Ok(self.begin(head))),
                Some(Head::Interim(status, fields, length)) => {
                    self.interim.0 += 1;
                    self.interim.1 += length;
                    let is_told =
                        self.interim.0 <= TOLD && length <= TOLD_BYTES && self.interim.1 <= TOLD_BYTES_OF_ALL;
                    if let Some(answers) = client.interim().filter(|_| is_told) {
                        answers.send(status, &fields);
                        // The answer itself waits where it is until this is written.
                        cx.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Some(Head::Continue) => self.interim.0 += 1,
                None => {
                    if ready!(self.poll_read(cx))? == 0 {
                        return Poll::Ready(Err(Broken::Closed));
                    }
                }
            }
            if self.interim.0 > INTERIM {
                return Poll::Ready(Err(Broken::Head));
            }
        }
    }

    fn begin(&mut self, head: Final) -> Response<()> {
        self.is_kept &= head.is_kept;
        self.download = match head.framing {
            Framing::Length(0) | Framing::Switched => Download::Over,
            Framing::Length(length) => Download::Length(length),
            Framing::Chunked(chunked) => Download::Chunked(chunked),
            Framing::Close => Download::UntilClose,
        };
        head.response
    }

    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        loop {
            let input = &mut self.input;
            let data = match &mut self.download {
                Download::Over => return Poll::Ready(None),
                Download::Head(_) => return Poll::Ready(Some(Err(Broken::Head))),
                Download::Broken(broken) => return Poll::Ready(Some(Err(*broken))),
                Download::Length(left) => {
                    let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                    *left -= count as u64;
                    if *left == 0 {
                        self.download = Download::Over;
                    }
                    input.split_to(count).freeze()
                }
                Download::UntilClose => input.split().freeze(),
                Download::Chunked(chunked) => match chunked.take(input)? {
                    Some(Part::Data(data)) => data,
                    Some(Part::Trailers(trailers)) => {
                        self.download = Download::Over;
                        return Poll::Ready(Some(Ok(Frame::trailers(trailers))));
                    }
                    Some(Part::End) => {
                        self.download = Download::Over;
                        return Poll::Ready(None);
                    }
                    None => Bytes::new(),
                },
            };
            if !data.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(data))));
            }
            if ready!(self.poll_read(cx))? == 0 {
                if !matches!(self.download, Download::UntilClose) {
                    return Poll::Ready(Some(Err(Broken::Closed)));
                }
                self.download = Download::Over;
            }
        }
    }

    /// Reads what there is; nothing at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, Broken>> {
        let read = self.input.poll_read(&mut self.stream, cx);
        read.map_err(|error| Broken::Io(error.kind()))
    }
}

impl From<BadChunk> for Broken {
    fn from(BadChunk: BadChunk) -> Self {
        Self::Body
    }
}
