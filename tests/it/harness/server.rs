//! A listener on a port of its own, with a thread for each connection. Stops when it is dropped.

use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use super::DEADLINE;
use super::http1::Wire;

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_stopped: AtomicBool,
    connections: AtomicUsize,
    /// The open connections, by their number.
    streams: Mutex<HashMap<usize, TcpStream>>,
}

impl Server {
    /// Serves each connection with `serve`, which gets the connection and its number, from 1.
    pub(crate) fn start(serve: impl Fn(Wire, usize) + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), serve)
    }

    /// The same at an address of this machine.
    pub(crate) fn start_at(address: SocketAddr, serve: impl Fn(Wire, usize) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let serve = Arc::new(serve);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if for_thread.is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let number = for_thread.connections.fetch_add(1, Ordering::SeqCst) + 1;
                let shared = Arc::clone(&for_thread);
                shared
                    .streams
                    .lock()
                    .unwrap()
                    .insert(number, stream.try_clone().unwrap());
                let serve = Arc::clone(&serve);
                std::thread::spawn(move || {
                    serve(Wire::new(stream), number);
                    // The connection closes when its last handle is gone.
                    shared.streams.lock().unwrap().remove(&number);
                });
            }
        });
        Self { address, shared }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Breaks off every open connection.
    pub(crate) fn disconnect_all(&self) {
        for (_, stream) in self.shared.streams.lock().unwrap().drain() {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}

impl Server {
    /// Accepts nothing more, and breaks off what is open.
    pub(crate) fn stop(&self) {
        self.shared.is_stopped.store(true, Ordering::SeqCst);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect_timeout(&self.address, Duration::from_secs(1)));
        self.disconnect_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A value that others wait for.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T) -> Self {
        Self {
            value: Mutex::new(value),
            changed: Condvar::new(),
        }
    }

    pub(crate) fn read<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.value.lock().unwrap())
    }

    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let result = change(&mut self.value.lock().unwrap());
        self.changed.notify_all();
        result
    }

    /// Waits until the value is as wanted; whether it came to that in time.
    pub(crate) fn wait(&self, time: Duration, mut is_wanted: impl FnMut(&T) -> bool) -> bool {
        let end = Instant::now() + time;
        let mut value = self.value.lock().unwrap();
        while !is_wanted(&value) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            value = self.changed.wait_timeout(value, left).unwrap().0;
        }
        true
    }

    #[track_caller]
    pub(crate) fn expect(&self, what: &str, is_wanted: impl FnMut(&T) -> bool) {
        assert!(self.wait(DEADLINE, is_wanted), "in vain: {what}");
    }
}
