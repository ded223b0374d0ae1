//! Properties of librdkafka that the sink sets for itself, and why a person may not.
//!
//! Holds: whatever the sink sets stands here (it sets through `sinks/kafka/own.rs`, which looks), under each
//! name that librdkafka knows for it: of two names for one property, it is chance which is set last.

/// The names of a property, ours first, and why it is not for a person to set.
struct Ours {
    names: &'static [&'static str],
    why: &'static str,
}

const fn ours(names: &'static [&'static str], why: &'static str) -> Ours {
    Ours { names, why }
}

const ONCE: &str = "exactly once rests on it";
const READERS: &str = "what reads the cursor back rests on it";
const LOOKS: &str = "what looks for our last records rests on it";
const WORDS: &str = "the sink reads librdkafka's words to tell a lost connection";

const OURS: [Ours; 29] = [
    ours(&["acks", "request.required.acks"], ONCE),
    ours(&["enable.idempotence"], ONCE),
    ours(&["transactional.id"], ONCE),
    ours(&["isolation.level"], ONCE),
    ours(
        &["allow.auto.create.topics"],
        "a topic is made by create_topics of the task, never by a broker's defaults",
    ),
    ours(&["group.id"], READERS),
    ours(&["enable.auto.commit"], READERS),
    ours(&["enable.auto.offset.store"], READERS),
    ours(&["auto.offset.reset"], READERS),
    ours(&["enable.partition.eof"], READERS),
    ours(&["queued.min.messages"], LOOKS),
    ours(&["fetch.queue.backoff.ms"], LOOKS),
    ours(
        &["fetch.message.max.bytes", "max.partition.fetch.bytes"],
        LOOKS,
    ),
    ours(&["log.queue"], WORDS),
    ours(&["log_level"], WORDS),
    ours(
        &["bootstrap.servers", "metadata.broker.list"],
        "set kafka.bootstrap, or servers of the task",
    ),
    ours(&["client.id"], "it says which of our clients it is"),
    ours(&["socket.keepalive.enable"], "it is always on"),
    ours(
        &["reconnect.backoff.ms"],
        "a task's clients connect at once, so that it opens soon",
    ),
    ours(
        &["reconnect.backoff.max.ms"],
        "a broker that is back is met again within a second",
    ),
    ours(
        &["transaction.timeout.ms"],
        "set kafka.transaction_timeout_ms",
    ),
    ours(
        &["max.in.flight.requests.per.connection", "max.in.flight"],
        "set kafka.max_in_flight",
    ),
    ours(
        &["compression.codec", "compression.type"],
        "set compression of the task",
    ),
    ours(
        &["linger.ms", "queue.buffering.max.ms"],
        "all that waits is handed over at once, so there is nothing to linger for",
    ),
    ours(
        &["batch.size"],
        "it follows from what the task's topics take",
    ),
    ours(
        &["batch.num.messages"],
        "it is 1 where a refused record is looked for",
    ),
    ours(
        &["queue.buffering.max.messages"],
        "it follows from kafka.batch_records_max",
    ),
    ours(
        &["queue.buffering.max.kbytes"],
        "it follows from kafka.batch_bytes_max",
    ),
    ours(
        &["delivery.report.only.error"],
        "the sink waits for the report of each record",
    ),
];

/// Why a person may not set this property; `None` if they may.
pub(crate) fn why_ours(name: &str) -> Option<&'static str> {
    let found = OURS.iter().find(|ours| ours.names.contains(&name));
    found.map(|ours| ours.why)
}

/// Every property, by the name that the sink uses.
#[cfg(all(test, feature = "kafka"))]
pub(crate) fn all_ours() -> impl Iterator<Item = &'static [&'static str]> {
    OURS.iter().map(|ours| ours.names)
}
