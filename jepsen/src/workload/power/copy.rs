//! A node on a copy: started where the power went, and asked for everything.

use std::sync::Arc;
use std::time::Duration;

use crate::checker::accounts::{Account, Accounts, Duty};
use crate::checker::findings::Kind;
use crate::checker::sight::{Shape, Sight};
use crate::form::Form;
use crate::process::disk::Disk;
use crate::process::{Died, Node};
use crate::workload::Run;
use crate::workload::posts::post_all;
use crate::workload::power::canary;
use crate::workload::watch::FORMS;
use crate::workload::worker::key;

/// Acknowledged ones that are posted again under their keys: the last before the cut.
const AGAIN: usize = 64;
/// New ones, to see that it goes on.
const FRESH: usize = 16;

/// What stands in a copy; the judgement is in its run's report.
pub(crate) struct Found {
    /// What was written and not flushed is not in it.
    pub(crate) is_lossy: bool,
    pub(crate) ready_after: Duration,
    /// Of the forms, before anything was posted to it; none where it does not start.
    pub(crate) sights: Vec<Sight>,
}

/// Mounts the image in `run`, starts a node there, and checks the history of `run`.
pub(crate) async fn examine(run: &mut Run, token: &str, cut: u32) -> anyhow::Result<Found> {
    let disk = Disk::of_copy(run.site.path())?;
    let is_lossy = canary::is_lost(disk.root(), cut)?;
    run.site.live_on(disk);
    // It did, where the copy was made: not to start again is its fault.
    run.site.lives();
    let (mut sights, mut ready_after) = (Vec::new(), Duration::ZERO);
    match Node::start(&run.site).await {
        Ok(node) if run.site.token().is_ok_and(|own| own == token) => {
            ready_after = node.ready_after;
            let mut reader = run.reader(&node)?;
            for form in FORMS {
                sights.push(reader.whole(form).await);
            }
            post_again(run, &node).await?;
            run.check(&node, &FORMS).await?;
            if let Err(error) = node.stop().await {
                died(run, &error);
            }
        }
        Ok(_) => {
            run.report.findings.add(Kind::Lost, || {
                "the admin token is another one, or not there".to_owned()
            });
            nothing_in_sight(run);
        }
        Err(error) if error.downcast_ref::<Died>().is_some() => {
            died(run, &error);
            nothing_in_sight(run);
        }
        Err(error) => return Err(error),
    }
    Ok(Found {
        is_lossy,
        ready_after,
        sights,
    })
}

/// Under their keys: what is in doubt, and some of what was acknowledged. And a few new ones.
async fn post_again(run: &mut Run, node: &Node) -> anyhow::Result<()> {
    let accounts = Accounts::of(&run.history.since(0));
    let keyed = accounts.iter().filter(|account| account.is_keyed);
    let (mut acked, others) = keyed.partition::<Vec<_>, _>(|account| account.duty() == Duty::Must);
    acked.sort_by_key(|account| std::cmp::Reverse(account.acked));
    let doubted = others
        .into_iter()
        .filter(|account| account.duty() == Duty::May);
    let again = |account: &Account| {
        let (form, marker) = (account.form, account.marker);
        run.bodies.submission(form, marker, Some(key(marker)))
    };
    let mut queue = doubted.map(again).collect::<Vec<_>>();
    queue.extend(acked.into_iter().take(AGAIN).map(again));
    queue.extend((0..FRESH).map(|_| run.submission(Form::Free, None)));
    let queue = Arc::new(queue);
    post_all(run, node, Arc::clone(&queue)).await?;
    let accounts = Accounts::of(&run.history.since(0));
    for submission in queue.iter() {
        let account = accounts.get(submission.marker);
        if account.is_none_or(|account| account.receipt.is_none()) {
            let marker = submission.marker;
            run.note(Err(anyhow::anyhow!(
                "m{marker} gets no receipt after the cut"
            )));
        }
    }
    Ok(())
}

fn died(run: &mut Run, error: &anyhow::Error) {
    let findings = &mut run.report.findings;
    findings.add(Kind::Died, || format!("{error:#}"));
}

fn nothing_in_sight(run: &mut Run) {
    let sight = |form| Sight::new("the node after the cut", form, Shape::Document);
    run.sights.extend(FORMS.map(sight));
    run.judge();
}
