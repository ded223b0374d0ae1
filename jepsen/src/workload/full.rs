//! A full disk: a filler takes all room but some while the load is on, and gives it back; once
//! more, and then the product is killed and started while there is still no room.
//!
//! Proves: without room submissions are refused with 507, nothing acknowledged is lost, nothing
//! refused appears, reads go on, the process lives, and says what it suffers from; with room it
//! takes submissions again within seconds, by itself. It starts without room, too.
//!
//! Short of room, the log may let go of what every task has delivered: then `GET` may answer 410,
//! and all that is forgotten must stand in the sheet. With `--held` no sheet can be written: then
//! nothing may be let go, the 507 names the task that holds the log, and the sheets catch up
//! once they can.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::checker::full::{Spell, check};
use crate::checker::sight::Sight;
use crate::client::{Call, Client};
use crate::process::Node;
use crate::process::disk::{Disk, must_be_possible};
use crate::report::Report;
use crate::workload::fleet::{Crew, Fleet};
use crate::workload::full::filler::Filler;
use crate::workload::full::held::Held;
use crate::workload::watch::{FORMS, Watch};
use crate::workload::worker::Phase;
use crate::workload::{Options, Run};

pub(crate) mod filler;
mod held;

/// What is left is used up by then, and the first 507 is out.
const FULL_TIME: Duration = Duration::from_mins(1);
/// How long it stays full.
const STAY: Duration = Duration::from_secs(2);
const TOLD_TIME: Duration = Duration::from_secs(5);
/// How long it is watched being well.
const WELL_STAY: Duration = Duration::from_secs(1);
const LOOK: Duration = Duration::from_millis(100);
/// Small, so that a small disk has many.
const SEGMENT: (&str, u64) = ("WAL__SEGMENT_BYTES", 4 << 20);

#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Plan {
    #[arg(long, default_value_t = 32)]
    pub(crate) connections: u32,
    /// The size of the disk.
    #[arg(long, default_value_t = 400)]
    pub(crate) mib: u64,
    /// What the filler leaves.
    #[arg(long, default_value_t = 4)]
    pub(crate) left_mib: u64,
    /// With room again it takes submissions within so many seconds.
    #[arg(long, default_value_t = 10)]
    pub(crate) well_s: u64,
    /// No sheet can be written until the end: nothing may leave the log.
    #[arg(long)]
    pub(crate) held: bool,
}

pub(crate) async fn run(options: &Options, plan: Plan) -> anyhow::Result<Report> {
    must_be_possible(&options.parent)?;
    let mut run = Run::new(options, "full")?;
    let (name, bytes) = SEGMENT;
    if !options.settings.contains_key(name) {
        run.site.set(name, Some(bytes.to_string()));
    }
    let disk = Disk::plain(run.site.path(), plan.mib)?;
    let filler = Filler::new(disk.root(), plan.left_mib << 20);
    run.site.live_on(disk);
    run.may_forget = !plan.held;
    let held = plan.held.then(|| Held::lay(&run.site)).transpose()?;
    let node = Node::start(&run.site).await?;
    let crew = Crew {
        may_be_full: true,
        ..Crew::busy(plan.connections, u64::MAX)
    };
    let fleet = Fleet::start(&run, &[node.address], crew);
    let watch = Watch::new();
    let ops = Client::new(run.site.ops);
    let mut trial = Trial {
        node,
        fleet,
        run,
        watch,
        ops,
        filler,
        held,
        spells: Vec::new(),
        faults: 0,
        well_time: Duration::from_secs(plan.well_s),
        is_spoiled: false,
    };
    match trial.drive().await {
        Ok(()) => trial.finish(plan).await,
        Err(error) => Err(trial.keep(error)),
    }
}

/// Fields in the order in which they must go: the node before the disk that it lives on.
struct Trial {
    node: Node,
    fleet: Fleet,
    run: Run,
    watch: Watch,
    ops: Client,
    filler: Filler,
    held: Option<Held>,
    spells: Vec<Spell>,
    /// Faults laid so far: the phase of the load.
    faults: u32,
    well_time: Duration,
    /// The checker will say why: there is no sense in going on.
    is_spoiled: bool,
}

impl Trial {
    async fn drive(&mut self) -> anyhow::Result<()> {
        self.fleet.wait_for_load(0).await;
        let from = self.fill()?;
        self.suffer().await?;
        self.recover(from).await?;
        if self.is_spoiled || !self.run.report.findings.is_clean() {
            self.run.progress("a fault was found: not filled again");
            return Ok(());
        }
        let from = self.fill()?;
        self.suffer().await?;
        self.kill(from).await?;
        let from = self.run.history.now();
        self.suffer().await?;
        self.recover(from).await
    }

    /// Answers when, in the history's time.
    fn fill(&mut self) -> anyhow::Result<u64> {
        let from = self.run.history.now();
        let taken = self.filler.fill()?;
        self.run
            .progress(format!("the filler takes {} MiB", taken >> 20));
        Ok(from)
    }

    /// Waits for the first 507 and stays full for a while, reading on.
    async fn suffer(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        let before = self.refused();
        while self.refused() == before && started.elapsed() < FULL_TIME {
            self.look().await?;
        }
        let (took, refused) = (started.elapsed(), self.refused() - before);
        self.run.progress(format!(
            "{} ms later {refused} are refused with 507",
            took.as_millis()
        ));
        self.is_spoiled |= refused == 0;
        let stays = Instant::now();
        let mut is_told = false;
        while stays.elapsed() < STAY || (!is_told && stays.elapsed() < TOLD_TIME) {
            self.look().await?;
            is_told = is_told || self.is_told().await;
        }
        if !is_told {
            self.run.report.findings.add(Kind::Full, || {
                "neither /readyz nor a metric with `full` in its name tells it".to_owned()
            });
        }
        if let Some(held) = &mut self.held {
            held.must_be_named(&mut self.run, self.node.address).await?;
        }
        Ok(())
    }

    async fn recover(&mut self, from: u64) -> anyhow::Result<()> {
        let until = self.run.history.now();
        self.filler.free()?;
        let room = Instant::now();
        let well_by = self.run.history.now() + u64::try_from(self.well_time.as_nanos())?;
        let acks = self.fleet.gauge.acks();
        let is_well = self.fleet.wait_for_load(acks);
        let is_well = tokio::time::timeout(self.well_time, is_well).await.is_ok();
        let (took, words) = (room.elapsed(), if is_well { "well" } else { "NOT well" });
        self.is_spoiled |= !is_well;
        self.run
            .progress(format!("room again: {words} after {} ms", took.as_millis()));
        // The disk is small: no load while nothing more is to be seen.
        self.fleet.phase.send_replace(Phase::Down);
        while room.elapsed() < self.well_time {
            self.look().await?;
        }
        let ready = self.ops.call(&Call::get("/readyz")).await;
        if !ready.is_ok_and(|answer| answer.status == 200) {
            self.run.report.findings.add(Kind::Full, || {
                "there is room, and /readyz does not say 200".to_owned()
            });
        }
        self.load_again();
        let well = Instant::now();
        while well.elapsed() < WELL_STAY {
            self.look().await?;
        }
        self.spells.push(Spell {
            from,
            until,
            well_by: Some(well_by),
            end: self.run.history.now(),
        });
        Ok(())
    }

    /// `kill -9`, and a start without room.
    async fn kill(&mut self, from: u64) -> anyhow::Result<()> {
        let until = self.run.history.now();
        self.spells.push(Spell {
            from,
            until,
            well_by: None,
            end: until,
        });
        self.node.must_live().context(self.run.site.log_tail())?;
        self.node.kill().await?;
        self.fleet.phase.send_replace(Phase::Down);
        self.node = Node::start_alive(&self.run.site).await?;
        let back = self.node.ready_after.as_millis();
        self.run
            .progress(format!("killed without room: it lives after {back} ms"));
        let mut reader = self.run.reader(&self.node)?;
        self.watch.look(&mut reader, &self.run.history).await;
        self.load_again();
        Ok(())
    }

    fn load_again(&mut self) {
        self.faults += 1;
        self.fleet.phase.send_replace(Phase::Up(self.faults));
    }

    /// It lives, and its readers are answered.
    async fn look(&mut self) -> anyhow::Result<()> {
        self.node.must_live().context(self.run.site.log_tail())?;
        let mut reader = self.run.reader(&self.node)?;
        self.watch.read(&mut reader).await;
        sleep(LOOK).await;
        Ok(())
    }

    fn refused(&self) -> u64 {
        self.fleet.gauge.full.load(Ordering::Relaxed)
    }

    /// By `/readyz`, in words, or by a metric.
    async fn is_told(&mut self) -> bool {
        if let Ok(ready) = self.ops.call(&Call::get("/readyz")).await
            && ready.status == 503
            && !ready.body.is_empty()
        {
            return true;
        }
        let metrics = self.ops.call(&Call::get("/metrics")).await;
        metrics.is_ok_and(|metrics| metrics.status == 200 && is_metered(&metrics.text()))
    }
    /// What a product leaves that has died; the words say where.
    fn keep(self, error: anyhow::Error) -> anyhow::Error {
        let Self { node, run, .. } = self;
        drop(node);
        let written = run.history.write(&run.site.path().join("history.txt"));
        let kept = run.site.keep();
        let words = format!("kept: {}", kept.display());
        written.map_or_else(anyhow::Error::from, |()| error.context(words))
    }

    async fn finish(self, plan: Plan) -> anyhow::Result<Report> {
        let Self {
            mut run,
            mut watch,
            fleet,
            spells,
            node,
            held,
            ..
        } = self;
        let (acks, refused) = (fleet.gauge.acks(), fleet.gauge.full.load(Ordering::Relaxed));
        fleet.settle(&mut run).await?;
        if let Some(held) = held {
            held.clear(&mut run)?;
        }
        run.progress("reading everything");
        watch.look(&mut run.reader(&node)?, &run.history).await;
        run.sights = watch.sights;
        run.check(&node, &FORMS).await?;
        if run.report.findings.is_clean() {
            run.report.findings.merge(watch.findings);
        }
        let events = run.history.since(0);
        for spell in &spells {
            check(&events, *spell, &mut run.report.findings);
        }
        let forgotten = forgotten(&run.sights);
        let report = &mut run.report;
        report.fact("forgotten", forgotten);
        report.fact("refused with 507", refused);
        report.fact("spells without room", spells.len());
        report.demand("receipts", acks, u64::from(plan.connections) * 3);
        run.end(node).await
    }
}

/// What readers were told, in words.
fn forgotten(sights: &[Sight]) -> String {
    let told = FORMS.into_iter().filter_map(|form| {
        let own = sights.iter().filter(|sight| sight.form == form);
        let oldest = own.filter_map(Sight::oldest).max()?;
        Some(format!("{} below seq {oldest}, by 410", form.name()))
    });
    let told = told.collect::<Vec<_>>();
    if told.is_empty() {
        "nothing".to_owned()
    } else {
        told.join("; ")
    }
}

/// A metric with `full` in its name that is not 0.
fn is_metered(metrics: &str) -> bool {
    let lines = metrics.lines().filter(|line| !line.starts_with('#'));
    let mut pairs = lines.filter_map(|line| line.rsplit_once(' '));
    pairs.any(|(series, value)| {
        let name = series.split('{').next().unwrap_or_default();
        name.contains("full") && value.parse::<f64>().is_ok_and(|value| value > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::{forgotten, is_metered};
    use crate::checker::sight::{Shape, Sight};
    use crate::form::Form;

    #[test]
    fn the_report_says_from_where_on_a_reader_speaks() {
        let mut sights = [Form::Free, Form::StudentData].map(|form| {
            let reader = "GET";
            Sight::new(reader, form, Shape::Document)
        });
        assert_eq!(forgotten(&sights), "nothing");
        sights[0].forget_below(7);
        assert_eq!(forgotten(&sights), "jepsen below seq 7, by 410");
    }

    #[test]
    fn only_a_metric_of_that_name_tells_that_it_is_full() {
        assert!(is_metered("# HELP x\nformspool_disk_full 1\n"));
        assert!(is_metered("formspool_full{disk=\"log\"} 1\n"));
        assert!(!is_metered("# formspool_disk_full 1\n"));
        assert!(!is_metered(
            "formspool_disk_full 0\nformspool_up{a=\"full\"} 1\n"
        ));
    }
}
