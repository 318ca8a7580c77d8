//! Bytes that have come on a connection and are not taken yet. It knows nothing of what they say.
//!
//! Both codecs of HTTP/1.1 read with it, from clients and from upstreams. What is taken off it shares its room, and once
//! all of that is gone the room is used again: by whichever connection of the thread has something to read next.

use std::io;
use std::ops::{Deref, DerefMut};
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::spare::Spare;

/// Read at once, at first; and once a read has filled that.
const READ: usize = 8 << 10;
const READ_MORE: usize = 64 << 10;

thread_local! {
    /// Each of `READ` bytes or somewhat more. Somebody may still have a part of one that was given a moment ago.
    static SPARE: Spare<BytesMut> = const { Spare::none() };
}

/// What has come.
#[derive(Debug, Default)]
pub(crate) struct Input {
    bytes: BytesMut,
    /// A read has filled what there was room for.
    is_busy: bool,
    /// The room is more than that of a first read.
    is_large: bool,
}

impl Input {
    /// Reads what there is; nothing at the end.
    pub(crate) fn poll_read(
        &mut self,
        stream: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        self.make_room();
        let space = self.bytes.capacity() - self.bytes.len();
        let read = pin!(stream.read_buf(&mut self.bytes)).poll(cx);
        if self.bytes.is_empty() {
            self.give_room();
        }
        let count = ready!(read)?;
        self.is_busy = count == space;
        Poll::Ready(Ok(count))
    }

    fn make_room(&mut self) {
        let wanted = if self.is_busy { READ_MORE } else { READ };
        let space = self.bytes.capacity() - self.bytes.len();
        if space >= wanted || self.bytes.is_empty() && self.bytes.try_reclaim(wanted) || space >= wanted / 2 {
            return;
        }
        if self.bytes.is_empty() && !self.is_busy {
            while let Some(mut spare) = Spare::take(&SPARE) {
                if spare.try_reclaim(READ) {
                    self.bytes = spare;
                    return;
                }
            }
        }
        self.bytes.reserve(wanted);
        self.is_large |= wanted > READ;
    }

    /// Nothing has come yet. Meanwhile others may use the room, unless it is large: then a body is on its way.
    fn give_room(&mut self) {
        if !self.is_large && self.bytes.try_reclaim(READ) {
            Spare::give(&SPARE, std::mem::take(&mut self.bytes));
        }
    }

    /// Lets go of its room: the connection may be idle for long. Whoever still has a part of it keeps it until then.
    pub(crate) fn rest(&mut self) {
        self.is_busy = false;
        if !self.bytes.is_empty() {
            return;
        }
        let room = std::mem::take(&mut self.bytes);
        if !std::mem::take(&mut self.is_large) && room.capacity() > 0 {
            Spare::give(&SPARE, room);
        }
    }

    /// What has come and is not taken.
    pub(crate) fn into_bytes(self) -> BytesMut {
        self.bytes
    }
}

impl Deref for Input {
    type Target = BytesMut;

    fn deref(&self) -> &BytesMut {
        &self.bytes
    }
}

impl DerefMut for Input {
    fn deref_mut(&mut self) -> &mut BytesMut {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    /// Reads all of these.
    fn read(input: &mut Input, mut bytes: &[u8]) {
        let cx = &mut Context::from_waker(Waker::noop());
        while !bytes.is_empty() {
            assert!(input.poll_read(&mut bytes, cx).is_ready());
        }
    }

    #[test]
    fn what_is_used_up_makes_room_for_the_next() {
        let mut input = Input::default();
        read(&mut input, b"first");
        let place = input.as_ptr();
        for _ in 0..100 {
            let taken = input.split().freeze();
            assert_eq!(taken, "first");
            drop(taken);
            read(&mut input, b"first");
            assert_eq!(input.as_ptr(), place);
        }
        let kept = input.split().freeze();
        read(&mut input, b"second");
        assert_ne!(input.as_ptr(), place);
        assert_eq!((&kept[..], &input[..]), (&b"first"[..], &b"second"[..]));
    }

    #[test]
    fn who_waits_has_no_room() {
        let (mut one, mut other) = (Input::default(), Input::default());
        read(&mut one, b"first");
        let place = one.as_ptr();
        let (mut silent, _peer) = tokio::io::duplex(1);
        let cx = &mut Context::from_waker(Waker::noop());
        let taken = one.split().freeze();
        assert!(one.poll_read(&mut silent, cx).is_pending());
        read(&mut other, b"second");
        assert_ne!(other.as_ptr(), place, "somebody has a part of it");
        drop(taken);
        assert!(one.poll_read(&mut silent, cx).is_pending());
        assert_eq!(one.capacity(), 0);
        drop(other.split());
        let mut third = Input::default();
        read(&mut third, b"third");
        assert_eq!((third.as_ptr(), &third[..]), (place, &b"third"[..]));
    }

    #[test]
    fn reads_grow_while_they_are_filled() {
        let much = vec![b'x'; 1 << 20];
        let mut input = Input::default();
        let mut reads = 0;
        let cx = &mut Context::from_waker(Waker::noop());
        let mut bytes = &much[..];
        while !bytes.is_empty() {
            assert!(input.poll_read(&mut bytes, cx).is_ready());
            drop(input.split().freeze());
            reads += 1;
        }
        assert!((16..20).contains(&reads), "{reads}");
        assert!(input.try_reclaim(READ_MORE));
        input.rest();
        assert!(!input.try_reclaim(1), "its room is given back");
    }
}
