//! The thread of a worker: a runtime of its own, its accept loops, its connections.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::alive;
use super::front::{Front, Serving};
use super::{StartError, system};
use crate::gateway::{Shared, Worker};
use crate::net::{
    BoundListener, ClientSocket, ConnectionSettings, ConnectionSlots, DrainWatcher, Handed, InFlight, Place,
    accept_from_proxies,
};
use crate::snapshot::handoff::Reader;
use crate::telemetry::Readiness;

/// How often a worker closes what has been idle for too long.
const TIDY_EVERY: Duration = Duration::from_secs(5);

/// Everything that a worker's thread needs; nothing of it is shared with another but through `Arc`.
pub(super) struct WorkerThread {
    pub(super) listeners: Vec<(Arc<BoundListener>, Arc<Front>)>,
    pub(super) connection: ConnectionSettings,
    pub(super) shared: Arc<Shared>,
    pub(super) reader: Reader,
    pub(super) slots: Arc<ConnectionSlots>,
    pub(super) drain: DrainWatcher,
    /// Among the workers, and what others give to it.
    pub(super) place: Place,
    pub(super) handed: UnboundedReceiver<Handed>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) readiness: Readiness,
}

/// How one worker serves what came to one listener.
#[derive(Clone)]
struct Door {
    front: Arc<Front>,
    worker: Rc<Worker>,
    settings: Rc<ConnectionSettings>,
    drain: DrainWatcher,
}

impl Door {
    /// In a task of its own. A connection that was on its way from another worker has been counted until it begins here.
    fn serve(&self, socket: ClientSocket, peer: SocketAddr, on_its_way: Option<InFlight>) {
        let serving = Serving {
            worker: Rc::clone(&self.worker),
            settings: Rc::clone(&self.settings),
            drain: self.drain.clone(),
        };
        let front = Arc::clone(&self.front);
        tokio::task::spawn_local(async move { front.serve(socket, peer, serving).await });
        if let Some(on_its_way) = on_its_way {
            // Tasks begin in the order in which they are spawned, and what that one does first is to enter.
            tokio::task::spawn_local(async move { drop(on_its_way) });
        }
    }
}

impl WorkerThread {
    /// Starts the thread, and returns once it accepts connections.
    pub(super) fn spawn(self, index: usize) -> Result<JoinHandle<()>, StartError> {
        let (accepting, is_accepting) = std::sync::mpsc::channel();
        let (name, readiness) = (format!("worker-{index}"), self.readiness.clone());
        let thread = thread::Builder::new()
            .name(name.clone())
            .spawn(move || {
                alive::thread(&name, &readiness, || {
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build_local(Default::default());
                    match runtime {
                        Ok(runtime) => {
                            runtime.block_on(self.run(&name, &accepting));
                            runtime.shutdown_background();
                        }
                        Err(error) => drop(accepting.send(Err(error))),
                    }
                });
            })
            .map_err(system)?;
        match is_accepting.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(error)) => Err(system(error)),
            Err(_ended) => Err(StartError::System("a worker thread ended".into())),
        }
    }

    async fn run(mut self, name: &str, accepting: &std::sync::mpsc::Sender<io::Result<()>>) {
        let (shared, reader) = (Arc::clone(&self.shared), self.reader.clone());
        let Some(worker) = Worker::new(shared, reader, self.drain.clone()) else {
            drop(accepting.send(Err(io::Error::other("the system has no randomness"))));
            return;
        };
        let settings = Rc::new(self.connection.clone());
        let mut tasks = JoinSet::new();
        let mut doors = Vec::with_capacity(self.listeners.len());
        for (number, (listener, front)) in self.listeners.iter().enumerate() {
            let listener = match listener.attach() {
                Ok(listener) => listener,
                Err(error) => return drop(accepting.send(Err(error))),
            };
            let door = Door {
                front: Arc::clone(front),
                worker: Rc::clone(&worker),
                settings: Rc::clone(&settings),
                drain: self.drain.clone(),
            };
            doors.push(door.clone());
            let (slots, drain) = (Arc::clone(&self.slots), self.drain.clone());
            let (place, proxies) = (self.place.clone(), front.speaks_for());
            tasks.spawn_local(async move {
                let serve = move |socket, peer| door.serve(socket, peer, None);
                accept_from_proxies((listener, number), slots, &proxies, (drain, place), serve).await;
            });
        }
        tasks.spawn_local(async move {
            while let Some(handed) = self.handed.recv().await {
                match handed.open() {
                    Ok((socket, peer, number, in_flight)) => {
                        if let Some(door) = doors.get(number) {
                            door.serve(socket, peer, Some(in_flight));
                        }
                    }
                    Err(error) => tracing::debug!(%error, "connection closed"),
                }
            }
        });
        // The sockets live as long as the accept loops: once a drain begins, clients are refused rather than kept waiting.
        self.listeners.clear();
        let watching = Rc::clone(&worker);
        tasks.spawn_local(async move { watching.watch_deadlines().await });
        let _ = accepting.send(Ok(()));
        let watching = alive::tasks(name, &self.readiness, tasks);
        tokio::pin!(watching);
        let mut tidy = tokio::time::interval(TIDY_EVERY);
        loop {
            tokio::select! {
                _ = self.stop.wait_for(|stop| *stop) => return,
                _ = tidy.tick() => worker.tidy(),
                never = &mut watching => match never {},
            }
        }
    }
}
