//! Ends of transactions that are lost, late or too late, while the node lives.

use std::time::Duration;

use tokio::time::sleep;

use crate::nemesis::gate::{Api, Bait, Way};
use crate::process::kafka::NAME_EXPIRY;
use crate::process::kafka::tools::fence;
use crate::workload::kafka::fault::Fault;
use crate::workload::kafka::one::{CATCH_TIME, One, TRANSACTION_TIME};
use crate::workload::watch::FORMS;

/// Brokers look each second for what has expired.
const SWEEP: Duration = Duration::from_secs(2);
const ANSWER_TIME: Duration = Duration::from_secs(10);
const LATE_ENDS: u32 = 3;

/// A commit is done, its reply is lost, and what asks again finds the name taken over by another
/// producer, or forgotten. Whether it was committed can only be read.
pub(super) async fn reply_lost(one: &mut One<'_>, is_forgotten: bool) -> anyhow::Result<String> {
    let reply = one.trap(Way::Reply, Api::EndTxn);
    if !one.must_catch(&reply, "a commit").await {
        return Ok("no commit came".to_owned());
    }
    let id = one.mirror.id();
    let again = Bait::first(Way::Request, Api::EndTxn, &id).every();
    let again = one.lab.gates.set(again);
    let anew = Bait::first(Way::Request, Api::InitProducerId, &id).seen_only();
    let anew = one.lab.gates.set(anew);
    reply.cut();
    let asked = tokio::select! {
        _ = again.caught(CATCH_TIME) => "asked again",
        _ = anew.caught(CATCH_TIME) => "began anew",
    };
    if is_forgotten {
        sleep(NAME_EXPIRY + SWEEP).await;
    } else {
        let [topic, _] = FORMS.map(|form| one.mirror.topic(form));
        fence(&one.lab.brokers.bootstrap(), &topic, &id).await?;
    }
    again.let_go();
    let answer = if again.count() > 0 {
        again.answer(ANSWER_TIME).await
    } else {
        None
    };
    let name = "commits whose reply was lost";
    one.run.report.demand(name, reply.count().into(), 1);
    Ok(format!(
        "a commit's reply was lost; the product {asked}, and was answered {answer:?}"
    ))
}

/// A commit is held back, its connection ends, and it arrives when a later transaction has some of
/// its records at the broker.
pub(super) async fn late(one: &mut One<'_>) -> anyhow::Result<String> {
    let id = one.mirror.id();
    let mut answers = Vec::new();
    for _ in 0..LATE_ENDS {
        let late = one.trap(Way::Request, Api::EndTxn);
        if !one.must_catch(&late, "a commit").await {
            break;
        }
        // What it is followed by, on other connections: its own end or a new beginning, and a later
        // transaction, of which the first part arrives and the rest is held.
        let ended = Bait::first(Way::Reply, Api::EndTxn, &id).seen_only();
        let ended = one.lab.gates.set(ended);
        let later = Bait::first(Way::Reply, Api::AddPartitionsToTxn, &id).seen_only();
        let later = one.lab.gates.set(later);
        late.cut();
        let followed = async {
            tokio::select! {
                is_ended = ended.caught(CATCH_TIME) => is_ended,
                is_begun = later.caught(CATCH_TIME) => is_begun,
            }
        };
        followed.await;
        let rest = Bait::first(Way::Request, Api::Produce, &id)
            .behind(1)
            .every();
        let rest = one.lab.gates.set(rest);
        one.must_catch(&rest, "the rest of a later transaction")
            .await;
        late.let_go();
        answers.push(late.answer(ANSWER_TIME).await);
        rest.let_go();
    }
    let came = u64::try_from(answers.iter().flatten().count())?;
    let name = "late ends answered";
    one.run.report.demand(name, came, LATE_ENDS.into());
    Ok(format!("ends that came late were answered {answers:?}"))
}

/// A commit is held until the broker has aborted the transaction by itself.
pub(super) async fn timeout(one: &mut One<'_>) -> anyhow::Result<String> {
    let end = Bait::first(Way::Request, Api::EndTxn, &one.mirror.id()).every();
    let end = one.lab.gates.set(end);
    if !one.must_catch(&end, "a commit").await {
        return Ok("no commit came".to_owned());
    }
    sleep(TRANSACTION_TIME + SWEEP).await;
    end.let_go();
    let answer = end.answer(ANSWER_TIME).await;
    if answer == Some(0) {
        let why = "a commit after the transaction's timeout was taken".to_owned();
        one.run.report.vacuous.push(why);
    }
    Ok(format!(
        "a commit that came after the timeout was answered {answer:?}"
    ))
}

/// Nothing is sent until the broker has forgotten who sends.
pub(super) async fn expiry(one: &mut One<'_>) -> anyhow::Result<String> {
    one.fleet
        .quiet("expiry", &mut one.run.report.findings)
        .await;
    one.judge("expiry").await?;
    sleep(NAME_EXPIRY + SWEEP).await;
    let id = one.mirror.id();
    let names = one.lab.brokers.transactional_ids().await?;
    if names.contains(&id) {
        let why = format!("the brokers still know {id}");
        one.run.report.vacuous.push(why);
    }
    let mended = one.trap(Way::Reply, Api::EndTxn);
    one.load(Fault::Expiry).await?;
    one.must_catch(&mended, "a commit behind the expiry").await;
    mended.let_go();
    Ok("the brokers had forgotten the producer's name".to_owned())
}
