//! `kill -9` in the midst of transactions.

use crate::nemesis::gate::{Api, Way};
use crate::workload::kafka::one::One;

/// When it is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// The broker knows of the transaction, and has nothing of it.
    Begun,
    /// Some of it is at the broker.
    Sent,
    /// All of it is there; the commit never arrives.
    Ending,
    /// The same, and the commit arrives when the node is gone.
    Late,
    /// It is committed, and the node does not know.
    Ended,
}

const MOMENTS: [Moment; 5] = [
    Moment::Begun,
    Moment::Sent,
    Moment::Ending,
    Moment::Late,
    Moment::Ended,
];
const UNSEEN: u32 = 3;

impl Moment {
    fn at(self) -> (Way, Api) {
        match self {
            Self::Begun => (Way::Reply, Api::AddPartitionsToTxn),
            Self::Sent => (Way::Reply, Api::Produce),
            Self::Ending | Self::Late => (Way::Request, Api::EndTxn),
            Self::Ended => (Way::Reply, Api::EndTxn),
        }
    }
}

/// At every moment in turn.
pub(super) async fn all(one: &mut One<'_>) -> anyhow::Result<String> {
    let kills = one.plan.kills;
    let moments = MOMENTS.iter().copied().cycle();
    let mut fell = 0_u32;
    for (number, moment) in (1..=kills).zip(moments) {
        if !kill(one, moment).await? {
            break;
        }
        fell += 1;
        let back = one.node.ready_after.as_millis();
        let words = format!("kill {number}/{kills}: {moment:?}, back after {back} ms");
        one.run.progress(words);
    }
    let name = "kills in the midst of a transaction";
    one.run.report.demand(name, fell.into(), kills.into());
    Ok(format!("killed {fell} times in the midst of a transaction"))
}

pub(super) async fn unseen(one: &mut One<'_>) -> anyhow::Result<String> {
    let mut fell = 0_u32;
    for _ in 0..UNSEEN {
        fell += u32::from(kill(one, Moment::Ended).await?);
    }
    let name = "kills behind a commit";
    one.run.report.demand(name, fell.into(), UNSEEN.into());
    Ok(format!(
        "killed {fell} times behind a commit that it does not know of"
    ))
}

/// Answers whether the moment came.
async fn kill(one: &mut One<'_>, moment: Moment) -> anyhow::Result<bool> {
    let (way, api) = moment.at();
    let trap = one.trap(way, api);
    if !one.must_catch(&trap, &format!("{moment:?}")).await {
        return Ok(false);
    }
    one.node.kill().await?;
    if moment == Moment::Late {
        trap.let_go();
    } else {
        trap.drop_it();
    }
    one.start().await?;
    Ok(true)
}
