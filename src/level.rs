//! The level: which rules run, raised by the leader once every member can run the higher ones.
//!
//! Holds: a level is proposed only while every member was heard of and supports it; a node that was
//! cut off during an update holds it down until it is back, or removed.

use std::time::Duration;

use storage::{Command, SetLevel, encode_command};
use tracing::{debug, error, info};

use crate::stage::Stage;

/// An update of all nodes takes minutes; new rules are in no hurry.
const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// Raises the level when it may be, while this node leads, until the stage stops.
pub fn spawn(node: &raft::Node, stage: &Stage) {
    let (node, own) = (node.clone(), stage.clone());
    stage.spawn(async move {
        let mut leadership = node.leadership();
        loop {
            // At once when it comes to lead: a new cluster need not wait.
            let term = *leadership.borrow_and_update();
            if term.is_some() {
                turn(&node).await;
            }
            tokio::select! {
                biased;
                () = own.stopping() => return,
                changed = leadership.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    });
}

async fn turn(node: &raft::Node) {
    let present = match node.view().level() {
        Ok(level) => level,
        Err(error) => {
            error!(%error, "cannot read the level");
            return;
        }
    };
    let Some(level) = due(present, node.level_of_all()) else {
        return;
    };
    let command = encode_command(&Command::SetLevel(SetLevel { level }));
    match node.propose_here(command).await {
        Ok(_) => info!(
            level,
            "every member can run the next rules: the level is raised"
        ),
        Err(error) => debug!(%error, "the level was not taken"),
    }
}

/// The level to propose, if any.
fn due(present: u32, of_all: Option<u32>) -> Option<u32> {
    of_all.filter(|level| present < *level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_is_raised_when_all_support_more_and_never_lowered() {
        assert_eq!(due(1, Some(2)), Some(2));
        assert_eq!(due(2, Some(2)), None);
        assert_eq!(due(2, Some(1)), None);
        assert_eq!(due(1, None), None, "one was not heard of");
    }
}
