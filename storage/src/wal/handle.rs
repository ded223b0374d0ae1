//! What keeps an open log running, and its end.
//!
//! Holds: the threads end in one order, after all that waits is written; a lock on the directory is let
//! go when nothing is written any more.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::core::Core;

/// What all handles of one log share.
pub(super) struct Handle {
    pub(super) core: Arc<Core>,
    /// The writer, the preparer, the scrubber: in the order in which they end.
    pub(super) threads: Mutex<Vec<JoinHandle<()>>>,
    /// In a simulation the writer is here, not on a thread.
    #[cfg(feature = "testing")]
    pub(super) stepped: Option<super::stepped::Shared>,
}

impl Handle {
    pub(super) fn keep(&self, thread: Option<JoinHandle<()>>) {
        if let Some(thread) = thread {
            self.core.own(thread.thread().id());
            let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
            threads.push(thread);
        }
    }

    pub(super) fn end(&self) {
        let mut state = self.core.state();
        state.is_closing = true;
        self.core.wake(state);
        self.core.pool.close();
        self.core.scrub.close();
        #[cfg(feature = "testing")]
        if let Some(stepped) = &self.stepped {
            super::stepped::run_dry(stepped);
        }
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        // The last handle may be dropped by a `done`, on one of the log's own threads: then the
        // threads end by themselves.
        let is_own = self.core.is_own_thread();
        for thread in threads {
            if !is_own && thread.join().is_err() {
                self.core.poison.set("a thread of the log panicked");
            }
        }
        // Nothing is written any more: a handle that somebody still reads with keeps nobody out.
        let mut lock = self
            .core
            .lock
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *lock = None;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}
