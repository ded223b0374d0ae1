//! A record that the topic does not take, with others before and behind it, and `kill -9` each time
//! that something behind it is committed.

use std::collections::BTreeSet;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::checker::digest::Digests;
use crate::checker::findings::Kind;
use crate::client::tasks;
use crate::dice::Dice;
use crate::form::{Form, Submission};
use crate::nemesis::gate::{Api, Bait, Way};
use crate::workload::kafka::mirror::Mirror;
use crate::workload::kafka::one::{CATCH_TIME, One};

const FEW: u32 = 10;
const BYTES_MAX: &str = "20000";
/// Characters of three bytes each, in no order: no compression helps.
const CHARS: u64 = 19_000;
const KILLS: u32 = 3;

pub(super) async fn run(one: &mut One<'_>) -> anyhow::Result<String> {
    let mut mirror = one.other("poison").await?;
    let topic = mirror.topic(Form::Quiet);
    let settings = [("max.message.bytes", BYTES_MAX)];
    one.lab.brokers.create_topic(&topic, &settings).await?;
    one.post(FEW).await?;
    mirror.define(&mut one.desk()?).await?;
    let none = BTreeSet::new();
    one.judge_other(&mut mirror, "before the poison", &none)
        .await?;

    let end = || Bait::first(Way::Reply, Api::EndTxn, &mirror.id()).any();
    let mut trap = one.lab.gates.set(end());
    let poison = large(one);
    one.post_one(&poison).await?;
    one.post(FEW).await?;
    let mut kills = 0_u32;
    while kills < KILLS && trap.caught(CATCH_TIME).await {
        one.node.kill().await?;
        trap.drop_it();
        kills += 1;
        trap = one.lab.gates.set(end());
        one.start().await?;
        one.post(1).await?;
    }
    drop(trap);
    let name = "kills behind a poison";
    one.run.report.demand(name, kills.into(), KILLS.into());
    let parked = parked(one, &mirror, &poison).await?;
    one.judge_other(&mut mirror, "poison", &parked).await?;
    one.forget(&mirror).await?;
    Ok(format!(
        "killed {kills} times behind a poison; {} parked",
        parked.len()
    ))
}

fn large(one: &One<'_>) -> Submission {
    let (marker, bodies) = (one.run.history.next_marker(), one.run.bodies);
    let mut dice = Dice::new(marker);
    let text = (0..CHARS).filter_map(|_| {
        let code = 0x4e00 + dice.below(0x5000);
        char::from_u32(u32::try_from(code).ok()?)
    });
    let text = text.collect::<String>();
    let data = json!({ "marker": bodies.marker_text(Form::Quiet, marker), "text": text });
    Submission {
        marker,
        form: Form::Quiet,
        key: None,
        digests: Digests::of(&data),
        data,
    }
}

/// The seqs that are set aside, once the task has come past them: the poison's alone.
async fn parked(
    one: &mut One<'_>,
    mirror: &Mirror,
    poison: &Submission,
) -> anyhow::Result<BTreeSet<u64>> {
    let mut desk = one.desk()?;
    let time = one.deliver_time();
    let findings = &mut one.run.report.findings;
    mirror
        .delivered(&mut desk, ("poison", time), findings)
        .await;
    let parked = tasks::parked(&mut desk.client, &desk.token, &mirror.task).await?;
    let marker = |data: &Value| {
        let text = data.get(Form::Quiet.marker_field()).and_then(Value::as_str);
        text.and_then(|text| one.run.bodies.marker_of(Form::Quiet, text))
    };
    let markers = parked.iter().map(|parked| marker(&parked.data));
    if !markers.eq([Some(poison.marker)]) {
        findings.add(Kind::Lost, || {
            let reasons = parked.iter().map(|parked| parked.reason.as_str());
            let reasons = reasons.collect::<Vec<_>>();
            format!(
                "poison: not it alone is parked: {} are: {reasons:?}",
                parked.len()
            )
        });
        return Ok(BTreeSet::new());
    }
    let accounts = crate::checker::accounts::Accounts::of(&one.run.history.since(0));
    let receipt = accounts
        .get(poison.marker)
        .and_then(|account| account.receipt);
    let seq = receipt.and_then(|receipt| receipt.seq);
    Ok(BTreeSet::from([seq.context("the poison has no seq")?]))
}
