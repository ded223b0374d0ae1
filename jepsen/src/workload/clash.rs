//! One key, two documents, at the same moment.
//!
//! Proves: exactly one of the two is taken and the other is refused with 422, whoever was first;
//! the refused one is in no reader's sight, and the taken one answers again as a duplicate.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::client::Client;
use crate::client::api;
use crate::form::{Form, Submission};
use crate::history::What;
use crate::process::Node;
use crate::report::Report;
use crate::workload::posts::post_all;
use crate::workload::{Options, Run};

const AT_ONCE: u64 = 16;

pub(crate) async fn run(options: &Options, count: u64) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "clash")?;
    let node = Node::start(&run.site).await?;
    run.progress(format!("{count} keys, each under two documents at once"));
    let mut clients = (0..AT_ONCE * 2)
        .map(|_| Client::new(node.address))
        .collect::<Vec<_>>();
    let mut winners = Vec::new();
    let mut done = 0;
    while done < count {
        let pairs = (done..count.min(done + AT_ONCE)).map(|number| {
            let key = format!("clash-{number}");
            [
                run.submission(Form::Free, Some(&key)),
                run.submission(Form::Free, Some(&key)),
            ]
        });
        let pairs = pairs.collect::<Vec<_>>();
        done += u64::try_from(pairs.len())?;
        let outcomes = post_pairs(&run, &mut clients, &pairs).await?;
        for (pair, outcomes) in pairs.into_iter().zip(outcomes) {
            run.note(judge(&pair, &outcomes));
            let [first, second] = pair;
            let is_first = matches!(outcomes, [What::Ok(_), _]);
            winners.push(if is_first { first } else { second });
        }
    }
    // Once more, the winners: the key still answers with the first receipt.
    post_all(&mut run, &node, Arc::new(winners)).await?;
    run.report.demand("keys", done, 1);
    run.read_otherwise(&node, Form::Free).await?;
    run.check(&node, &[Form::Free]).await?;
    run.end(node).await
}

async fn post_pairs(
    run: &Run,
    clients: &mut Vec<Client>,
    pairs: &[[Submission; 2]],
) -> anyhow::Result<Vec<[What; 2]>> {
    let mut workers = JoinSet::new();
    for (place, submission) in pairs.as_flattened().iter().cloned().enumerate() {
        let Some(mut client) = clients.pop() else {
            continue;
        };
        let history = run.history.clone();
        workers.spawn(async move {
            let process = u32::try_from(place)?;
            let outcome = api::submit(&mut client, &history, process, &submission).await;
            anyhow::Ok((place, client, outcome))
        });
    }
    let mut outcomes = vec![[What::Unknown; 2]; pairs.len()];
    while let Some(worker) = workers.join_next().await {
        let (place, client, outcome) = worker??;
        clients.push(client);
        if let Some(slot) = outcomes.as_flattened_mut().get_mut(place) {
            *slot = outcome?;
        }
    }
    Ok(outcomes)
}

fn judge(pair: &[Submission; 2], outcomes: &[What; 2]) -> anyhow::Result<()> {
    match outcomes {
        [What::Ok(_), What::Refused(422)] | [What::Refused(422), What::Ok(_)] => Ok(()),
        [..] => anyhow::bail!("key {:?} under two documents: {outcomes:?}", pair[0].key),
    }
}
