//! The word that stops the log: first reason wins, for good.
//!
//! Holds: once set it is never cleared in this process's life. Why: after a failed sync the kernel
//! may have dropped the pages and call them clean; a second sync would say "done" and lie.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::Error;

type Hook = Box<dyn FnOnce(&str) + Send>;

/// Shared by the writer, who sets it, and everybody who asks.
#[derive(Default)]
pub(crate) struct Poison {
    reason: OnceLock<Arc<str>>,
    hooks: Mutex<Vec<Hook>>,
}

impl Poison {
    /// Stops the log. Only the first reason is kept; the hooks hear it once.
    pub(crate) fn set(&self, reason: &str) {
        if self.reason.set(Arc::from(reason)).is_err() {
            return;
        }
        for hook in self.take_hooks() {
            hook(reason);
        }
    }

    /// Why, if it is set.
    pub(crate) fn reason(&self) -> Option<Arc<str>> {
        self.reason.get().map(Arc::clone)
    }

    /// `Err(Poisoned)` once set.
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.reason()
            .map_or(Ok(()), |reason| Err(Error::Poisoned { reason }))
    }

    /// Calls `hook` once with the reason: at once where it is set already.
    pub(crate) fn on_set(&self, hook: Hook) {
        self.hooks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(hook);
        // Set between the two lines or before: whoever empties the list calls what it took.
        if let Some(reason) = self.reason() {
            for hook in self.take_hooks() {
                hook(&reason);
            }
        }
    }

    fn take_hooks(&self) -> Vec<Hook> {
        std::mem::take(&mut *self.hooks.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Poison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Poison")
            .field("reason", &self.reason)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn the_first_reason_wins_and_every_hook_hears_it_once() {
        let poison = Poison::default();
        let heard = Arc::new(AtomicU32::new(0));
        let hook = |heard: &Arc<AtomicU32>| -> Hook {
            let heard = Arc::clone(heard);
            Box::new(move |reason| {
                assert_eq!("first", reason);
                heard.fetch_add(1, Ordering::SeqCst);
            })
        };
        poison.on_set(hook(&heard));
        assert!(poison.check().is_ok());
        poison.set("first");
        poison.set("second");
        poison.on_set(hook(&heard));
        assert_eq!(2, heard.load(Ordering::SeqCst));
        assert!(matches!(poison.check(), Err(Error::Poisoned { reason }) if &*reason == "first"));
    }
}
