//! The threads that carry frames: one a port, and one for those that are late.
//!
//! Holds: dropped, the threads end and the interfaces go. A frame that a full interface does not
//! take is lost, as on any switch.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::dice::Dice;
use crate::net::link::{Link, Links};

const FRAME_LEN_MAX: usize = 1 << 16;
/// How soon a thread sees that it shall end.
const LOOK: Duration = Duration::from_millis(50);
const LATE_MAX: usize = 100_000; // frames; more are lost

#[derive(Debug)]
pub(super) struct Switch {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    taps: Vec<File>,
    links: Mutex<Links>,
    late: Mutex<BinaryHeap<Reverse<Late>>>,
    more: Condvar,
    is_over: AtomicBool,
}

/// Ordered by when it is due.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Late {
    due: Instant,
    to: usize,
    frame: Vec<u8>,
}

impl Switch {
    pub(super) fn start(taps: Vec<File>, seed: u64) -> std::io::Result<Self> {
        let ports = taps.len();
        let shared = Arc::new(Shared {
            taps,
            links: Mutex::new(Links::new(ports)),
            late: Mutex::default(),
            more: Condvar::new(),
            is_over: AtomicBool::new(false),
        });
        let mut switch = Self {
            shared: Arc::clone(&shared),
            threads: Vec::new(),
        };
        for (port, number) in (0..ports).zip(1..) {
            let (shared, dice) = (Arc::clone(&shared), Dice::new(seed).fork(number));
            let name = std::thread::Builder::new().name(format!("port-{port}"));
            let thread = name.spawn(move || shared.forward(port, dice))?;
            switch.threads.push(thread);
        }
        let name = std::thread::Builder::new().name("late".to_owned());
        switch.threads.push(name.spawn(move || shared.deliver())?);
        Ok(switch)
    }

    pub(super) fn set(&self, from: usize, to: usize, link: Link) {
        lock(&self.shared.links).set(from, to, link);
    }

    pub(super) fn heal(&self) -> u64 {
        lock(&self.shared.links).heal()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::Relaxed);
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            // One that has died has said so on its own.
            thread.join().ok();
        }
    }
}

impl Shared {
    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    fn forward(&self, port: usize, mut dice: Dice) {
        let Some(mut tap) = self.taps.get(port) else {
            return;
        };
        let look = Timespec {
            tv_sec: 0,
            tv_nsec: i64::from(LOOK.subsec_nanos()),
        };
        let mut buffer = vec![0; FRAME_LEN_MAX];
        while !self.is_over() {
            match tap.read(&mut buffer) {
                Ok(len) => self.route(buffer.get(..len).unwrap_or_default(), port, &mut dice),
                // Nothing is there, or not yet: woken when there is, or to look whether it is over.
                Err(_) => {
                    poll(&mut [PollFd::new(tap, PollFlags::IN)], Some(&look)).ok();
                }
            }
        }
    }

    fn route(&self, frame: &[u8], port: usize, dice: &mut Dice) {
        let carried = lock(&self.links).route(frame, port, dice);
        for (to, time) in carried {
            if time.is_zero() {
                self.put(to, frame);
                continue;
            }
            let mut late = lock(&self.late);
            if late.len() < LATE_MAX {
                let (due, frame) = (Instant::now() + time, frame.to_vec());
                late.push(Reverse(Late { due, to, frame }));
                self.more.notify_one();
            }
        }
    }

    fn deliver(&self) {
        let mut late = lock(&self.late);
        while !self.is_over() {
            let wait = late.peek().map_or(LOOK, |Reverse(next)| {
                next.due.saturating_duration_since(Instant::now())
            });
            if wait.is_zero() {
                let next = late.pop();
                drop(late);
                if let Some(Reverse(next)) = next {
                    self.put(next.to, &next.frame);
                }
                late = lock(&self.late);
            } else {
                let woken = self.more.wait_timeout(late, wait.min(LOOK));
                late = woken.unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }

    fn put(&self, to: usize, frame: &[u8]) {
        if let Some(mut tap) = self.taps.get(to) {
            tap.write_all(frame).ok();
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
