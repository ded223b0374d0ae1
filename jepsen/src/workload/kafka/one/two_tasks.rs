//! Two tasks of one node: the second holds its transaction open, over a kill, while the first begins
//! anew. The first must find its cursor all the same.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checker::findings::Kind;
use crate::client::tasks::Task;
use crate::nemesis::gate::{Api, Bait, Way};
use crate::workload::kafka::mirror::Mirror;
use crate::workload::kafka::one::{CATCH_TIME, One, TRANSACTION_TIME};
use crate::workload::watch::FORMS;

/// So that it does not end by itself meanwhile.
const OPEN_TIME: Duration = Duration::from_mins(1);
/// The first one has begun anew within this.
const ANEW_TIME: Duration = Duration::from_secs(15);

pub(super) async fn run(one: &mut One<'_>) -> anyhow::Result<String> {
    transactions(one, OPEN_TIME).await?;
    let mut desk = one.desk()?;
    let prefix = format!("{}-second", one.prefix);
    let mut second = Mirror::new(&mut desk, one.lab, ("jepsen-second", prefix), &FORMS).await?;
    second.define(&mut desk).await?;
    let (time, is_up) = (one.deliver_time(), |task: &Task| task.state == "running");
    if let Err(words) = desk.task_until(&second.task, time, is_up).await {
        let words = || format!("two-tasks: the second does not run: {words}");
        one.run.report.findings.add(Kind::Outage, words);
        return Ok("the second task did not run".to_owned());
    }
    let open = Bait::first(Way::Request, Api::EndTxn, &second.id()).every();
    let open = one.lab.gates.set(open);
    one.must_catch(&open, "a transaction of the second task")
        .await;
    // The first goes on behind it: two commits, so that one of them began later.
    let gone_on = Bait::first(Way::Reply, Api::EndTxn, &one.mirror.id());
    let gone_on = one.lab.gates.set(gone_on.seen_only().every());
    let has_gone_on = gone_on.caught_so_many(2, CATCH_TIME).await;
    let name = "commits beside an open transaction";
    one.run.report.demand(name, has_gone_on.into(), 1);
    one.fleet
        .quiet("two-tasks", &mut one.run.report.findings)
        .await;
    one.node.kill().await?;
    open.drop_it();
    let named = Bait::first(Way::Request, Api::InitProducerId, &second.id()).every();
    let named = one.lab.gates.set(named);
    one.start().await?;
    let mut desk = one.desk()?;
    let done = desk.task_until(&one.mirror.task, ANEW_TIME, Task::is_done);
    if let Err(words) = done.await {
        one.run.report.findings.add(Kind::Outage, || {
            format!("two-tasks: the first waits for the second one's transaction: {words}")
        });
    }
    if one.run.report.findings.is_clean() {
        one.judge("two-tasks").await?;
    }
    named.let_go();
    let what = "the second task";
    one.judge_other(&mut second, what, &BTreeSet::new()).await?;
    one.forget(&second).await?;
    transactions(one, TRANSACTION_TIME).await?;
    Ok("the first began anew while the second held a transaction open".to_owned())
}

/// How long they may take, from a new start on.
async fn transactions(one: &mut One<'_>, time: Duration) -> anyhow::Result<()> {
    let millis = Some(time.as_millis().to_string());
    one.run.site.set("KAFKA__TRANSACTION_TIMEOUT_MS", millis);
    one.restart().await
}
