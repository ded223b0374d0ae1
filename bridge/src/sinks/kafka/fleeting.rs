//! A client that is made for a few questions and dropped.
//!
//! Holds: dropping one takes no time of its owner: librdkafka needs a tenth of a second to end its
//! threads, longer where a broker is away, and a task that opens makes three of them. At most
//! [`ENDING_MAX`] end beside their owners; the next one ends in its owner's time, so an outage of
//! hours cannot pile them up. Never a transactional producer: the next one must find it gone.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Clients of all tasks that are ending at once.
const ENDING_MAX: usize = 16;

static ENDING: AtomicUsize = AtomicUsize::new(0);

/// A client.
pub(super) struct Fleeting<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Fleeting<T> {
    pub(super) fn new(client: T) -> Self {
        Self(Some(client))
    }
}

impl<T: Send + 'static> Deref for Fleeting<T> {
    type Target = T;

    fn deref(&self) -> &T {
        match &self.0 {
            Some(client) => client,
            None => unreachable!("only its drop takes it out"),
        }
    }
}

impl<T: Send + 'static> Drop for Fleeting<T> {
    fn drop(&mut self) {
        let ending = Ending::begin();
        if ending.0 <= ENDING_MAX {
            let client = self.0.take();
            let thread = std::thread::Builder::new().name("kafka-end".to_owned());
            // Without a thread it ends here: a call that fails drops what it was given.
            drop(thread.spawn(move || drop((client, ending))));
        }
    }
}

/// One of those that are ending, itself counted.
struct Ending(usize);

impl Ending {
    fn begin() -> Self {
        Self(ENDING.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        ENDING.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::thread::ThreadId;

    use super::*;

    /// A client whose end waits until it may, and tells on which thread it was.
    struct Slow {
        may_end: Receiver<()>,
        ended: SyncSender<ThreadId>,
    }

    impl Drop for Slow {
        fn drop(&mut self) {
            self.may_end.recv().ok();
            self.ended.send(std::thread::current().id()).ok();
        }
    }

    #[test]
    fn its_owner_waits_for_no_end_until_too_many_are_ending() {
        let (ended, told) = sync_channel(ENDING_MAX + 1);
        let slow = || {
            let (may, may_end) = sync_channel(1);
            let ended = ended.clone();
            (may, Fleeting::new(Slow { may_end, ended }))
        };
        let (waiting, clients): (Vec<_>, Vec<_>) = (0..ENDING_MAX).map(|_| slow()).unzip();
        drop(clients);
        assert!(told.try_recv().is_err(), "none may have ended");
        let (may, one_more) = slow();
        may.send(()).unwrap();
        drop(one_more);
        let here = std::thread::current().id();
        assert_eq!(told.try_recv(), Ok(here), "one too many ends here");
        for may in waiting {
            may.send(()).unwrap();
            assert_ne!(told.recv().unwrap(), here);
        }
    }
}
