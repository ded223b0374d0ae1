//! A stage: tasks that begin together and end together.
//!
//! Holds: a task of a stage is counted until it ends, so whoever stops the stage knows when it is
//! empty, or how many were still at work when the grace was over. Tasks end by themselves when
//! they see the token; nothing is aborted, since a task that is cut off in the middle may hold
//! somebody's answer.
//! Why the house rule "spawn on a stage": a detached task outlives the thing that it works on, and
//! a stop that does not wait for it is a lost answer.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A set of tasks with one sign to stop. Clones are the same stage.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// Cancelled when the stage shall end: finish what is at hand, take no more.
    pub token: CancellationToken,
    /// Counts the tasks at work.
    pub tracker: TaskTracker,
}

impl Stage {
    /// A stage of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A stage within this one: it ends at the latest with this one, its tasks are counted here.
    #[must_use]
    pub fn child(&self) -> Self {
        Self {
            token: self.token.child_token(),
            tracker: self.tracker.clone(),
        }
    }

    /// Starts a task that this stage's end waits for.
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        drop(self.tracker.spawn(task)); // the tracker counts it; nobody needs the handle
    }

    /// Resolves when the stage shall end.
    pub async fn stopping(&self) {
        self.token.cancelled().await;
    }

    /// True from the moment when the stage shall end.
    pub fn is_stopping(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Tells the tasks to end and waits for them, at most `grace`. Returns how many are left.
    pub async fn stop(&self, grace: Duration) -> usize {
        self.token.cancel();
        self.tracker.close();
        if tokio::time::timeout(grace, self.tracker.wait())
            .await
            .is_ok()
        {
            return 0;
        }
        self.tracker.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_stage_waits_for_its_tasks_and_its_childrens() {
        let stage = Stage::new();
        let child = stage.child();
        let (sender, mut receiver) = tokio::sync::mpsc::channel(2);
        for part in [stage.clone(), child.clone()] {
            let sender = sender.clone();
            part.clone().spawn(async move {
                part.stopping().await;
                sender.send(()).await.unwrap();
            });
        }
        assert_eq!(stage.stop(Duration::from_secs(10)).await, 0);
        assert!(child.is_stopping());
        receiver.recv().await.unwrap();
        receiver.recv().await.unwrap();
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_task_that_does_not_end_is_counted_not_killed() {
        let stage = Stage::new();
        let (sender, receiver) = tokio::sync::oneshot::channel::<()>();
        stage.spawn(async move {
            drop(receiver.await);
        });
        assert_eq!(stage.stop(Duration::from_millis(1)).await, 1);
        drop(sender);
        assert_eq!(stage.stop(Duration::from_secs(10)).await, 0);
    }
}
