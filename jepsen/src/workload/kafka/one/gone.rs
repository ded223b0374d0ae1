//! Topics that are lost: deleted, or made again under the same name and filled by somebody else.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;

use crate::checker::findings::Kind;
use crate::client::tasks;
use crate::form::Form;
use crate::process::kafka::tools::fill;
use crate::workload::kafka::fault::Fault;
use crate::workload::kafka::mirror::Mirror;
use crate::workload::kafka::one::One;

const FEW: u32 = 30;
const STOP_TIME: Duration = Duration::from_secs(30);
/// So many more records than there were.
const MORE: i64 = 40;

/// The topic is deleted: the task stops, says which, and a replay by hand sends all again.
pub(super) async fn deleted(one: &mut One<'_>) -> anyhow::Result<String> {
    let mirror = filled(one, "gone").await?;
    one.lab
        .brokers
        .delete_topic(&mirror.topic(Form::Quiet))
        .await?;
    one.post(FEW).await?;
    must_stop(one, mirror, Fault::TopicGone).await
}

/// The topic is deleted while the node is down, and made again, with more in it than there was: its
/// name and its end tell nothing.
pub(super) async fn remade(one: &mut One<'_>) -> anyhow::Result<String> {
    let mirror = filled(one, "remade").await?;
    let topic = mirror.topic(Form::Quiet);
    let had = mirror.committed(one.lab, Form::Quiet).await?.ends();
    one.node.kill().await?;
    one.lab.brokers.delete_topic(&topic).await?;
    one.lab.brokers.create_topic(&topic, &[]).await?;
    let bootstrap = one.lab.brokers.bootstrap();
    for (partition, last) in had {
        fill(&bootstrap, (&topic, partition), last + MORE).await?;
    }
    one.start().await?;
    one.post(FEW).await?;
    must_stop(one, mirror, Fault::TopicRemade).await
}

/// A task of its own whose topic holds something.
async fn filled(one: &mut One<'_>, name: &str) -> anyhow::Result<Mirror> {
    let mut mirror = one.other(name).await?;
    one.post(FEW).await?;
    mirror.define(&mut one.desk()?).await?;
    let what = format!("{name}, before the topic goes");
    one.judge_other(&mut mirror, &what, &BTreeSet::new())
        .await?;
    Ok(mirror)
}

async fn must_stop(one: &mut One<'_>, mut mirror: Mirror, fault: Fault) -> anyhow::Result<String> {
    let name = fault.name();
    let mut desk = one.desk()?;
    let had = mirror.log(Form::Quiet)?.keys().last().copied().unwrap_or(0);
    let topic = mirror.topic(Form::Quiet);
    let stopped = desk
        .task_until(&mirror.task, STOP_TIME, |task| task.state == "stopped")
        .await;
    let words = match stopped {
        Ok(task) => task.last_error.map_or_else(String::new, |error| error.why),
        Err(words) => format!("it does not stop: {words}"),
    };
    if words.contains(&topic) {
        mirror.forget();
        mirror.replayed = had;
        if fault == Fault::TopicRemade {
            // What others have written there is theirs.
            mirror.begin_anew(one.lab).await?;
        }
        let what = (mirror.task.as_str(), "replay");
        let body = json!({ "from": "beginning" });
        tasks::ask(&mut desk.client, &desk.token, what, &body).await?;
        one.judge_other(&mut mirror, "the replay", &BTreeSet::new())
            .await?;
    } else {
        one.run.report.findings.add(Kind::Fault, || {
            format!("{name}: the task does not stop and name {topic}: {words}")
        });
    }
    one.forget(&mirror).await?;
    Ok(format!("it said: {words}"))
}
