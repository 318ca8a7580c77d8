//! Room that is of no use to a connection just now, for whichever of its thread needs some next.
//!
//! A connection that waits holds no buffer: thousands of them take little memory, and those at work all use the room that
//! was used last, which is still in the processor's cache. It never lets go of what is in the room: whoever gives it has
//! emptied it.

use std::cell::RefCell;
use std::thread::LocalKey;

/// So many are kept of each kind: no more are in use between two waits, except where bodies are on their way.
const KEPT: usize = 16;

/// What a thread has to spare of one kind.
pub(super) struct Spare<T>(RefCell<Vec<T>>);

impl<T> Spare<T> {
    pub(super) const fn none() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// What was given last.
    pub(super) fn take(of: &'static LocalKey<Self>) -> Option<T> {
        // A thread that ends has no more of it.
        of.try_with(|spare| spare.0.borrow_mut().pop()).ok().flatten()
    }

    /// Keeps this, which is empty.
    pub(super) fn give(of: &'static LocalKey<Self>, room: T) {
        let _ended = of.try_with(|spare| {
            let mut spare = spare.0.borrow_mut();
            if spare.len() < KEPT {
                spare.push(room);
            }
        });
    }
}
