//! What the nodes hold, read by one follower each, judged after each fault and whole at the end.
//!
//! Holds: after a fault everything new is judged on every node, by itself and against the
//! others; what comes from files that were damaged is read anew from the first record on.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::checker::accounts::Accounts;
use crate::checker::back::{self, Glimpse};
use crate::checker::findings::Findings;
use crate::checker::sight::Sight;
use crate::checker::{Span, check, replicas};
use crate::client::Client;
use crate::client::cluster::State;
use crate::process::cluster::Cluster;
use crate::reader::http::Reader;
use crate::reader::sheet;
use crate::workload::Run;
use crate::workload::cluster::follower::Follower;
use crate::workload::watch::FORMS;
use crate::workload::worker::Gauge;

const MEND_TIME: Duration = Duration::from_secs(20);
const MEND_LOOK: Duration = Duration::from_millis(200);
const SHEETS: [&str; 5] = [
    "node 1 sheet",
    "node 2 sheet",
    "node 3 sheet",
    "node 4 sheet",
    "node 5 sheet",
];
const READERS: [&str; 5] = [
    "node 1 GET",
    "node 2 GET",
    "node 3 GET",
    "node 4 GET",
    "node 5 GET",
];

pub(super) struct Copies {
    accounts: Accounts,
    /// Events already absorbed.
    events: usize,
    /// One a node, while they are not sent out.
    followers: Vec<Follower>,
    /// Rows already judged, by node and form.
    judged: Vec<[usize; FORMS.len()]>,
    /// Everything is to be judged again.
    is_anew: bool,
    pub(super) findings: Findings,
    /// How often a node came up behind what it had shown.
    pub(super) behind: u64,
    pub(super) glimpses: u64,
    /// How long a node took until it showed all that it should.
    pub(super) mended: Duration,
}

/// Followers that are under way.
pub(super) struct Out {
    tasks: JoinSet<Follower>,
    stop: watch::Sender<bool>,
}

impl Copies {
    pub(super) fn new(cluster: &Cluster, run: &Run) -> anyhow::Result<Self> {
        let followers = cluster.numbers().map(|node| {
            let member = cluster.member(node)?;
            let boots = Arc::clone(&member.boots);
            Ok(Follower::new(node, member.site.http, boots, run.bodies))
        });
        let followers = followers.collect::<anyhow::Result<Vec<_>>>()?;
        Ok(Self {
            accounts: Accounts::default(),
            events: 0,
            judged: vec![[0; FORMS.len()]; followers.len()],
            followers,
            is_anew: false,
            findings: Findings::default(),
            behind: 0,
            glimpses: 0,
            mended: Duration::ZERO,
        })
    }

    /// Dropped, they end.
    pub(super) fn send_out(&mut self, token: &str, gauge: &Arc<Gauge>) -> Out {
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for follower in self.followers.drain(..) {
            let gauge = Arc::clone(gauge);
            tasks.spawn(follower.follow(token.to_owned(), gauge, stopped.clone()));
        }
        Out { tasks, stop }
    }

    pub(super) async fn call_back(&mut self, mut out: Out) -> anyhow::Result<()> {
        out.stop.send_replace(true);
        while let Some(follower) = out.tasks.join_next().await {
            self.followers.push(follower.context("a follower died")?);
        }
        self.followers.sort_by_key(|follower| follower.node);
        let glimpses = self.followers.iter_mut();
        let glimpses = glimpses.flat_map(|follower| std::mem::take(&mut follower.glimpses));
        let glimpses = glimpses.collect::<Vec<Glimpse>>();
        self.glimpses += u64::try_from(glimpses.len())?;
        self.behind += back::check(&glimpses, &mut self.findings);
        Ok(())
    }

    /// On every node.
    pub(super) fn read_anew(&mut self) {
        for follower in &mut self.followers {
            follower.forget();
        }
        self.judged.fill([0; FORMS.len()]);
        self.is_anew = true;
    }

    /// All nodes are at one index, which `states` says of each.
    pub(super) async fn judge(
        &mut self,
        cluster: &Cluster,
        run: &Run,
        states: &[(usize, State)],
    ) -> anyhow::Result<()> {
        self.catch_up(cluster, run).await?;
        let events = run.history.since(self.events);
        self.events += events.len();
        let touched = self.accounts.absorb(&events);
        for (follower, from) in self.followers.iter().zip(&mut self.judged) {
            for (sight, from) in follower.sights.iter().zip(from) {
                let span = Span {
                    accounts: &self.accounts,
                    touched: (!self.is_anew).then_some(&touched[..]),
                    sight,
                    from: *from,
                };
                check(&span, &mut self.findings);
                *from = sight.rows.len();
            }
        }
        self.is_anew = false;
        replicas::check_digests(states, &mut self.findings);
        let sheets = self.sheets(cluster, run).await?;
        for form in FORMS {
            let own = self.followers.iter().flat_map(|follower| &follower.sights);
            let all = own.chain(&sheets).filter(|sight| sight.form == form);
            replicas::check(&all.collect::<Vec<_>>(), &mut self.findings);
        }
        Ok(())
    }

    async fn catch_up(&mut self, cluster: &Cluster, run: &Run) -> anyhow::Result<()> {
        let token = cluster.token()?;
        for follower in &mut self.followers {
            let address = cluster.member(follower.node)?.site.http;
            let mut reader = Reader::new(Client::new(address), token.clone(), run.bodies);
            for sight in &mut follower.sights {
                let started = Instant::now();
                loop {
                    reader.follow(sight).await;
                    let waited = started.elapsed();
                    if sight.unreadable.is_empty() || waited > MEND_TIME {
                        self.mended = self.mended.max(waited);
                        break;
                    }
                    // What is damaged may be refused until it is mended, not for ever.
                    sight.unreadable.clear();
                    sleep(MEND_LOOK).await;
                }
            }
        }
        Ok(())
    }

    /// Every node's, once they have come up to what it shows.
    async fn sheets(&self, cluster: &Cluster, run: &Run) -> anyhow::Result<Vec<Sight>> {
        let mut sheets = Vec::new();
        for follower in &self.followers {
            let site = &cluster.member(follower.node)?.site;
            let name = SHEETS.get(follower.node).copied();
            for shown in follower
                .sights
                .iter()
                .filter(|shown| shown.form.has_sheet())
            {
                let (path, head) = (site.sheet(shown.form.name()), shown.last_seq());
                let what = (run.bodies, shown.form);
                let (mut sheet, _) = sheet::caught_up(&path, what, head, run.sheet_time).await;
                sheet.reader = name.unwrap_or("a node's sheet");
                sheets.push(sheet);
            }
        }
        Ok(sheets)
    }

    /// Everything that was seen as it went, and everything read once more.
    pub(super) async fn whole(
        mut self,
        cluster: &Cluster,
        run: &Run,
    ) -> anyhow::Result<Vec<Sight>> {
        self.catch_up(cluster, run).await?;
        let mut sights = self.sheets(cluster, run).await?;
        let token = cluster.token()?;
        for node in cluster.numbers() {
            let address = cluster.member(node)?.site.http;
            let mut reader = Reader::new(Client::new(address), token.clone(), run.bodies);
            for form in FORMS {
                let mut sight = reader.whole(form).await;
                sight.reader = READERS.get(node).copied().unwrap_or("a node");
                sights.push(sight);
            }
        }
        let followers = self.followers.into_iter();
        sights.extend(followers.flat_map(|follower| follower.sights));
        Ok(sights)
    }
}
