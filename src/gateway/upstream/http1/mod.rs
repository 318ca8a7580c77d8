//! One HTTP/1.1 connection to an upstream server.
//!
//! Whoever has it on lease drives it: nothing stands between a request and the socket, neither a task nor a queue. The
//! connection may be used again only after a response that ended exactly and a request that was sent whole. Where one
//! task cannot do for both directions, an upload that goes on beside its response, the upload gets a task of its own.

mod chunked;
mod request;
mod response;

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::{Method, Response};
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio::task::AbortHandle;

use crate::gateway::client;
use crate::gateway::outgoing::Outgoing;
use crate::gateway::request_body::RequestBody;
use crate::net::UpstreamStream;
use chunked::{BadChunk, Chunked, Part};
use request::{Output, Upload, write_head};
use response::{Final, Framing, Head};

/// Read at once, at first; and once a read has filled that.
const READ: usize = 8 << 10;
const READ_MORE: usize = 64 << 10;
/// Interim answers to one request that are passed on, the bytes of one, and of all.
const TOLD: usize = 16;
const TOLD_BYTES: usize = 16 << 10;
const TOLD_BYTES_OF_ALL: usize = 64 << 10;
/// A server that sends more interim answers is not going to answer.
const INTERIM: usize = 128;

/// A connection. Dropping it closes it.
#[derive(Debug)]
pub(in crate::gateway) struct Connection {
    wire: Rc<RefCell<Wire>>,
    uploading: Option<Uploading>,
}

#[derive(Debug)]
struct Wire {
    stream: UpstreamStream,
    output: Output,
    upload: Upload,
    input: BytesMut,
    download: Download,
    /// May be used again after this response.
    is_kept: bool,
    /// A read has filled what there was room for.
    is_busy: bool,
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

/// A task that uploads. Dropping this ends it.
#[derive(Debug)]
struct Uploading(AbortHandle);

/// Why a connection is of no use any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Reading has failed.
    #[error("{0}")]
    Io(io::ErrorKind),
    /// The server has closed it before the end of the response.
    #[error("closed before the end")]
    Closed,
    /// The head of the response cannot be read, or in more than one way.
    #[error("the head of the response cannot be read")]
    Head,
    /// The coding of its body cannot be read.
    #[error("the body of the response cannot be read")]
    Body,
    /// The body of the request has ended before its end.
    #[error("the request cannot be completed")]
    Request,
}

/// A connection that speaks another protocol from here on.
#[derive(Debug)]
pub(in crate::gateway) struct Switched {
    stream: UpstreamStream,
    /// Came with the answer.
    input: BytesMut,
}

impl Connection {
    /// Begins HTTP/1.1 on a stream.
    pub(in crate::gateway) fn new(stream: UpstreamStream) -> Self {
        let wire = Wire {
            stream,
            output: Output::default(),
            upload: Upload::Over,
            input: BytesMut::new(),
            download: Download::Over,
            is_kept: true,
            is_busy: false,
            interim: (0, 0),
            waiting: None,
        };
        Self {
            wire: Rc::new(RefCell::new(wire)),
            uploading: None,
        }
    }

    /// Whether nothing is left of the request before, so that it may take another one.
    pub(in crate::gateway) fn is_over(&self) -> bool {
        self.wire.borrow().is_over()
    }

    /// Whether, besides, the server has neither closed it nor said anything unasked.
    pub(in crate::gateway) fn is_usable(&self) -> bool {
        self.wire.borrow_mut().is_usable()
    }

    /// Sends a request, as much of it as can go at once. Gives it back where nothing of it was sent.
    pub(in crate::gateway) fn send(&mut self, request: Outgoing) -> Result<(), Outgoing> {
        self.wire.borrow_mut().send(request)
    }

    /// Waits for the head of the response, and sends on meanwhile. Interim answers go to the client before.
    pub(in crate::gateway) fn poll_answer(
        &mut self,
        client: &client::Connection,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Response<()>, Broken>> {
        self.wire.borrow_mut().poll_answer(client, cx)
    }

    /// Waits for a part of the body of the response.
    pub(in crate::gateway) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut wire = self.wire.borrow_mut();
        let polled = wire.poll_frame(cx);
        if polled.is_pending() && self.uploading.is_some() {
            wire.waiting = Some(cx.waker().clone());
        }
        polled
    }

    /// Whether all of the body has come.
    pub(in crate::gateway) fn is_end_stream(&self) -> bool {
        matches!(self.wire.borrow().download, Download::Over)
    }

    /// How much of the body is still to come.
    pub(in crate::gateway) fn size_hint(&self) -> SizeHint {
        match self.wire.borrow().download {
            Download::Over => SizeHint::with_exact(0),
            Download::Length(left) => SizeHint::with_exact(left),
            Download::Head(_) | Download::Chunked(_) | Download::UntilClose | Download::Broken(_) => {
                SizeHint::default()
            }
        }
    }

    /// Lets a task send what is left of the request: it must not wait for whoever takes the response.
    pub(in crate::gateway) fn upload_by_itself(&mut self) {
        if !self.wire.borrow().is_sending() {
            return;
        }
        let wire = Rc::clone(&self.wire);
        let uploading = tokio::task::spawn_local(poll_fn(move |cx| {
            let mut wire = wire.borrow_mut();
            if let Err(broken) = ready!(wire.poll_send(cx)) {
                wire.download = Download::Broken(broken);
            }
            if let Some(waiting) = wire.waiting.take() {
                waiting.wake();
            }
            Poll::Ready(())
        }));
        self.uploading = Some(Uploading(uploading.abort_handle()));
    }

    /// It goes back to where it rests: large buffers are not kept.
    pub(in crate::gateway) fn rest(&mut self) {
        let mut wire = self.wire.borrow_mut();
        wire.output.rest();
        if wire.input.capacity() > READ {
            wire.input = BytesMut::new();
        }
    }

    /// What is beneath it, once the server has agreed to another protocol.
    pub(in crate::gateway) fn switch(self) -> Option<Switched> {
        let Wire { stream, input, .. } = Rc::into_inner(self.wire)?.into_inner();
        Some(Switched { stream, input })
    }
}

impl Wire {
    fn is_sending(&self) -> bool {
        !self.output.is_empty() || matches!(self.upload, Upload::Going(_))
    }

    fn is_over(&self) -> bool {
        self.is_kept
            && matches!(self.download, Download::Over)
            && matches!(self.upload, Upload::Over)
            && self.output.is_empty()
            && self.input.is_empty()
    }

    fn is_usable(&mut self) -> bool {
        // Whoever has it next waits for it then.
        let cx = &mut Context::from_waker(Waker::noop());
        let mut byte = [0];
        let mut unasked = ReadBuf::new(&mut byte);
        self.is_over()
            && Pin::new(&mut self.stream)
                .poll_read(cx, &mut unasked)
                .is_pending()
    }

    fn send(&mut self, request: Outgoing) -> Result<(), Outgoing> {
        if !self.is_usable() {
            return Err(request);
        }
        write_head(&request, &mut self.output.bytes);
        let is_of_head = request.head.method == Method::HEAD;
        let cx = &mut Context::from_waker(Waker::noop());
        if matches!(request.body, RequestBody::Empty) {
            let written = self.output.poll_write(&mut self.stream, cx);
            if matches!(written, Poll::Ready(Err(_))) && self.output.is_whole() {
                self.is_kept = false;
                return Err(request);
            }
        }
        self.upload = Upload::of(request);
        self.download = Download::Head(is_of_head);
        self.is_busy = false;
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

    fn poll_answer(
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
                response::read(&mut self.input, is_of_head)?
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

    fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
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
        let wanted = if self.is_busy { READ_MORE } else { READ };
        if self.input.capacity() - self.input.len() < wanted / 2 {
            self.input.reserve(wanted);
        }
        let room = self.input.capacity() - self.input.len();
        let read = pin!(self.stream.read_buf(&mut self.input));
        let count = ready!(read.poll(cx)).map_err(|error| Broken::Io(error.kind()))?;
        self.is_busy = count == room;
        Poll::Ready(Ok(count))
    }
}

impl From<BadChunk> for Broken {
    fn from(BadChunk: BadChunk) -> Self {
        Self::Body
    }
}

impl Drop for Uploading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl AsyncRead for Switched {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, input } = self.get_mut();
        if input.is_empty() {
            return Pin::new(stream).poll_read(cx, into);
        }
        let count = input.len().min(into.remaining());
        into.put_slice(&input.split_to(count));
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Switched {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
