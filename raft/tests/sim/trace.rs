//! What happened, in order: a line each of what a person wants to see, and a sum over everything.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

/// A clone is the same one.
#[derive(Clone)]
pub struct Trace {
    start: Instant,
    is_loud: bool,
    sum: Arc<Mutex<(DefaultHasher, Vec<String>)>>,
}

/// The last lines are shown with a failure.
const LINES_KEPT: usize = 30;

impl Trace {
    pub fn new(is_loud: bool) -> Self {
        Self {
            start: Instant::now(),
            is_loud,
            sum: Arc::default(),
        }
    }

    pub fn elapsed(&self) -> Duration {
        self.start.elapsed()
    }

    /// A line.
    pub fn say(&self, what: fmt::Arguments<'_>) {
        let line = format!("{:>9.3} {what}", self.elapsed().as_secs_f64());
        self.mix(&line);
        if self.is_loud {
            drop(writeln!(std::io::stdout(), "{line}"));
        }
        let mut sum = self.sum.lock().unwrap();
        if sum.1.len() == LINES_KEPT {
            sum.1.remove(0);
        }
        sum.1.push(line);
    }

    /// Something that only has to be the same the next time.
    pub fn mix(&self, what: &impl Hash) {
        let mut sum = self.sum.lock().unwrap();
        (self.elapsed(), what).hash(&mut sum.0);
    }

    pub fn sum(&self) -> u64 {
        self.sum.lock().unwrap().0.finish()
    }

    pub fn last_lines(&self) -> Vec<String> {
        self.sum.lock().unwrap().1.clone()
    }
}
