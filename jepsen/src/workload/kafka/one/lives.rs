//! Tasks that begin anew: by a seek, and by being made again.

use std::collections::BTreeSet;

use serde_json::json;

use crate::client::tasks;
use crate::nemesis::gate::{Api, Bait, Way};
use crate::workload::kafka::one::{CATCH_TIME, One};

const FEW: u32 = 30;

/// A seek back to the beginning sends all once more, also when the node is killed in the midst.
pub(super) async fn seek(one: &mut One<'_>) -> anyhow::Result<String> {
    let none = BTreeSet::new();
    let mut mirror = one.other("seek").await?;
    one.post(FEW).await?;
    let mut desk = one.desk()?;
    mirror.define(&mut desk).await?;
    one.judge_other(&mut mirror, "before the seek", &none)
        .await?;
    mirror.begin_anew(one.lab).await?;

    let end = Bait::first(Way::Request, Api::EndTxn, &mirror.id());
    let end = one.lab.gates.set(end);
    let body = json!({ "to": "beginning" });
    let what = (mirror.task.as_str(), "seek");
    tasks::ask(&mut desk.client, &desk.token, what, &body).await?;
    let is_caught = end.caught(CATCH_TIME).await;
    one.node.kill().await?;
    end.drop_it();
    one.start().await?;
    one.run
        .report
        .demand("transactions of a seek", is_caught.into(), 1);
    let good = one
        .judge_other(&mut mirror, "behind the seek", &none)
        .await?;
    // Once more, so that the new life is not undone by the next start.
    one.restart().await?;
    one.judge_other(&mut mirror, "a start behind the seek", &none)
        .await?;
    one.forget(&mirror).await?;
    Ok(format!("{good} sent once more"))
}

/// A task deleted and made again has a life of its own.
pub(super) async fn reborn(one: &mut One<'_>) -> anyhow::Result<String> {
    let none = BTreeSet::new();
    let mut mirror = one.other("reborn").await?;
    one.post(FEW).await?;
    let mut desk = one.desk()?;
    mirror.define(&mut desk).await?;
    one.judge_other(&mut mirror, "the first life", &none)
        .await?;
    mirror.begin_anew(one.lab).await?;
    tasks::delete(&mut desk.client, &desk.token, &mirror.task).await?;
    mirror.define(&mut desk).await?;
    let good = one
        .judge_other(&mut mirror, "the second life", &none)
        .await?;
    one.restart().await?;
    one.judge_other(&mut mirror, "a start in the second life", &none)
        .await?;
    one.forget(&mirror).await?;
    Ok(format!("{good} sent in a second life"))
}
