//! Bad input: malformed, huge, slow, deep, foreign, forged.
//!
//! Proves: each gets its status and a problem document that names every fault by its pointer; what
//! was refused is in no reader's sight; what is only strange (formulas, markup, CRLF) is stored
//! as typed and shown escaped; the product lives on, and its memory stays bounded.

mod connections;
mod documents;
mod page;
mod withheld;

use anyhow::{Context as _, ensure};
use serde_json::Value;

use crate::checker::findings::Kind;
use crate::client::{Answer, Call, Client, api};
use crate::form::{Form, Submission};
use crate::history::What;
use crate::process::Node;
use crate::report::Report;
use crate::workload::{Options, Run};

#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Connections that say nothing.
    pub(crate) idle: u64,
    pub(crate) rss_max_mib: u64,
}

pub(crate) async fn run(options: &Options, plan: Plan) -> anyhow::Result<Report> {
    let mut run = Run::new(options, "hostile")?;
    let mut node = Node::start(&run.site).await?;
    let mut door = Door {
        client: Client::new(node.address),
        cases: 0,
    };
    run.progress("documents");
    documents::run(&mut run, &mut door).await?;
    run.progress("pages");
    page::run(&mut run, &mut door).await?;
    run.progress("withheld");
    withheld::run(&mut run, &mut door).await?;
    run.progress(format!(
        "{} idle connections, endless and slow requests",
        plan.idle
    ));
    Box::pin(connections::run(&mut run, &mut door, &node, plan.idle)).await?;
    node.must_live().context(run.site.log_tail())?;
    let memory = node.memory()?;
    run.report.fact("rss peak MiB", memory.peak_kib / 1024);
    run.report.fact("cases", door.cases);
    if memory.peak_kib > plan.rss_max_mib * 1024 {
        run.report.findings.add(Kind::Memory, || {
            format!("{} MiB resident under bad input", memory.peak_kib / 1024)
        });
    }
    // After all that it must still take a good one, and show only the good ones.
    let good = run.submission(Form::Door, None);
    let outcome = api::submit(&mut door.client, &run.history, 0, &good).await;
    let taken = outcome.and_then(|outcome| outcome.receipt("a good one after all the bad ones"));
    run.note(taken.map(|_| ()));
    run.read_otherwise(&node, Form::Door).await?;
    run.check(&node, &[Form::Door]).await?;
    run.end(node).await
}

/// The connection that knocks, and how often it did.
#[derive(Debug)]
struct Door {
    client: Client,
    cases: u64,
}

/// What an answer must look like.
#[derive(Clone, Copy, Debug)]
struct Expected<'a> {
    statuses: &'a [u16],
    /// Each must be named by the problem document.
    pointers: &'a [&'a str],
}

impl Door {
    /// Sends it and demands a problem document of one of the statuses.
    async fn refuse(&mut self, name: &str, call: &Call, expected: Expected<'_>) -> Tried {
        self.cases += 1;
        let answer = self.client.call(call).await;
        answer
            .with_context(|| format!("{name}: no answer"))
            .and_then(|answer| {
                refused(&answer, expected)
                    .with_context(|| format!("{name}: {}", brief(&answer)))?;
                Ok(answer)
            })
    }

    /// The same for a document that carries a marker: it must stay out of sight.
    async fn refuse_marked(
        &mut self,
        run: &mut Run,
        (name, submission): (&str, &Submission),
        call: &Call,
        expected: Expected<'_>,
    ) {
        run.history.invoke(0, submission);
        let tried = self.refuse(name, call, expected).await;
        // Whatever was answered, it may not be shown: it is bad.
        run.history.push(submission.marker, What::Refused(0));
        run.note(tried.map(|_| ()));
    }
}

type Tried = anyhow::Result<Answer>;

fn refused(answer: &Answer, expected: Expected<'_>) -> anyhow::Result<()> {
    let (status, allowed) = (answer.status, expected.statuses);
    ensure!(allowed.contains(&status), "{status}, expected {allowed:?}");
    let problem = api::problem(answer)?;
    let errors = problem.get("errors").and_then(Value::as_array);
    let errors = errors.into_iter().flatten().collect::<Vec<_>>();
    for pointer in expected.pointers {
        let named = errors
            .iter()
            .find(|error| error.get("pointer").and_then(Value::as_str) == Some(pointer));
        let named = named.with_context(|| format!("{pointer} is not named in {problem}"))?;
        let detail = named
            .get("detail")
            .and_then(Value::as_str)
            .unwrap_or_default();
        ensure!(!detail.is_empty(), "{pointer} has no detail");
    }
    Ok(())
}

fn brief(answer: &Answer) -> String {
    let text = answer.text().chars().take(400).collect::<String>();
    format!("{} {text}", answer.status)
}
