//! Many in one request, sent again whole under one header key.
//!
//! Proves: each line has its own answer, in order; bad lines are refused where they stand and take
//! no other with them; sent again, also at the same moment and after a `kill -9` in the middle of
//! the answers, every line is there once and its receipts agree; seqs follow the lines.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::{Bytes, BytesMut};
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::client::api::{self, NDJSON};
use crate::client::{Call, Client};
use crate::form::{Form, Submission};
use crate::history::{History, Receipt, What};
use crate::process::Node;
use crate::report::Report;
use crate::workload::{Options, Run};

const REQUEST_TIME: Duration = Duration::from_mins(2);
const BAD_EVERY: usize = 50;
const OWN_KEY_EVERY: usize = 70;
const SENDERS: u32 = 3;
const KILL_TRIALS: u32 = 10;

/// One request: its lines, and which of them must be refused.
#[derive(Clone, Debug)]
struct Request {
    key: String,
    lines: Vec<(Submission, bool)>,
    body: Bytes,
}

pub(crate) async fn run(options: &Options, count: usize) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "lines")?;
    let mut node = Node::start(&run.site).await?;
    run.progress(format!(
        "{count} lines in one request, {SENDERS} times at once"
    ));
    let request = request(&run, "at-once", count)?;
    for _ in 0..2 {
        let mut senders = JoinSet::new();
        for process in 0..SENDERS {
            let (history, request, address) = (run.history.clone(), request.clone(), node.address);
            senders.spawn(async move {
                send(
                    &mut Client::new(address),
                    &history,
                    process,
                    &request,
                    &mut |_| (),
                )
                .await
            });
        }
        while let Some(sender) = senders.join_next().await {
            let answered = sender.context("a sender died")?;
            run.note(answered.and_then(|answered| {
                ensure!(answered == count, "{answered} answers to {count} lines");
                Ok(())
            }));
        }
    }

    let mut cut = 0;
    for trial in 0..KILL_TRIALS {
        let request = self::request(&run, &format!("killed-{trial}"), count * 5)?;
        let (after, answered) = killed(&mut run, node, &request).await?;
        node = after;
        cut += u64::from(answered > 0 && answered < request.lines.len());
        run.progress(format!(
            "killed after {answered} of {} answers",
            request.lines.len()
        ));
        for _ in 0..2 {
            let mut client = Client::new(node.address);
            let answer = send(&mut client, &run.history, 0, &request, &mut |_| ()).await;
            run.note(answer.map(|_| ()));
        }
        if cut >= 2 {
            break;
        }
    }
    run.report
        .demand("requests cut in the middle of their answers", cut, 1);
    run.read_otherwise(&node, Form::Free).await?;
    run.check(&node, &[Form::Free]).await?;
    run.end(node).await
}

fn request(run: &Run, key: &str, count: usize) -> anyhow::Result<Request> {
    let (mut lines, mut body) = (Vec::with_capacity(count), Vec::new());
    for number in 1..=count {
        let mut submission = run.submission(Form::Free, Some(&format!("{key}#{number}")));
        let is_bad = number.is_multiple_of(BAD_EVERY);
        let mut data = submission.data.clone();
        let members = data.as_object_mut().context("a document is an object")?;
        if is_bad {
            members.insert("count".to_owned(), "not a number".into());
        } else if number.is_multiple_of(OWN_KEY_EVERY) {
            let own = format!("own-{key}-{number}");
            members.insert("_idempotency_key".to_owned(), own.clone().into());
            submission.key = Some(own);
        }
        serde_json::to_writer(&mut body, &data)?;
        body.push(b'\n');
        lines.push((submission, is_bad));
    }
    Ok(Request {
        key: key.to_owned(),
        lines,
        body: body.into(),
    })
}

/// Sends it while the node is killed as soon as answers arrive; answers the node's next life.
async fn killed(run: &mut Run, mut node: Node, request: &Request) -> anyhow::Result<(Node, usize)> {
    let (tell, mut told) = watch::channel(0);
    let mut client = Client::new(node.address);
    let mut on_arrival = |len| {
        tell.send_replace(len);
    };
    let sending = send(&mut client, &run.history, 0, request, &mut on_arrival);
    let killing = async {
        timeout(REQUEST_TIME, told.wait_for(|len| *len > 0))
            .await
            .context("no answer")??;
        node.kill().await
    };
    let (answered, killed) = tokio::join!(sending, killing);
    killed?;
    let answered = answered.unwrap_or_else(|error| {
        run.note(Err(error));
        0
    });
    Ok((Node::start(&run.site).await?, answered))
}

/// Sends all lines, notes what each was answered, and answers how many answers there were.
async fn send(
    client: &mut Client,
    history: &History,
    process: u32,
    request: &Request,
    arrived: &mut (dyn FnMut(usize) + Send),
) -> anyhow::Result<usize> {
    for (submission, _) in &request.lines {
        history.invoke(process, submission);
    }
    let path = format!("/v1/forms/{}/submissions", Form::Free.name());
    let call = Call::post(path, NDJSON, request.body.clone())
        .header("idempotency-key", request.key.as_str())
        .header("accept", NDJSON);
    let mut body = BytesMut::new();
    let end = client.stream(&call, REQUEST_TIME, &mut body, arrived).await;
    let whole = body
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let answers = body.get(..whole).unwrap_or_default();
    let answers = answers
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty());
    let outcomes = answers.map(outcome).collect::<Vec<_>>();
    let mut last = None::<Receipt>;
    let mut fault = Ok(());
    for (number, (submission, is_bad)) in request.lines.iter().enumerate() {
        let outcome = match outcomes.get(number) {
            None => What::Unknown,
            Some(Ok(outcome)) => *outcome,
            Some(Err(error)) => {
                fault = Err(anyhow::anyhow!("line {}: {error:#}", number + 1));
                What::Unknown
            }
        };
        history.push(submission.marker, outcome);
        let is_fit = match outcome {
            What::Ok(_) => !is_bad,
            What::Refused(status) => *is_bad && status == 422,
            What::Unknown | What::NotSent | What::Invoke { .. } | What::Destroyed => true,
        };
        if !is_fit {
            fault = Err(anyhow::anyhow!(
                "line {} (bad: {is_bad}): {outcome:?}",
                number + 1
            ));
        }
        if let What::Ok(receipt) = outcome {
            if last.is_some_and(|last| last.seq >= receipt.seq) {
                fault = Err(anyhow::anyhow!(
                    "line {}: seqs do not follow the lines",
                    number + 1
                ));
            }
            last = Some(receipt);
        }
    }
    fault?;
    if let Ok((status, _)) = end {
        ensure!(status == 200, "{status} to a request of lines");
    }
    ensure!(
        outcomes.len() <= request.lines.len(),
        "more answers than lines"
    );
    Ok(outcomes.len())
}

/// A receipt, or a problem document.
fn outcome(line: &[u8]) -> anyhow::Result<What> {
    let value: Value = serde_json::from_slice(line).context("not JSON")?;
    match value.get("status").and_then(Value::as_u64) {
        Some(status) if status >= 500 => Ok(What::Unknown),
        Some(status) => Ok(What::Refused(u16::try_from(status)?)),
        None => Ok(What::Ok(api::receipt(Form::Free, line)?)),
    }
}
