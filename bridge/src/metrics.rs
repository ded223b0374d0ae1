//! The numbers that this room tells, named here and nowhere else.
//!
//! Holds: labels are task names and causes only, so a node with hundreds of forms keeps a bounded
//! number of series. Telling never decides.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::error::Cause;
use crate::status::{LaneState, TaskStatus};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct TaskLabel {
    task: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TroubleLabels {
    task: String,
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    task: String,
    level: &'static str,
}

/// The levels of an audit's findings, the gravest first.
const LEVELS: [&str; 4] = ["red", "amber", "unknown", "green"];

/// Handles to this room's numbers. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Metrics {
    delivered_records: Family<TaskLabel, Counter>,
    delivered_bytes: Family<TaskLabel, Counter>,
    parked_records: Family<TaskLabel, Counter>,
    troubles: Family<TroubleLabels, Counter>,
    deliver_seconds: Family<TaskLabel, Histogram>,
    lag_records: Family<TaskLabel, Gauge>,
    lag_bytes: Family<TaskLabel, Gauge>,
    oldest_age_seconds: Family<TaskLabel, Gauge>,
    is_stopped: Family<TaskLabel, Gauge>,
    kafka_transaction_seconds: Family<TaskLabel, Histogram>,
    kafka_aborts: Family<TroubleLabels, Counter>,
    kafka_fences: Family<TaskLabel, Counter>,
    kafka_audit_findings: Family<LevelLabels, Gauge>,
    sheets_requests: Family<RequestLabels, Counter>,
    sheets_wait_seconds: Family<TaskLabel, Histogram>,
    sheets_cells_percent: Family<TaskLabel, Gauge>,
    sheets_alarms: Family<TaskLabel, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    task: String,
    kind: &'static str,
    answer: &'static str,
}

/// What Google Sheets said to a request, by what follows from it.
#[cfg(feature = "sheets")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct SheetsAnswer {
    pub(crate) kind: &'static str,
    pub(crate) answer: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            delivered_records: Family::default(),
            delivered_bytes: Family::default(),
            parked_records: Family::default(),
            troubles: Family::default(),
            deliver_seconds: Family::new_with_constructor(|| {
                // From a sync of a fast disk to a request's time limit.
                Histogram::new([0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0])
            }),
            lag_records: Family::default(),
            lag_bytes: Family::default(),
            oldest_age_seconds: Family::default(),
            is_stopped: Family::default(),
            kafka_transaction_seconds: Family::new_with_constructor(|| {
                // A transaction takes 75 ms or more, whatever it carries.
                Histogram::new([0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0, 3.0, 10.0, 30.0])
            }),
            kafka_aborts: Family::default(),
            kafka_fences: Family::default(),
            kafka_audit_findings: Family::default(),
            sheets_requests: Family::default(),
            sheets_wait_seconds: Family::new_with_constructor(|| {
                // From a line that is empty to hundreds of forms in it.
                Histogram::new([0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0])
            }),
            sheets_cells_percent: Family::default(),
            sheets_alarms: Family::default(),
        }
    }
}

impl Metrics {
    /// Registers every number. The registry's prefix is `formspool`.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "sink_delivered_records",
            "Records that a task's destination has taken",
            self.delivered_records.clone(),
        );
        registry.register(
            "sink_delivered_bytes",
            "Bytes of bodies that a task's destination has taken",
            self.delivered_bytes.clone(),
        );
        registry.register(
            "sink_parked_records",
            "Records set aside because a task's destination will never take them",
            self.parked_records.clone(),
        );
        registry.register(
            "sink_troubles",
            "Deliveries that failed and are tried again, by cause",
            self.troubles.clone(),
        );
        registry.register_with_unit(
            "sink_deliver",
            "How long one batch's delivery took",
            Unit::Seconds,
            self.deliver_seconds.clone(),
        );
        registry.register(
            "sink_lag_records",
            "Records that a task has not delivered yet, when its status was last read",
            self.lag_records.clone(),
        );
        registry.register(
            "sink_lag_bytes",
            "Their bytes; of many, what the log has written since, with whatever else lies there",
            self.lag_bytes.clone(),
        );
        registry.register(
            "sink_oldest_age_seconds",
            "Age of a task's oldest undelivered record, when its status was last read",
            self.oldest_age_seconds.clone(),
        );
        registry.register(
            "sink_is_stopped",
            "1 if a lane of the task goes no further until a person acts",
            self.is_stopped.clone(),
        );
        registry.register_with_unit(
            "kafka_transaction",
            "How long one transaction took, from its first record to its commit",
            Unit::Seconds,
            self.kafka_transaction_seconds.clone(),
        );
        registry.register(
            "kafka_aborts",
            "Transactions that failed, by cause",
            self.kafka_aborts.clone(),
        );
        registry.register(
            "kafka_fences",
            "Transactions that failed because another producer had the task's transactional id",
            self.kafka_fences.clone(),
        );
        registry.register(
            "kafka_audit_findings",
            "What the last audit of brokers and topics found, by level: red can lose records",
            self.kafka_audit_findings.clone(),
        );
        self.register_sheets(registry);
    }

    fn register_sheets(&self, registry: &mut Registry) {
        registry.register(
            "sink_sheets_requests",
            "Requests to Google Sheets, by what was answered",
            self.sheets_requests.clone(),
        );
        registry.register_with_unit(
            "sink_sheets_wait",
            "How long a lane stood in line for its credential's quota",
            Unit::Seconds,
            self.sheets_wait_seconds.clone(),
        );
        registry.register(
            "sink_sheets_cells_percent",
            "How full the spreadsheet is that a task wrote last, in percent of Google's limit",
            self.sheets_cells_percent.clone(),
        );
        registry.register(
            "sink_sheets_alarms",
            "Answers of success that say that a cursor or a column was not where it was read",
            self.sheets_alarms.clone(),
        );
    }

    #[cfg(feature = "sheets")]
    pub(crate) fn sheets_request(&self, task: &str, answer: SheetsAnswer) {
        let labels = RequestLabels {
            task: task.to_owned(),
            kind: answer.kind,
            answer: answer.answer,
        };
        self.sheets_requests.get_or_create(&labels).inc();
    }

    #[cfg(feature = "sheets")]
    pub(crate) fn sheets_waited(&self, task: &str, seconds: f64) {
        let label = TaskLabel {
            task: task.to_owned(),
        };
        self.sheets_wait_seconds
            .get_or_create(&label)
            .observe(seconds);
    }

    #[cfg(feature = "sheets")]
    pub(crate) fn sheets_cells(&self, task: &str, percent: u64) {
        let label = TaskLabel {
            task: task.to_owned(),
        };
        let percent = i64::try_from(percent).unwrap_or(i64::MAX);
        self.sheets_cells_percent.get_or_create(&label).set(percent);
    }

    #[cfg(feature = "sheets")]
    pub(crate) fn sheets_alarm(&self, task: &str) {
        let label = TaskLabel {
            task: task.to_owned(),
        };
        self.sheets_alarms.get_or_create(&label).inc();
    }

    pub(crate) fn delivered(&self, task: &str, records: u64, bytes: u64, seconds: f64) {
        let label = TaskLabel {
            task: task.to_owned(),
        };
        self.delivered_records.get_or_create(&label).inc_by(records);
        self.delivered_bytes.get_or_create(&label).inc_by(bytes);
        self.deliver_seconds.get_or_create(&label).observe(seconds);
    }

    pub(crate) fn parked(&self, task: &str) {
        self.parked_records
            .get_or_create(&TaskLabel {
                task: task.to_owned(),
            })
            .inc();
    }

    pub(crate) fn trouble(&self, task: &str, cause: Cause) {
        let cause = match cause {
            Cause::Away => "away",
            Cause::Auth => "auth",
            Cause::Quota => "quota",
            Cause::Room => "room",
            Cause::Place => "place",
            Cause::Answer => "answer",
        };
        self.troubles
            .get_or_create(&TroubleLabels {
                task: task.to_owned(),
                cause,
            })
            .inc();
    }

    pub(crate) fn status(&self, status: &TaskStatus) {
        let label = TaskLabel {
            task: status.name.to_string(),
        };
        let whole = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.lag_records
            .get_or_create(&label)
            .set(whole(status.lag_records));
        self.lag_bytes
            .get_or_create(&label)
            .set(whole(status.lag_bytes.unwrap_or(0)));
        self.oldest_age_seconds
            .get_or_create(&label)
            .set(whole(status.oldest_age_ms.unwrap_or(0) / 1000));
        self.is_stopped
            .get_or_create(&label)
            .set(i64::from(status.state == LaneState::Stopped));
    }

    /// Forgets the gauges of a task that is gone; its counters stay, as counters do.
    pub(crate) fn forget(&self, task: &str) {
        let label = TaskLabel {
            task: task.to_owned(),
        };
        self.lag_records.remove(&label);
        self.lag_bytes.remove(&label);
        self.oldest_age_seconds.remove(&label);
        self.is_stopped.remove(&label);
        for level in LEVELS {
            let task = task.to_owned();
            self.kafka_audit_findings
                .remove(&LevelLabels { task, level });
        }
        self.sheets_cells_percent.remove(&label);
    }
}

/// What the Kafka sink tells.
#[cfg(feature = "kafka")]
impl Metrics {
    pub(crate) fn kafka_committed(&self, task: &str, seconds: f64) {
        let task = task.to_owned();
        self.kafka_transaction_seconds
            .get_or_create(&TaskLabel { task })
            .observe(seconds);
    }

    pub(crate) fn kafka_aborted(&self, task: &str, cause: &'static str) {
        let task = task.to_owned();
        self.kafka_aborts
            .get_or_create(&TroubleLabels { task, cause })
            .inc();
    }

    /// How many findings there are of each of the `LEVELS`.
    pub(crate) fn kafka_audited(&self, task: &str, counts: [usize; 4]) {
        for (level, count) in LEVELS.into_iter().zip(counts) {
            let task = task.to_owned();
            self.kafka_audit_findings
                .get_or_create(&LevelLabels { task, level })
                .set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    pub(crate) fn kafka_fenced(&self, task: &str) {
        let task = task.to_owned();
        self.kafka_fences.get_or_create(&TaskLabel { task }).inc();
    }
}
