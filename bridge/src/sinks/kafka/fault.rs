//! What librdkafka answers, by what the sink does about it.
//!
//! ```text
//! answer                         producer        what the task hears
//! retriable                      kept            nothing: the same call again, for a while
//! abortable                      kept, aborted   by kind, below; the cursor is read again
//! fatal, or none of the three    dropped         by kind, below; a new epoch, the cursor read again
//! ```
//! Holds: a transport error or a timeout around the end of a transaction always costs the producer
//! its epoch: what was sent then may still arrive, and must find the door closed.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use crate::error::{Cause, Trouble};

/// Something failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: Kind,
    /// The producer can still abort, and then go on.
    pub(super) is_abortable: bool,
    /// What was being done, and the answer.
    pub(super) words: String,
    /// Which record of the batch was refused, if the answer was about one.
    pub(super) record: Option<usize>,
}

/// What it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Kind {
    /// No broker answers, or too few replicas do.
    Away,
    /// We may not.
    Auth,
    /// A record, or a batch, is larger than the topic takes.
    Size,
    /// A record's timestamp is refused.
    Time,
    /// A record is refused by a rule of the topic.
    Record,
    /// Another producer has our transactional id.
    Fenced,
    /// A topic or a partition is not there.
    Topic,
    /// Our transactions may last longer than the brokers allow.
    Timeout,
    /// There are too few brokers for the replicas that are wanted.
    Replication,
    /// Kafka has forgotten our producer id: it was idle for long, or its log was cut.
    Forgotten,
    /// Anything else.
    Other,
}

impl Kind {
    /// The value of the metrics' label.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Away => "away",
            Self::Auth => "auth",
            Self::Size => "size",
            Self::Time => "time",
            Self::Record => "record",
            Self::Fenced => "fenced",
            Self::Topic => "topic",
            Self::Timeout => "timeout",
            Self::Replication => "replication",
            Self::Forgotten => "forgotten",
            Self::Other => "other",
        }
    }

    fn of(code: Code) -> Self {
        let kind = KINDS.iter().find(|(_, codes)| codes.contains(&code));
        kind.map_or(Self::Other, |(kind, _)| *kind)
    }
}

/// What each code is about; one that is not here is something else.
const KINDS: [(Kind, &[Code]); 10] = [
    (
        Kind::Auth,
        &[
            Code::TopicAuthorizationFailed,
            Code::ClusterAuthorizationFailed,
            Code::TransactionalIdAuthorizationFailed,
            Code::GroupAuthorizationFailed,
            Code::SaslAuthenticationFailed,
            Code::Authentication,
        ],
    ),
    (
        Kind::Size,
        &[
            Code::MessageSizeTooLarge,
            Code::MessageBatchTooLarge,
            Code::InvalidMessageSize,
        ],
    ),
    (Kind::Time, &[Code::InvalidTimestamp]),
    (Kind::Record, &[Code::InvalidRecord]),
    (Kind::Timeout, &[Code::InvalidTransactionTimeout]),
    (Kind::Replication, &[Code::InvalidReplicationFactor]),
    (
        Kind::Fenced,
        &[
            Code::Fenced,
            Code::ProducerFenced,
            Code::InvalidProducerEpoch,
        ],
    ),
    (
        Kind::Topic,
        &[
            Code::UnknownTopic,
            Code::UnknownPartition,
            Code::UnknownTopicOrPartition,
            Code::UnknownTopicId,
        ],
    ),
    (
        Kind::Forgotten,
        &[Code::UnknownProducerId, Code::InvalidProducerIdMapping],
    ),
    (
        Kind::Away,
        &[
            Code::BrokerTransportFailure,
            Code::AllBrokersDown,
            Code::OperationTimedOut,
            Code::TimedOutQueue,
            Code::MessageTimedOut,
            Code::RequestTimedOut,
            Code::Resolve,
            Code::BrokerNotAvailable,
            Code::LeaderNotAvailable,
            Code::NotLeaderForPartition,
            Code::CoordinatorNotAvailable,
            Code::CoordinatorLoadInProgress,
            Code::NotCoordinator,
            Code::NetworkException,
            Code::NotEnoughReplicas,
            Code::NotEnoughReplicasAfterAppend,
            Code::OffsetNotAvailable,
            Code::ThrottlingQuotaExceeded,
        ],
    ),
];

/// The kind of a cause that librdkafka names in its words alone, as `(TOPIC_AUTHORIZATION_FAILED)`.
pub(super) fn kind_in_words(words: &str) -> Option<Kind> {
    const NAMES: [(&str, Kind); 9] = [
        ("AUTHORIZATION_FAILED", Kind::Auth),
        ("MSG_SIZE_TOO_LARGE", Kind::Size),
        ("RECORD_LIST_TOO_LARGE", Kind::Size),
        ("INVALID_TIMESTAMP", Kind::Time),
        ("INVALID_RECORD", Kind::Record),
        ("PRODUCER_FENCED", Kind::Fenced),
        ("PRODUCER_ID", Kind::Forgotten),
        ("UNKNOWN_TOPIC", Kind::Topic),
        ("TIMED_OUT", Kind::Away),
    ];
    let found = NAMES.iter().find(|(name, _)| words.contains(name));
    found.map(|(_, kind)| *kind)
}

/// True if the same call may be made again as it is.
pub(super) fn is_retriable(error: &KafkaError) -> bool {
    if let KafkaError::Transaction(error) = error {
        return error.is_retriable() && !error.is_fatal() && !error.txn_requires_abort();
    }
    matches!(error, KafkaError::Flush(_))
}

impl Fault {
    /// The fault of an answer while `doing` something.
    pub(super) fn of(doing: &str, error: &KafkaError) -> Self {
        let is_abortable = matches!(
            error,
            KafkaError::Transaction(error) if error.txn_requires_abort() && !error.is_fatal()
        );
        Self {
            kind: code_of(error).map_or(Kind::Other, Kind::of),
            is_abortable,
            words: format!("{doing}: {error}"),
            record: None,
        }
    }

    /// The fault of a record, or of librdkafka as a whole, by its code.
    pub(super) fn of_code(doing: &str, code: Code) -> Self {
        Self {
            kind: Kind::of(code),
            is_abortable: true,
            words: format!("{doing}: {code}"),
            record: None,
        }
    }

    /// Kafka did not answer in time.
    pub(super) fn late(doing: &str) -> Self {
        Self {
            kind: Kind::Away,
            is_abortable: false,
            words: format!("{doing}: no answer in time"),
            record: None,
        }
    }

    /// What the task hears.
    pub(super) fn trouble(&self) -> Trouble {
        let cause = match self.kind {
            Kind::Away => Cause::Away,
            Kind::Auth => Cause::Auth,
            Kind::Size
            | Kind::Time
            | Kind::Record
            | Kind::Fenced
            | Kind::Topic
            | Kind::Timeout
            | Kind::Replication
            | Kind::Forgotten
            | Kind::Other => Cause::Place,
        };
        Trouble::new(cause, self.to_string())
    }

    /// What a person can do about it, if anything.
    fn advice(&self) -> &'static str {
        match self.kind {
            Kind::Auth => {
                "; the task needs, for its user: Write and Describe on its topics and on its \
                 transactional id, Read on its control topic, IdempotentWrite on the cluster, and \
                 Create where topics are to be made (`kafka-acls --add --producer \
                 --transactional-id … --topic …`)"
            }
            Kind::Time => {
                "; it was refused with the present time of this node too: compare its clock with \
                 the brokers', and see message.timestamp.before.max.ms and .after.max.ms"
            }
            Kind::Fenced => {
                "; another producer has this task's transactional id: most likely a newer leader, \
                 whose turn it is"
            }
            Kind::Timeout => {
                "; kafka.transaction_timeout_ms of this node is above the brokers' \
                 transaction.max.timeout.ms: lower the one or raise the other"
            }
            Kind::Replication => {
                "; Kafka has fewer brokers than that: start more, or set replication and min_insync \
                 lower and accept_weak = true in the task's table [kafka]"
            }
            Kind::Away
            | Kind::Size
            | Kind::Record
            | Kind::Topic
            | Kind::Forgotten
            | Kind::Other => "",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.words, self.advice())
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> Self {
        fault.to_string()
    }
}

fn code_of(error: &KafkaError) -> Option<Code> {
    if let KafkaError::AdminOp(code) = error {
        return Some(*code);
    }
    error.rdkafka_error_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_not_about_a_record_and_a_refusal_is_not_an_outage() {
        let cause = |code| Fault::of_code("x", code).trouble().cause;
        assert_eq!(cause(Code::NotEnoughReplicas), Cause::Away);
        assert_eq!(cause(Code::AllBrokersDown), Cause::Away);
        assert_eq!(cause(Code::TopicAuthorizationFailed), Cause::Auth);
        assert_eq!(cause(Code::MessageSizeTooLarge), Cause::Place);
        let auth = Fault::of_code("x", Code::TopicAuthorizationFailed);
        assert!(auth.trouble().why.contains("kafka-acls"), "{auth}");
    }

    #[test]
    fn what_librdkafka_does_not_call_abortable_costs_the_producer() {
        let error = KafkaError::MessageProduction(Code::Fatal);
        assert!(!Fault::of("x", &error).is_abortable);
        assert!(is_retriable(&KafkaError::Flush(Code::OperationTimedOut)));
        assert!(!is_retriable(&error));
    }
}
