//! What goes over one connection with a client, in both directions, one step at a time.
//!
//! `serve` polls it, and whoever has the body of the request. Nothing here waits by itself.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use http::StatusCode;
use http::response::Parts;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite};

use super::Fault;
use super::answer::{Encoder, write_head};
use super::chunked::{Chunked, Part};
use super::fields::Room;
use super::head::{self, BadHead, Framing, Head, HeadBounds, Terms, may_have_ended};
use super::input::Input;
use super::output::Output;
use crate::net::watched::WatchedStream;

/// A client's stream of any kind.
pub(in crate::net) trait ClientStream: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> ClientStream for T {}

/// One connection: what has come in, and what is on its way out.
pub(in crate::net) struct Wire {
    stream: WatchedStream<Box<dyn ClientStream>>,
    input: Input,
    /// So much of the input has no end of a head in it.
    searched: usize,
    /// Of the request that has begun last.
    number: u64,
    receiving: Receiving,
    terms: Terms,
    output: Output,
    /// Something of the response to the last request has been put into the output.
    is_answering: bool,
    bounds: HeadBounds,
    /// After this response there is none.
    is_leaving: bool,
    switch: Switch,
    /// Waits until all of the body of the request has come, or nobody wants it any more.
    waiting: Option<Waker>,
}

/// What is still to come of the body of a request.
#[derive(Debug)]
enum Receiving {
    Over,
    /// So many bytes, at least one.
    Length(u64),
    Chunked(Chunked),
    /// Nobody reads it.
    Left,
    /// There is more to come, and it never will.
    Broken,
}

/// Whether the connection speaks another protocol.
#[derive(Debug)]
enum Switch {
    No,
    /// Who waits for that.
    Awaited(Waker),
    Done,
    Never,
}

impl Wire {
    pub(super) fn new(stream: WatchedStream<Box<dyn ClientStream>>, bounds: HeadBounds) -> Self {
        Self {
            stream,
            input: Input::default(),
            searched: 0,
            number: 0,
            receiving: Receiving::Over,
            terms: Terms::default(),
            output: Output::default(),
            is_answering: false,
            bounds,
            is_leaving: false,
            switch: Switch::No,
            waiting: None,
        }
    }

    /// The connection ends after the request that has begun, or now.
    pub(super) fn leave(&mut self) {
        self.is_leaving = true;
    }

    /// Waits for a request; `None` once there will be no more.
    pub(super) fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Head>, Fault>> {
        loop {
            if !self.input.is_empty() && (self.searched == 0 || may_have_ended(&self.input, self.searched)) {
                if let Some(head) = Room::spare(|room| head::read(&mut self.input, room, self.bounds))? {
                    self.begin_request(&head);
                    return Poll::Ready(Ok(Some(head)));
                }
                self.searched = self.input.len();
            } else if self.input.len() > self.bounds.bytes {
                return Poll::Ready(Err(BadHead::TooLarge.into()));
            }
            // An empty line before a request is none (RFC 9112 section 2.2).
            let has_begun = self.input.iter().any(|byte| *byte != b'\r' && *byte != b'\n');
            if self.is_leaving && !has_begun {
                return Poll::Ready(Ok(None));
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) if !has_begun => return Poll::Ready(Ok(None)),
                Ok(0) => return Poll::Ready(Err(Fault::Incomplete)),
                Ok(_) => {}
                Err(error) => return Poll::Ready(Err(Fault::Io(error))),
            }
        }
    }

    fn begin_request(&mut self, head: &Head) {
        self.searched = 0;
        self.number += 1;
        self.is_answering = false;
        self.terms = head.terms;
        self.receiving = match head.framing {
            Framing::Length(0) => Receiving::Over,
            Framing::Length(length) => Receiving::Length(length),
            Framing::Chunked => Receiving::Chunked(Chunked::new(self.bounds.bytes)),
        };
    }

    /// Which request of the connection has begun last.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Whether all of the body of the request has come.
    pub(super) fn has_all_come(&self) -> bool {
        matches!(self.receiving, Receiving::Over)
    }

    /// How much of it is still to come.
    pub(super) fn size_hint(&self) -> SizeHint {
        match self.receiving {
            Receiving::Over => SizeHint::with_exact(0),
            Receiving::Length(left) => SizeHint::with_exact(left),
            Receiving::Chunked(_) | Receiving::Left | Receiving::Broken => SizeHint::default(),
        }
    }

    /// Waits for a part of it.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.terms.expects_continue && !self.is_answering && !self.has_all_come() {
            self.terms.expects_continue = false;
            self.output
                .bytes()
                .extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        if !self.is_answering && !self.output.is_empty() {
            // Where that is not possible now, the response takes it along.
            let _ = self.output.poll_write(&mut self.stream, cx)?;
        }
        loop {
            let frame = self.take_frame();
            if self.has_ended() {
                self.wake_waiting();
            }
            match frame? {
                Some(frame) => return Poll::Ready(Some(Ok(frame))),
                None if self.has_all_come() => return Poll::Ready(None),
                None => {}
            }
            if ready!(self.poll_read(cx))? == 0 {
                self.receiving = Receiving::Broken;
            }
        }
    }

    fn has_ended(&self) -> bool {
        matches!(
            self.receiving,
            Receiving::Over | Receiving::Left | Receiving::Broken
        )
    }

    /// Takes a part of the body off the input; `None` where there is none in it.
    fn take_frame(&mut self) -> Result<Option<Frame<Bytes>>, Fault> {
        let input = &mut self.input;
        match &mut self.receiving {
            Receiving::Over => Ok(None),
            Receiving::Left | Receiving::Broken => Err(Fault::Incomplete),
            Receiving::Length(_) | Receiving::Chunked(_) if input.is_empty() => Ok(None),
            Receiving::Length(left) => {
                let count = usize::try_from(*left).map_or(input.len(), |left| left.min(input.len()));
                *left -= count as u64;
                if *left == 0 {
                    self.receiving = Receiving::Over;
                }
                Ok(Some(Frame::data(input.split_to(count).freeze())))
            }
            Receiving::Chunked(chunked) => match chunked.take(input) {
                Ok(Some(Part::Data(data))) => Ok(Some(Frame::data(data))),
                Ok(Some(Part::Trailers(trailers))) => {
                    self.receiving = Receiving::Over;
                    Ok(Some(Frame::trailers(trailers)))
                }
                Ok(Some(Part::End)) => {
                    self.receiving = Receiving::Over;
                    Ok(None)
                }
                Ok(None) => Ok(None),
                Err(_bad) => {
                    self.receiving = Receiving::Broken;
                    Err(Fault::Malformed)
                }
            },
        }
    }

    /// Nobody reads the body of the request any more.
    pub(super) fn let_go(&mut self) {
        if !self.has_ended() {
            self.receiving = Receiving::Left;
        }
        self.wake_waiting();
    }

    fn wake_waiting(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }

    /// Begins a response.
    pub(super) fn begin_answer(&mut self, response: Parts, size: &SizeHint) -> Encoder {
        // Whether the client sends the body that it has held back nobody can know: what comes could be the next request.
        let holds_back = self.terms.expects_continue && !self.has_all_come();
        self.terms.is_kept &= !holds_back && !self.is_leaving;
        let (encoder, is_kept) = write_head(&response, size, self.terms, self.output.bytes());
        self.terms.is_kept = is_kept;
        self.is_answering = true;
        Room::spare(|room| room.keep(response.headers));
        encoder
    }

    /// Answers what is no request.
    pub(super) fn refuse(&mut self, status: StatusCode) {
        self.terms = Terms::default();
        let (mut response, ()) = http::Response::new(()).into_parts();
        response.status = status;
        self.begin_answer(response, &SizeHint::with_exact(0));
    }

    pub(super) fn output(&mut self) -> &mut Output {
        &mut self.output
    }

    /// Writes all of the output.
    pub(super) fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        self.output.poll_write(&mut self.stream, cx).map_err(Fault::Io)
    }

    /// Sees to the client while something else is waited for. Ready once it has gone.
    pub(super) fn poll_watch(&mut self, cx: &mut Context<'_>) -> Poll<Fault> {
        // Interim answers are written by this.
        if let Poll::Ready(Err(error)) = Pin::new(&mut self.stream).poll_flush(cx) {
            return Poll::Ready(Fault::Io(error));
        }
        if !self.has_all_come() {
            // Whoever reads the body sees it go.
            self.wait_for_body(cx);
            return Poll::Pending;
        }
        // The next request: it says enough that the client is there.
        if !self.input.is_empty() {
            return Poll::Pending;
        }
        match ready!(self.poll_read(cx)) {
            Ok(0) => Poll::Ready(Fault::Incomplete),
            Ok(_) => Poll::Pending,
            Err(error) => Poll::Ready(Fault::Io(error)),
        }
    }

    /// After a response: ready once the next request may begin, or with `false` where none will.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        if let Receiving::Left = self.receiving {
            return Poll::Ready(false);
        }
        if !self.has_ended() {
            // Somebody reads on, so that the client can see the response before its connection is reset.
            self.wait_for_body(cx);
            return Poll::Pending;
        }
        self.input.rest();
        Poll::Ready(self.has_all_come() && self.terms.is_kept && !self.is_leaving)
    }

    fn wait_for_body(&mut self, cx: &Context<'_>) {
        match &mut self.waiting {
            Some(waiting) => waiting.clone_from(cx.waker()),
            None => self.waiting = Some(cx.waker().clone()),
        }
    }

    /// Ends the connection.
    pub(super) fn poll_shutdown(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Pin::new(&mut self.stream).poll_shutdown(cx).map_err(Fault::Io)
    }

    /// The response has said that another protocol is spoken from here on.
    pub(super) fn switch(&mut self) {
        if let Switch::Awaited(waker) = std::mem::replace(&mut self.switch, Switch::Done) {
            waker.wake();
        }
    }

    /// It has ended, or else ends now.
    pub(super) fn end(&mut self) {
        if !matches!(self.switch, Switch::Done)
            && let Switch::Awaited(waker) = std::mem::replace(&mut self.switch, Switch::Never)
        {
            waker.wake();
        }
    }

    /// Waits until it speaks another protocol; `false` where it never will.
    pub(super) fn poll_switched(&mut self, cx: &Context<'_>) -> Poll<bool> {
        match &self.switch {
            Switch::Done => Poll::Ready(true),
            Switch::Never => Poll::Ready(false),
            Switch::No | Switch::Awaited(_) => {
                self.switch = Switch::Awaited(cx.waker().clone());
                Poll::Pending
            }
        }
    }

    /// The stream beneath, and what has come of the other protocol with the request.
    pub(super) fn beneath(&mut self) -> (&mut BytesMut, Pin<&mut WatchedStream<Box<dyn ClientStream>>>) {
        (&mut self.input, Pin::new(&mut self.stream))
    }

    /// Reads what there is; nothing at the end.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.input.poll_read(&mut self.stream, cx)
    }
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("receiving", &self.receiving)
            .finish_non_exhaustive()
    }
}
