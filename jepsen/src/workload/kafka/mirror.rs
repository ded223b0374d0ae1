//! One task and the topics that it fills: defined, waited for, read, judged.
//!
//! Holds: a verdict is only given when the node says that all is delivered, or when that takes too
//! long; readers may see the last commit a moment later than the node does, so they look again
//! until nothing is missing or time is over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::checker::findings::{Findings, Kind};
use crate::checker::kafka::{Expected, Log, Topic, aborted, check};
use crate::checker::sight::Sight;
use crate::client::cluster::view;
use crate::client::tasks::Task;
use crate::form::{Bodies, Form};
use crate::reader::http::follow_log;
use crate::reader::kafka::{Isolation, agreed, read, sight};
use crate::report::Report;
use crate::workload::desk::Desk;
use crate::workload::kafka::lab::Lab;

pub(super) const PARTITIONS: u32 = 3;
const LOOK: Duration = Duration::from_millis(100);
/// A commit is seen by readers within this after the node knows of it.
const SEEN_TIME: Duration = Duration::from_secs(10);
const END_TIME: Duration = Duration::from_mins(1);

#[derive(Clone, Debug)]
pub(crate) struct Mirror {
    pub(crate) task: String,
    pub(super) forms: Vec<Form>,
    /// Topics are `<prefix>-<form>`.
    prefix: String,
    cluster: String,
    replicas: usize,
    logs: BTreeMap<Form, Log>,
    /// What was judged already and is not to be there again: the last offsets of the lives before.
    ends: BTreeMap<Form, BTreeMap<i32, i64>>,
    /// Up to this seq its records say that they are sent once more.
    pub(super) replayed: u64,
    /// Records that only the uncommitted reading shows, by topic.
    hidden: BTreeMap<Form, u64>,
}

/// What one look at the topics showed.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// Records aborted since the last look.
    pub(crate) aborted: u64,
    /// Shown as they must be.
    pub(crate) good: u64,
}

impl Mirror {
    /// A task of that name for `forms`; nothing is defined yet.
    pub(crate) async fn new(
        desk: &mut Desk,
        lab: &Lab,
        (task, prefix): (&str, String),
        forms: &[Form],
    ) -> anyhow::Result<Self> {
        let view = view(&mut desk.client, &desk.token).await?;
        Ok(Self {
            task: task.to_owned(),
            forms: forms.to_vec(),
            prefix,
            cluster: view.cluster,
            replicas: lab.replicas(),
            logs: BTreeMap::new(),
            ends: BTreeMap::new(),
            replayed: 0,
            hidden: BTreeMap::new(),
        })
    }

    pub(super) fn topic(&self, form: Form) -> String {
        format!("{}-{}", self.prefix, form.name())
    }

    /// As the product names its producer.
    pub(crate) fn id(&self) -> String {
        format!("formspool-{}-{}", self.cluster, self.task)
    }

    pub(super) fn definition(&self) -> Value {
        let forms = self.forms.iter().map(|form| form.name());
        json!({
            "name": self.task,
            "forms": forms.collect::<Vec<_>>(),
            "sink": "kafka",
            "start": "beginning",
            "on_poison": "park",
            "kafka": {
                "topic": format!("{}-{{form}}", self.prefix),
                "key": "form",
                "headers": "plain",
                "compression": "lz4",
                "create_topics": true,
                "partitions": PARTITIONS,
                "replication": self.replicas,
                "min_insync": if self.replicas > 1 { 2 } else { 1 },
                "accept_weak": self.replicas < 3,
            },
        })
    }

    pub(crate) async fn define(&self, desk: &mut Desk) -> anyhow::Result<()> {
        desk.define(&self.task, &self.definition()).await
    }

    /// Waits until the node says that all is delivered; what takes too long is a finding.
    pub(super) async fn delivered(
        &self,
        desk: &mut Desk,
        (name, time): (&str, Duration),
        findings: &mut Findings,
    ) -> bool {
        let done = desk.task_until(&self.task, time, Task::is_done).await;
        if let Err(words) = &done {
            findings.add(Kind::Outage, || {
                let (task, seconds) = (&self.task, time.as_secs());
                format!("{name}: task {task} is not done within {seconds} s: {words}")
            });
        }
        done.is_ok()
    }

    /// Reads log and topics, and judges one by the other. What is set aside is not there.
    pub(crate) async fn judge(
        &mut self,
        desk: &mut Desk,
        lab: &Lab,
        parked: &BTreeSet<u64>,
        findings: &mut Findings,
    ) -> anyhow::Result<Verdict> {
        let mut verdict = Verdict::default();
        for form in self.forms.clone() {
            let bootstrap = lab.brokers.bootstrap();
            let committed = self.settled(desk, (form, &bootstrap), parked).await?;
            let uncommitted = read(&bootstrap, &self.topic(form), Isolation::Uncommitted).await?;
            let hidden = aborted(&committed, &uncommitted, findings);
            verdict.aborted += hidden.saturating_sub(self.hidden.get(&form).copied().unwrap_or(0));
            self.hidden.insert(form, hidden);
            let expected = Expected {
                form,
                log: self.log(form)?,
                cluster: &self.cluster,
                partitions: PARTITIONS,
                parked,
                replayed: self.replayed,
            };
            verdict.good += check(&self.this_life(form, &committed), &expected, findings);
        }
        Ok(verdict)
    }

    /// The topic, read between two looks at the log that show the same. A pack of a node that was cut
    /// off may arrive long after its clients have given up: a record that is accepted behind the first
    /// look may be in the topic already.
    async fn settled(
        &mut self,
        desk: &mut Desk,
        (form, bootstrap): (Form, &str),
        parked: &BTreeSet<u64>,
    ) -> anyhow::Result<Topic> {
        let end = Instant::now() + SEEN_TIME;
        self.follow(desk, form).await?;
        loop {
            let topic = self.whole(form, bootstrap, parked).await?;
            let is_still = !self.follow(desk, form).await?;
            if is_still || Instant::now() > end {
                return Ok(topic);
            }
        }
    }

    /// Reads what is new in the log. True if there was something.
    async fn follow(&mut self, desk: &mut Desk, form: Form) -> anyhow::Result<bool> {
        let log = self.logs.entry(form).or_default();
        let before = log.len();
        follow_log(&mut desk.client, &desk.token, form, log).await?;
        Ok(before < log.len())
    }

    /// Of the present life: all of it, once nothing is missing, or what there is when time is over.
    async fn whole(
        &self,
        form: Form,
        bootstrap: &str,
        parked: &BTreeSet<u64>,
    ) -> anyhow::Result<Topic> {
        let log = self.log(form)?;
        let wanted = log.keys().filter(|seq| !parked.contains(seq)).count();
        let end = Instant::now() + SEEN_TIME;
        loop {
            let topic = read(bootstrap, &self.topic(form), Isolation::Committed).await?;
            if self.this_life(form, &topic).rows.len() >= wanted || Instant::now() > end {
                return Ok(topic);
            }
            sleep(LOOK).await;
        }
    }

    fn this_life(&self, form: Form, topic: &Topic) -> Topic {
        topic.behind(self.ends.get(&form).unwrap_or(&BTreeMap::new()))
    }

    /// What the topics hold by now belongs to a life that is over.
    pub(super) async fn begin_anew(&mut self, lab: &Lab) -> anyhow::Result<()> {
        for form in self.forms.clone() {
            let bootstrap = lab.brokers.bootstrap();
            let topic = read(&bootstrap, &self.topic(form), Isolation::Uncommitted).await?;
            self.ends.insert(form, topic.ends());
        }
        Ok(())
    }

    /// Its topics are gone, and made anew.
    pub(super) fn forget(&mut self) {
        self.ends.clear();
        self.hidden.clear();
    }

    /// All is delivered, and Kafka's own consumer shows the same as kcat. What the task tells
    /// about itself is noted.
    pub(crate) async fn conclude(
        &self,
        desk: &mut Desk,
        lab: &Lab,
        (fact, report): (&'static str, &mut Report),
    ) -> anyhow::Result<()> {
        let what = ("the end", END_TIME);
        self.delivered(desk, what, &mut report.findings).await;
        report.fact(fact, desk.task(&self.task).await?.counts());
        let [one, other] = self.forms[..] else {
            anyhow::bail!("two forms are concluded at once");
        };
        // At once: Kafka's own consumer is slow to start, and slow to end.
        tokio::try_join!(self.is_agreed(lab, one), self.is_agreed(lab, other))?;
        Ok(())
    }

    async fn is_agreed(&self, lab: &Lab, form: Form) -> anyhow::Result<()> {
        let topic = self.committed(lab, form).await?;
        agreed(&lab.brokers, &topic).await
    }

    /// What the committed reading shows, as any other reader's.
    pub(crate) async fn sights(&self, lab: &Lab, bodies: Bodies) -> anyhow::Result<Vec<Sight>> {
        let mut sights = Vec::new();
        for form in &self.forms {
            let topic = self.committed(lab, *form).await?;
            sights.push(sight(&topic, (bodies, *form)));
        }
        Ok(sights)
    }

    pub(super) async fn committed(&self, lab: &Lab, form: Form) -> anyhow::Result<Topic> {
        let bootstrap = lab.brokers.bootstrap();
        read(&bootstrap, &self.topic(form), Isolation::Committed).await
    }

    pub(super) fn log(&self, form: Form) -> anyhow::Result<&Log> {
        self.logs.get(&form).context("no log was read")
    }
}
