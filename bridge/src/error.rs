//! What can go wrong, by what the pump does about it.
//!
//! Holds: an outage is not a poison message. Only [`Cause::Answer`] counts as an attempt on a
//! record; every other cause waits for as long as it takes and burns nothing.

use std::time::Duration;

use serde::Serialize;

/// Whose trouble it is: decides who waits, and whether an attempt was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// No connection, no reply, a 5xx: the destination is away. All lanes of the task wait.
    Away,
    /// Our credentials do not hold. All lanes of the task wait.
    Auth,
    /// Too many requests. All lanes of the task wait.
    Quota,
    /// No room is left there. All lanes of the task wait.
    Room,
    /// Something about this lane's own place there, such as one file's permissions. It alone waits.
    Place,
    /// The destination has answered, and the answer may be about the records: counts as an attempt.
    Answer,
}

/// Why a delivery did not happen this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// Whose trouble it is.
    pub cause: Cause,
    /// In words that a person can act on.
    pub why: String,
    /// Not before this has passed, if the destination named a time.
    pub after: Option<Duration>,
}

impl Trouble {
    /// A trouble without a time of its own.
    pub fn new(cause: Cause, why: impl Into<String>) -> Self {
        Self {
            cause,
            why: why.into(),
            after: None,
        }
    }
}

/// Why a sink does not open.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SinkError {
    /// Try again.
    #[error("{}", .0.why)]
    Again(Trouble),
    /// It never will, as things stand: the lane stops and waits for a person.
    #[error("{0}")]
    Stop(String),
}

/// Why the feed did not do as it was told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// Not now: no leader, no quorum, or the node is stopping. Nothing is known to have happened.
    #[error("{0}")]
    Again(String),
    /// The task has begun another life, or is deleted: this lane must end.
    #[error("the task has begun another life")]
    Fenced,
}
