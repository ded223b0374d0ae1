//! A watched value that wakes those who wait in the order in which they began to.
//!
//! Why not tokio's: it wakes them in an order that its own dice decide.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

use openraft_rt::watch::{RecvError, SendError};
use openraft_rt::{OptionalSend, OptionalSync, watch};

/// See above.
#[derive(Debug)]
pub struct Watch;

/// One that may change the value.
#[derive(Debug)]
pub struct Sender<T>(Arc<Shared<T>>);

/// One that watches it.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
    number: u64,
    /// The version that it has seen.
    seen: u64,
}

#[derive(Debug)]
struct Shared<T> {
    value: RwLock<T>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    version: u64,
    senders: usize,
    receivers: usize,
    next_receiver: u64,
    waiting: Vec<(u64, Waker)>,
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn modify(&self, modify: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.value.write().unwrap_or_else(PoisonError::into_inner);
        if !modify(&mut value) {
            return false;
        }
        // While nobody reads: who sees the version sees the value.
        let mut state = self.state();
        state.version += 1;
        let waiting = std::mem::take(&mut state.waiting);
        drop((state, value));
        for (_, waker) in waiting {
            waker.wake();
        }
        true
    }

    fn receiver(self: &Arc<Self>, seen: Option<u64>) -> Receiver<T> {
        let mut state = self.state();
        state.receivers += 1;
        state.next_receiver += 1;
        Receiver {
            shared: Arc::clone(self),
            number: state.next_receiver,
            seen: seen.unwrap_or(state.version),
        }
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.0.state().senders += 1;
        Self(Arc::clone(&self.0))
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.senders -= 1;
        if state.senders == 0 {
            let waiting = std::mem::take(&mut state.waiting);
            drop(state);
            for (_, waker) in waiting {
                waker.wake();
            }
        }
    }
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        self.shared.receiver(Some(self.seen))
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.receivers -= 1;
        state.waiting.retain(|(number, _)| *number != self.number);
    }
}

impl<T> Receiver<T> {
    fn poll_changed(&mut self, context: &Context<'_>) -> Poll<Result<(), RecvError>> {
        let mut state = self.shared.state();
        if self.seen != state.version {
            self.seen = state.version;
            return Poll::Ready(Ok(()));
        }
        if state.senders == 0 {
            return Poll::Ready(Err(RecvError(())));
        }
        let waker = context.waker().clone();
        let mut waiting = state.waiting.iter_mut();
        match waiting.find(|(number, _)| *number == self.number) {
            Some((_, known)) => *known = waker,
            None => state.waiting.push((self.number, waker)),
        }
        Poll::Pending
    }
}

impl watch::Watch for Watch {
    type Sender<T: OptionalSend + OptionalSync> = Sender<T>;
    type Receiver<T: OptionalSend + OptionalSync> = Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = RwLockReadGuard<'a, T>;

    fn channel<T: OptionalSend + OptionalSync>(init: T) -> (Sender<T>, Receiver<T>) {
        let shared = Arc::new(Shared {
            value: RwLock::new(init),
            state: Mutex::new(State {
                senders: 1,
                ..State::default()
            }),
        });
        let receiver = shared.receiver(None);
        (Sender(shared), receiver)
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchSender<Watch, T> for Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.0.state().receivers == 0 {
            return Err(SendError(value));
        }
        self.0.modify(|now| {
            *now = value;
            true
        });
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.0.modify(modify)
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.0.read()
    }

    fn subscribe(&self) -> Receiver<T> {
        self.0.receiver(None)
    }
}

impl<T: OptionalSend + OptionalSync> watch::WatchReceiver<Watch, T> for Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    fn borrow_watched(&self) -> RwLockReadGuard<'_, T> {
        self.shared.read()
    }

    fn borrow_and_update(&mut self) -> RwLockReadGuard<'_, T> {
        let value = self.shared.read();
        self.seen = self.shared.state().version;
        value
    }
}
