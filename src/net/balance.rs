//! Which worker serves a connection: the one that has the fewest.
//!
//! All workers accept from the same queue, and who is awake first takes what comes: after a burst one may have twice as
//! many connections as another, for as long as they live. So whoever accepts gives the connection to the worker with the
//! fewest, itself where it is one of them. Never on the path of a request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::TcpStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::net::listener::ClientSocket;
use crate::net::slots::Slot;
use crate::net::{DrainWatcher, InFlight};

/// A worker among all.
#[derive(Clone, Debug)]
pub struct Place {
    seats: Arc<[Seat]>,
    index: usize,
}

/// What one worker has.
#[derive(Debug)]
struct Seat {
    open: AtomicUsize,
    inbox: UnboundedSender<Handed>,
}

/// A connection counts for the worker that serves it, or is about to.
#[derive(Debug)]
pub(super) struct Seated {
    seats: Arc<[Seat]>,
    index: usize,
}

/// A connection that another worker has accepted.
#[derive(Debug)]
pub struct Handed {
    stream: std::net::TcpStream,
    slot: Slot,
    seated: Seated,
    peer: SocketAddr,
    listener: usize,
    /// A drain waits for it already.
    in_flight: InFlight,
}

/// The places of so many workers, each with what it is handed.
pub fn worker_places(workers: usize) -> Vec<(Place, UnboundedReceiver<Handed>)> {
    let (seats, inboxes): (Vec<_>, Vec<_>) = (0..workers)
        .map(|_| {
            let (inbox, handed) = unbounded_channel();
            let open = AtomicUsize::new(0);
            (Seat { open, inbox }, handed)
        })
        .unzip();
    let seats: Arc<[Seat]> = seats.into();
    let place = |(index, handed)| {
        let seats = Arc::clone(&seats);
        (Place { seats, index }, handed)
    };
    inboxes.into_iter().enumerate().map(place).collect()
}

impl Place {
    /// Of whoever accepts alone.
    pub(super) fn alone() -> Self {
        Self {
            seats: Arc::new([]),
            index: 0,
        }
    }

    /// Takes a seat where the fewest are taken.
    pub(super) fn seat(&self) -> Seated {
        let open = |index: usize| self.seats.get(index).map_or(0, |seat| seat.open.load(Relaxed));
        let mut chosen = self.index;
        for index in 0..self.seats.len() {
            if open(index) < open(chosen) {
                chosen = index;
            }
        }
        if let Some(seat) = self.seats.get(chosen) {
            seat.open.fetch_add(1, Relaxed);
        }
        Seated {
            seats: Arc::clone(&self.seats),
            index: chosen,
        }
    }

    /// Gives a connection to the worker whose seat it has. Returns what it is served with where that is this worker.
    pub(super) fn give(
        &self,
        stream: TcpStream,
        slot: Slot,
        (peer, listener): (SocketAddr, usize),
        drain: &DrainWatcher,
    ) -> io::Result<Option<ClientSocket>> {
        let seated = self.seat();
        let other = self
            .seats
            .get(seated.index)
            .filter(|_| seated.index != self.index);
        let Some(other) = other else {
            return Ok(Some(ClientSocket::new(stream, slot, seated)));
        };
        let handed = Handed {
            stream: stream.into_std()?,
            slot,
            seated,
            peer,
            listener,
            in_flight: drain.enter(),
        };
        match other.inbox.send(handed) {
            Ok(()) => Ok(None),
            // Its thread has ended.
            Err(refused) => refused.0.open().map(|(socket, ..)| Some(socket)),
        }
    }
}

impl Handed {
    /// The connection, for the runtime that calls this: its client, and which of the listeners it came to.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn open(self) -> io::Result<(ClientSocket, SocketAddr, usize, InFlight)> {
        let stream = TcpStream::from_std(self.stream)?;
        let socket = ClientSocket::new(stream, self.slot, self.seated);
        Ok((socket, self.peer, self.listener, self.in_flight))
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        if let Some(seat) = self.seats.get(self.index) {
            seat.open.fetch_sub(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_with_the_fewest_and_rather_oneself() {
        let places = worker_places(3);
        let [(first, _), (second, _), (third, _)] = places.as_slice() else {
            panic!("not three")
        };
        let seat = |place: &Place| place.seat();
        let held: Vec<Seated> = [first, first, first, second, second]
            .map(seat)
            .into_iter()
            .collect();
        let of = |held: &[Seated]| held.iter().map(|seated| seated.index).collect::<Vec<_>>();
        assert_eq!(of(&held), [0, 1, 2, 1, 0]);
        drop(held);
        let held: Vec<Seated> = [third, third, third, third].map(seat).into_iter().collect();
        assert_eq!(of(&held), [2, 0, 1, 2]);
        let alone = Place::alone();
        assert_eq!((alone.seat().index, alone.index), (0, 0));
    }
}
