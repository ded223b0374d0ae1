//! What one life of one task is made of, before any broker was asked.

use crate::bridge::NowMs;
use crate::config::KafkaConfig;
use crate::metrics::Metrics;
use crate::mutants::{self, Mutant};
use crate::sinks::Life;
use crate::status::Notes;

use super::client::Access;
use super::cursor::Owner;
use super::producer::Manner;
use super::settings::{Key, Settings};

/// Characters of the cluster's id that a control topic is named with.
const CLUSTER_CHARS: usize = 8;

/// One life of one task.
pub(super) struct Setup {
    pub(super) config: KafkaConfig,
    pub(super) settings: Settings,
    pub(super) key: Key,
    pub(super) access: Access,
    pub(super) owner: Owner,
    /// The topic of its cursor.
    pub(super) control: String,
    /// The same on every node and in every life: who has it fences who had it.
    pub(super) transactional_id: String,
    pub(super) now_ms: NowMs,
    pub(super) metrics: Metrics,
    pub(super) notes: Notes,
}

/// What all tasks of a node share.
#[derive(Clone)]
pub(super) struct House {
    pub(super) config: KafkaConfig,
    pub(super) cluster: String,
    pub(super) now_ms: NowMs,
    pub(super) metrics: Metrics,
}

impl Setup {
    pub(super) fn new(
        house: &House,
        life: &Life,
        settings: &serde_json::Value,
        notes: &Notes,
    ) -> Result<Self, String> {
        let settings = Settings::read(settings)?;
        let key = settings.key()?;
        let servers = settings.servers_or(&house.config.bootstrap)?;
        let House {
            config,
            cluster,
            now_ms,
            metrics,
        } = house.clone();
        let task = life.lane.task.to_string();
        Ok(Self {
            access: Access::new(&config, servers)?,
            control: control_topic(&settings, &cluster, &task),
            transactional_id: format!("formspool-{cluster}-{task}"),
            owner: Owner {
                cluster,
                task,
                incarnation: life.incarnation,
            },
            config,
            settings,
            key,
            now_ms,
            metrics,
            notes: notes.clone(),
        })
    }

    /// How a producer sends to topics that take batches of so many bytes.
    pub(super) fn manner(&self, topics_bytes_max: Option<usize>, is_singly: bool) -> Manner {
        /// librdkafka's own default; larger batches do not go faster.
        const BATCH_BYTES: usize = 1_000_000;
        let batch_bytes = topics_bytes_max.map_or(BATCH_BYTES, |most| most.clamp(1, BATCH_BYTES));
        Manner {
            transactional_id: self.transactional_id.clone(),
            compression: self.settings.compression,
            batch_bytes,
            is_singly,
        }
    }
}

/// One topic a task. No other transactional id may write there: its open transaction would hide
/// this task's cursor from its successor.
fn control_topic(settings: &Settings, cluster: &str, task: &str) -> String {
    if mutants::is(Mutant::SharedControl) {
        return "formspool-control".to_owned();
    }
    if settings.control_topic.is_empty() {
        let cluster: String = cluster.chars().take(CLUSTER_CHARS).collect();
        format!("formspool-{cluster}-{task}")
    } else {
        settings.control_topic.clone()
    }
}
