//! Delivery: moves accepted records to their destinations, in order, once.
//!
//! A *lane* is one form of one task. Each lane is one loop, the [pump](crate::Bridge): read the
//! records after the cursor, hand them to the [`Sink`], move the cursor. This room knows neither
//! the log nor the network of nodes: it sees the queue through its own trait [`Feed`], so the
//! author of a sink learns two traits and not the product.
//!
//! Always holds: records reach a sink in the order of their positions; a cursor passes a record
//! only when the destination has it, durably, or when it is parked, durably; only the pump moves a
//! cursor; one lane's trouble never delays another task's.

mod bridge;
mod config;
mod error;
mod feed;
mod files;
mod metrics;
pub mod mutants;
mod pump;
mod record;
mod retry;
mod sink;
mod sinks;
mod status;
#[cfg(feature = "testing")]
pub mod testing;

pub use bridge::{Bridge, NowMs, Parts, TaskSpec};
pub use config::{Config, CsvConfig, KafkaConfig, RetryConfig, SheetsConfig};
pub use error::{Cause, FeedError, SinkError, Trouble};
pub use feed::{Behind, Feed, Held, Limit, Standing};
pub use files::{Files, How, OpenFile, OsFiles, Stat};
pub use metrics::Metrics;
pub use record::{Lane, Parked, Position, Record};
pub use sink::{Batch, Cursor, Delivery, Leave, OnPoison, Opening, Sink};
#[cfg(feature = "sheets")]
pub use sinks::sheets;
#[cfg(feature = "kafka")]
pub use sinks::{
    Finding, KafkaRecord, KafkaReport, KafkaSpan, KafkaTask, Level, kafka_audit, kafka_read,
    kafka_spans,
};
pub use sinks::{Life, SinkKind, SinkSpec, Sinks};
pub use status::{LaneState, LaneStatus, LastError, Notes, TaskStatus};
