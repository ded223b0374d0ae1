//! Audits from time to time, beside the deliveries, never in their way.
//!
//! Holds: at most one audit of a task runs; it asks by clients of its own, on a thread of its own, and
//! ends by itself. What it found is picked up when the task's thread has a moment. What one has seen in
//! its place, the next looks at again: a topic that was made anew in between is found out, however much
//! was written to it since.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use super::audit::{self, Finding, Subject};
use super::brokers::Brokers;
use super::cursor::Marks;
use super::fault::Fault;
use super::loss;
use super::producer;
use super::setup::Setup;

/// What one audit came to.
pub(super) struct Audited {
    pub(super) findings: Vec<Finding>,
    /// What is missing of what the cursor names.
    pub(super) missing: Vec<String>,
}

/// When the next is due, or what runs now.
pub(super) struct Auditor {
    every: Duration,
    due: Instant,
    running: Option<Receiver<Result<Audited, Fault>>>,
    /// What the one that runs looks at, and what the last has seen in its place.
    looks_at: Marks,
    seen: Marks,
    oldest_age_ms: u64,
}

impl Auditor {
    /// The first is due at once.
    pub(super) fn new(every_ms: u64) -> Self {
        Self {
            every: Duration::from_millis(every_ms),
            due: Instant::now(),
            running: None,
            looks_at: Marks::new(),
            seen: Marks::new(),
            oldest_age_ms: 0,
        }
    }

    /// Another one is due now.
    pub(super) fn hurry(&mut self) {
        self.due = Instant::now();
    }

    /// What an audit has seen in its place.
    pub(super) fn seen(&self) -> &Marks {
        &self.seen
    }

    /// A record of this age is being delivered.
    pub(super) fn delivers(&mut self, age_ms: u64) {
        self.oldest_age_ms = self.oldest_age_ms.max(age_ms);
    }

    /// Begins one that is due, and returns what one that ran has found.
    pub(super) fn step(&mut self, setup: &Setup, marks: &Marks) -> Option<Result<Audited, Fault>> {
        if let Some(running) = &self.running {
            let audited = running.try_recv();
            return match audited {
                Ok(audited) => {
                    self.running = None;
                    if matches!(&audited, Ok(audited) if audited.missing.is_empty()) {
                        self.seen = std::mem::take(&mut self.looks_at);
                    }
                    Some(audited)
                }
                Err(std::sync::mpsc::TryRecvError::Empty) => None,
                Err(std::sync::mpsc::TryRecvError::Disconnected) => {
                    self.running = None;
                    None
                }
            };
        }
        if Instant::now() < self.due {
            return None;
        }
        self.due = Instant::now() + self.every;
        self.looks_at = marks.clone();
        let job = Job {
            cluster: setup.owner.cluster.clone(),
            seen: self.seen.clone(),
            access: setup.access.clone(),
            settings: setup.settings.clone(),
            control: setup.control.clone(),
            marks: marks.clone(),
            oldest_age_ms: std::mem::take(&mut self.oldest_age_ms),
            transaction_timeout_ms: setup.config.transaction_timeout_ms,
            keepalive_ms: setup.config.keepalive_ms,
            producer: producer::profile(&setup.access, &setup.config, &setup.manner(None, false)),
        };
        let (send, running) = sync_channel(1);
        let begun = std::thread::Builder::new()
            .name("kafka-audit".to_owned())
            // Nobody waits for it any more if the task has ended.
            .spawn(move || drop(send.send(job.run())));
        match begun {
            Ok(_) => self.running = Some(running),
            Err(error) => tracing::warn!(%error, "cannot begin a thread for an audit"),
        }
        None
    }
}

/// All that an audit needs, its own.
struct Job {
    cluster: String,
    seen: Marks,
    access: super::client::Access,
    settings: super::settings::Settings,
    control: String,
    marks: Marks,
    oldest_age_ms: u64,
    transaction_timeout_ms: u64,
    keepalive_ms: u64,
    producer: Result<Vec<(&'static str, String)>, Fault>,
}

impl Job {
    fn run(&self) -> Result<Audited, Fault> {
        let brokers = Brokers::new(&self.access)?;
        let topics: BTreeSet<String> = self.marks.keys().cloned().collect();
        let subject = Subject {
            access: &self.access,
            settings: &self.settings,
            control: &self.control,
            topics,
            oldest_age_ms: self.oldest_age_ms,
            transaction_timeout_ms: self.transaction_timeout_ms,
            keepalive_ms: self.keepalive_ms,
            producer: self.producer.as_deref().map_err(Clone::clone)?,
        };
        let marks = [&self.marks, &self.seen];
        Ok(Audited {
            missing: loss::look(&self.access, &brokers, &self.cluster, marks)?,
            findings: audit::audit(&brokers, &subject)?,
        })
    }
}
