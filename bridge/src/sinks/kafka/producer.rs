//! One epoch of the task's producer: from its fence to the first thing that costs it.
//!
//! ```text
//! begin ──► send …, the cursor last ──► drain ──► commit ──► begin …
//!                      │                  │          │
//!                      └──────── abort ◄──┴──────────┘
//! ```
//! Holds: at most one transaction is open, and nothing of it is under way when it is committed.
//! Every wait has an end.
//!
//! Why drain before commit: librdkafka's flush looks at what has arrived each 100 ms only. Why purge
//! before abort: the abort waits for reports that nobody would read meanwhile. Why poll without
//! waiting, and sleep: rdkafka's poll with a time never returns before it, and spins for its last
//! millisecond.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, PurgeConfig};

use super::client::{Access, Span, TRANSACTIONS, Tag, Told, is_purged};
use super::fault::{Fault, Kind, is_retriable, kind_in_words};
use super::own::Own as _;
use super::settings::Compression;
use crate::config::KafkaConfig;

/// One call of librdkafka that may be made again waits for so long.
const CALL: Duration = Duration::from_secs(5);

/// Between two looks at what has arrived.
const PACE: Duration = Duration::from_micros(300);

/// For the cause of a failure to be told.
const CAUSE: Duration = Duration::from_secs(1);

/// For brokers to answer an abort.
const ABORT: Duration = Duration::from_secs(10);

/// How a producer is to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Manner {
    pub(super) transactional_id: String,
    pub(super) compression: Compression,
    /// Bytes of one request's batch: no topic may refuse a batch of records that it takes alone.
    pub(super) batch_bytes: usize,
    /// Each record alone in its batch, so that the broker's refusal names it.
    pub(super) is_singly: bool,
}

/// One epoch.
pub(super) struct TxProducer {
    inner: BaseProducer<Told>,
    timeout: Duration,
    /// A call about the end of a transaction had to be made twice.
    is_stretched: bool,
}

/// Where a record goes, and what it carries.
pub(super) struct Outgoing<'a> {
    pub(super) topic: &'a str,
    pub(super) partition: i32,
    pub(super) key: Option<&'a [u8]>,
    pub(super) value: &'a [u8],
    pub(super) headers: Option<OwnedHeaders>,
    /// `None`: now.
    pub(super) timestamp_ms: Option<i64>,
    pub(super) tag: Tag,
}

/// Where a transaction lies, by topic (as numbered by the sender) and partition.
pub(super) type Spans = BTreeMap<(u32, i32), Span>;

/// How librdkafka is set up for it.
pub(super) fn client(access: &Access, config: &KafkaConfig, manner: &Manner) -> ClientConfig {
    let timeout = config.transaction_timeout();
    // Room for one transaction twice, and for its headers.
    let queue = (config.batch_records_max + 1) * 2;
    let queue_kbytes = (config.batch_bytes_max >> 10) * 4 + 65_536;
    let mut client = access.client(&manner.transactional_id);
    client
        .own("transactional.id", &manner.transactional_id)
        .own("transaction.timeout.ms", timeout.as_millis().to_string())
        .own("acks", "all")
        .own("enable.idempotence", "true")
        .own(
            "max.in.flight.requests.per.connection",
            config.max_in_flight.to_string(),
        )
        .own("compression.codec", manner.compression.codec())
        .own("linger.ms", "2")
        .own("batch.size", manner.batch_bytes.to_string())
        .own(
            "batch.num.messages",
            if manner.is_singly { "1" } else { "10000" },
        )
        .own("queue.buffering.max.messages", queue.to_string())
        .own("queue.buffering.max.kbytes", queue_kbytes.to_string());
    client
}

/// What durability rests on, as librdkafka has understood it.
pub(super) fn profile(
    access: &Access,
    config: &KafkaConfig,
    manner: &Manner,
) -> Result<Vec<(&'static str, String)>, Fault> {
    const NAMES: [&str; 6] = [
        "acks",
        "enable.idempotence",
        "max.in.flight.requests.per.connection",
        "transactional.id",
        "transaction.timeout.ms",
        "allow.auto.create.topics",
    ];
    let doing = "read the producer's settings back";
    let native = client(access, config, manner).create_native_config();
    let native = native.map_err(|error| Fault::of(doing, &error))?;
    let read = |name| Ok((name, native.get(name)?));
    NAMES
        .into_iter()
        .map(read)
        .collect::<KafkaResult<_>>()
        .map_err(|error| Fault::of(doing, &error))
}

/// Reads what has arrived, without waiting: reports, and what librdkafka says.
pub(super) fn listen(client: &BaseProducer<Told>) {
    let mut left = client.in_flight_count();
    while left > 0 {
        client.poll(Duration::ZERO);
        let now = client.in_flight_count();
        if now >= left {
            return;
        }
        left = now;
    }
}

impl TxProducer {
    /// Makes a producer and fences every older one with its id. When it returns, what they had under
    /// way is committed or aborted, for good.
    pub(super) fn fence(
        access: &Access,
        config: &KafkaConfig,
        manner: &Manner,
        patience: Duration,
    ) -> Result<Self, Fault> {
        let timeout = config.transaction_timeout();
        let client = client(access, config, manner);
        let deadline = Instant::now() + patience;
        loop {
            let inner: BaseProducer<Told> = client
                .create_with_context(Told::default())
                .map_err(|error| Fault::of("set up the producer", &error))?;
            // A coordinator that is asked for before there is a connection is asked for again after
            // half a second only. What the answer is does not matter.
            drop(inner.client().fetch_metadata(Some(TRANSACTIONS), CALL));
            let mut producer = Self {
                inner,
                timeout,
                is_stretched: false,
            };
            producer.again("fence older producers", deadline, |inner| {
                inner.init_transactions(CALL)
            })?;
            producer.is_stretched = false;
            producer.listen();
            // librdkafka tells the same complaint once in 30 s: one that begins with a complaint could
            // miss the next.
            if !producer.is_worn() {
                return Ok(producer);
            }
            if deadline <= Instant::now() {
                return Err(producer.worn());
            }
        }
    }

    /// True if a connection was lost, or a request was not answered, since it was made: it has to be
    /// made anew before it begins another transaction.
    pub(super) fn is_worn(&self) -> bool {
        self.is_stretched || self.inner.context().wear() > 0
    }

    fn worn(&self) -> Fault {
        let mut fault = Fault::late("a connection broke");
        self.explain(&mut fault);
        fault
    }

    /// Begins a transaction.
    pub(super) fn begin(&self) -> Result<(), Fault> {
        self.listen();
        if self.is_worn() {
            return Err(self.worn());
        }
        *self.inner.context().flight() = super::client::Flight::default();
        self.inner
            .begin_transaction()
            .map_err(|error| self.fault("begin a transaction", &error))
    }

    /// Hands a record to librdkafka.
    pub(super) fn send(&self, outgoing: Outgoing<'_>) -> Result<(), Fault> {
        let Outgoing {
            topic,
            partition,
            key,
            value,
            headers,
            timestamp_ms,
            tag,
        } = outgoing;
        let mut record = BaseRecord::with_opaque_to(topic, tag.pack())
            .partition(partition)
            .payload(value);
        record.key = key;
        record.headers = headers;
        record.timestamp = timestamp_ms;
        let mut deadline = None;
        loop {
            let (error, back) = match self.inner.send(record) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let code = error.rdkafka_error_code();
            if code != Some(RDKafkaErrorCode::QueueFull) {
                let mut fault = self.fault("send a record", &error);
                fault.is_abortable = code != Some(RDKafkaErrorCode::Fatal);
                fault.record = usize::try_from(tag.record)
                    .ok()
                    .filter(|_| tag.record != Tag::OURS);
                return Err(fault);
            }
            // Read only here: there is room as a rule, and a look at the clock for each record costs.
            let now = Instant::now();
            if *deadline.get_or_insert(now + self.timeout) <= now {
                return Err(Fault::late("make room for a record"));
            }
            self.inner.poll(PACE);
            record = back;
        }
    }

    /// Reads reports without waiting.
    pub(super) fn listen(&self) {
        listen(&self.inner);
    }

    /// Waits until everything that was sent has its report, and returns where it lies.
    pub(super) fn drain(&self) -> Result<Spans, Fault> {
        let deadline = Instant::now() + self.timeout + CALL;
        loop {
            self.listen();
            let failed = self.inner.context().flight().failed;
            if let Some((code, tag)) = failed {
                return Err(self.refused(code, tag));
            }
            if self.inner.in_flight_count() == 0 {
                return Ok(std::mem::take(&mut self.inner.context().flight().spans));
            }
            if deadline <= Instant::now() {
                return Err(Fault::late("write records"));
            }
            std::thread::sleep(PACE);
        }
    }

    /// Commits what was drained.
    pub(super) fn commit(&mut self) -> Result<(), Fault> {
        let deadline = Instant::now() + self.timeout;
        let committed = self.again("commit", deadline, |inner| inner.commit_transaction(CALL));
        self.listen();
        committed
    }

    /// Aborts the transaction, so that readers need not wait for our successor or for the timeout. The
    /// producer must not be used again: what librdkafka has purged leaves a gap in its numbers, and the
    /// broker refuses what comes behind it.
    pub(super) fn abort(mut self) {
        let deadline = Instant::now() + ABORT;
        self.inner.purge(PurgeConfig::default().queue().inflight());
        while self.inner.in_flight_count() > 0 {
            self.inner.poll(Duration::ZERO);
            if deadline <= Instant::now() {
                return;
            }
        }
        if let Err(fault) = self.again("abort", deadline, |inner| inner.abort_transaction(CALL)) {
            tracing::debug!(%fault, "a transaction is left to its successor");
        }
    }

    /// Makes a call again as long as librdkafka says that it may be. Any second time wears: the first
    /// request may still be on its way.
    fn again(
        &mut self,
        doing: &str,
        deadline: Instant,
        call: impl Fn(&BaseProducer<Told>) -> KafkaResult<()>,
    ) -> Result<(), Fault> {
        loop {
            let Err(error) = call(&self.inner) else {
                return Ok(());
            };
            self.listen();
            if !is_retriable(&error) {
                return Err(self.fault(doing, &error));
            }
            self.is_stretched = true;
            if deadline <= Instant::now() {
                let mut fault = self.fault(doing, &error);
                fault.kind = Kind::Away;
                fault.is_abortable = false;
                return Err(fault);
            }
        }
    }

    /// The fault of an answer, with what librdkafka knows besides.
    fn fault(&self, doing: &str, error: &KafkaError) -> Fault {
        let mut fault = Fault::of(doing, error);
        self.explain(&mut fault);
        fault
    }

    /// A record was refused: the transaction has failed. The first report may be of one that was put
    /// away for another's sake; then the cause comes with the next reports, or librdkafka tells it.
    fn refused(&self, code: RDKafkaErrorCode, tag: Tag) -> Fault {
        let deadline = Instant::now() + CAUSE;
        let (mut code, mut tag) = (code, tag);
        while is_purged(code) && self.inner.in_flight_count() > 0 && Instant::now() < deadline {
            std::thread::sleep(PACE);
            self.listen();
            (code, tag) = self.inner.context().flight().failed.unwrap_or((code, tag));
        }
        let mut fault = Fault::of_code("write a record", code);
        fault.record = usize::try_from(tag.record)
            .ok()
            .filter(|_| tag.record != Tag::OURS);
        self.explain(&mut fault);
        if is_purged(code)
            && fault.is_abortable
            && let Some(kind) = kind_in_words(&fault.words)
        {
            fault.kind = kind;
        }
        fault
    }

    /// A fatal error is the cause of all that comes after it; an outage has its address, and a failed
    /// transaction its reason.
    fn explain(&self, fault: &mut Fault) {
        if let Some((code, words)) = self.inner.client().fatal_error() {
            fault.kind = Fault::of_code("", code).kind;
            fault.is_abortable = false;
            fault.words = format!("{}: {words}", fault.words);
        } else if matches!(fault.kind, Kind::Away | Kind::Other) {
            let words = self.inner.context().words();
            if !words.is_empty() {
                fault.words = format!("{}: {words}", fault.words);
            }
        }
    }
}
