//! The parts behind the doors, and the doors onto them.
//!
//! Holds: what a handler may see is what is put into `Doors` here, and no more: no log, no bridge.

use std::sync::{Arc, OnceLock};

use bridge::{Bridge, NowMs, OsFiles, Parts, Sinks};
use serde_json::json;
use storage::{Disk as _, Health, OsDisk, SyncLatency};

use super::error::Error;
use super::report::Report;
use super::tasks::{self, Overview};
use super::{Stages, cluster, fresh, propose};
use crate::clock::Clock;
use crate::config::Config;
use crate::feed::LogFeed;
use crate::forms::Registry;
use crate::http::{Doors, View};
use crate::ingest::Ingest;
use crate::metrics::Metrics;
use crate::retention::Retention;
use crate::stage::Stage;

/// The parts behind the doors.
pub(super) struct Inside<'a> {
    config: &'a Config,
    raft: raft::Node,
    registry: Registry,
    ingest: Ingest,
    bridge: Bridge,
    overview: Overview,
    retention: Retention,
    metrics: Metrics,
}

impl<'a> Inside<'a> {
    /// Builds them over a log that is open.
    pub(super) async fn new(
        config: &'a Config,
        raft: &raft::Node,
        stages: &Stages,
        metrics: Metrics,
    ) -> Result<Self, Error> {
        let clock = Clock::system(config.clock.offset_ms);
        let view = raft.view();
        let registry = Registry::new(view.clone());
        let keeper = Arc::new(OnceLock::new());
        let door = propose::Door {
            raft: raft.clone(),
            retention: Arc::clone(&keeper),
        };
        let ingest = Ingest::spawn(
            config.limits.clone(),
            view.clone(),
            Arc::new(door),
            raft.sender(),
            clock,
            &stages.ingest,
        );
        metrics.with_state(view.clone());
        let deliveries = bridge::Metrics::default();
        metrics.with(|all| {
            raft.wal().metrics().register(all);
            view.metrics().register(all);
            raft.metrics().register(all);
            ingest.answered().register(all);
            deliveries.register(all.sub_registry_with_prefix("formspool"));
        });
        let mut settings = config.bridge.clone();
        settings.csv.dir = config.sheets_dir();
        let cluster = raft.status().cluster;
        let now_ms: NowMs = Arc::new(move || clock.now_ms());
        let mut sinks = Sinks::new(&settings.csv, Arc::new(OsFiles), &cluster);
        sinks.add_kafka(&config.kafka, &cluster, Arc::clone(&now_ms), &deliveries);
        sinks.add_sheets(&config.sheets, &cluster, &deliveries);
        let parts = Parts {
            feed: Arc::new(LogFeed::new(raft, &registry, &stages.clock)),
            sinks,
            metrics: deliveries,
            now_ms,
            seed: raft.sender().boot,
        };
        let Stage { token, tracker } = stages.bridge.clone();
        let bridge = Bridge::spawn(settings, parts, tasks::specs(&view)?, tracker, token);
        let changed = tasks::follow(raft, &bridge, &stages.clock);
        tasks::tell_lacks(raft, &bridge, &stages.clock);
        let overview = Overview::spawn(&bridge, changed, &stages.clock).await;
        let retention = keep(config, raft, &overview)?;
        retention.spawn(&stages.clock);
        keeper.get_or_init(|| retention.clone());
        Ok(Self {
            config,
            raft: raft.clone(),
            registry,
            ingest,
            bridge,
            overview,
            retention,
            metrics,
        })
    }

    /// What the public listener opens onto.
    pub(super) fn doors(&self, sync: Option<SyncLatency>, stage: &Stage) -> Doors {
        let raft = &self.raft;
        let view = raft.view();
        let report = Report {
            raft: raft.clone(),
            registry: self.registry.clone(),
            overview: self.overview.clone(),
            retention: self.retention.clone(),
            sync,
        };
        let (told, metrics, voting) = (self.overview.clone(), self.metrics.clone(), raft.clone());
        let (overview, freshness) = (self.overview.clone(), fresh::freshness(raft));
        let (members, fresh) = (raft.clone(), freshness.clone());
        Doors {
            config: self.config.http.clone(),
            submission_bytes_max: self.config.limits.submission_bytes_max,
            ingest: self.ingest.clone(),
            registry: self.registry.clone(),
            view: View::new(view.clone(), raft.records(), raft.applied()),
            voters: Arc::new(move || voting.status().voters),
            freshness,
            admin: propose::administer(raft),
            cluster: Arc::new(move || cluster::document(&members, &fresh)),
            operate: cluster::operate(raft),
            status: Arc::new(move || report.status()),
            tasks: Arc::new(move || json!({ "tasks": told.tasks() })),
            delivery: Arc::new(move |form, position| overview.delivery(&view, form, position)),
            lag: tasks::lag(&self.bridge),
            observe: Arc::new(move |route, status, elapsed| {
                metrics.answered(route, status, elapsed);
            }),
            stopping: stage.token.clone(),
        }
    }
}

/// What decides how much of the log stays.
fn keep(config: &Config, raft: &raft::Node, overview: &Overview) -> Result<Retention, Error> {
    let dir = &config.data_dir;
    let free_bytes = OsDisk.free_bytes(dir).map_err(|source| Error::Io {
        op: "look at the room of",
        path: dir.clone(),
        source,
    })?;
    let (overview, wal) = (overview.clone(), raft.wal().clone());
    Ok(Retention::new(
        raft,
        &config.retention,
        free_bytes,
        Arc::new(move || overview.tasks()),
        Arc::new(move || matches!(wal.health(), Health::Full(_))),
    ))
}
