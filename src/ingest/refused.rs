//! Why a submission has no place: one variant a different thing that a client does about it.

use crate::forms::Fault;

/// A refusal. Every one but `Unknown` means: it is not in the log and never will be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Not a document at all: 400.
    #[error("malformed: {detail}")]
    Malformed {
        /// In words.
        detail: String,
        /// Where, if that is known.
        faults: Vec<Fault>,
    },
    /// Lists and objects within one another beyond the limit: 400.
    #[error("nested too deep: at most {max}")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// 413.
    #[error("too large: at most {max} bytes")]
    TooLarge {
        /// The limit.
        max: usize,
    },
    /// 422.
    #[error("too many fields: at most {max}")]
    TooManyFields {
        /// The limit.
        max: usize,
    },
    /// The schema does not allow it: 422.
    #[error("invalid")]
    Invalid(Vec<Fault>),
    /// The key was used with another body: 422.
    #[error("idempotency key used before with another body")]
    KeyReused,
    /// The key itself cannot be one: 400.
    #[error("idempotency key: {0}")]
    BadKey(String),
    /// 409.
    #[error("the form takes no more submissions")]
    FormRetired,
    /// The form was defined anew at the same moment: 409.
    #[error("the form is not known")]
    FormUnknown,
    /// More is under way than this node has room for: 503 or 429.
    #[error("overloaded")]
    Overloaded {
        /// When to come again.
        retry_after_s: u32,
    },
    /// The disk has no room for more of the log: 507.
    #[error("the disk is full: {detail}")]
    DiskFull {
        /// How much is missing, in words.
        detail: String,
    },
    /// A new key would push out one that is still needed: 503.
    #[error("no room for more idempotency keys")]
    KeysFull,
    /// No leader, or no majority: 503.
    #[error("no quorum")]
    NoQuorum,
    /// It may or may not have a place; with the same key it is safe to send again: 503.
    #[error("outcome unknown")]
    Unknown,
    /// This node is about to stop: 503.
    #[error("draining")]
    Draining,
}

impl Refused {
    /// A malformed body, with no better place to point at than the whole.
    pub fn malformed(detail: impl Into<String>) -> Self {
        Self::Malformed {
            detail: detail.into(),
            faults: Vec::new(),
        }
    }

    /// A short fixed name, for metrics and problem types.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooDeep { .. } => "too-deep",
            Self::TooLarge { .. } => "too-large",
            Self::TooManyFields { .. } => "too-many-fields",
            Self::Invalid(_) => "invalid",
            Self::KeyReused => "key-reused",
            Self::BadKey(_) => "bad-key",
            Self::FormRetired => "form-retired",
            Self::FormUnknown => "form-unknown",
            Self::Overloaded { .. } => "overloaded",
            Self::DiskFull { .. } => "disk-full",
            Self::KeysFull => "keys-full",
            Self::NoQuorum => "no-quorum",
            Self::Unknown => "outcome-unknown",
            Self::Draining => "draining",
        }
    }
}
