//! Why this node stopped for good: the first reason, told to all who wait for it.
//!
//! Holds: once set it never changes. openraft stops by itself after an error that it sees; some
//! errors (of a purge, of an apply that nobody waited for) only come here.

use tokio::sync::watch;

/// A clone is the same halt.
#[derive(Clone, Debug)]
pub struct Halt(watch::Sender<Option<String>>);

impl Default for Halt {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Halt {
    /// Gives a reason; a later one is not heard.
    pub fn set(&self, why: &str) {
        self.0.send_if_modified(|reason| {
            if reason.is_some() {
                return false;
            }
            *reason = Some(why.to_owned());
            true
        });
    }

    /// The reason, if there is one.
    pub fn reason(&self) -> Option<String> {
        self.0.borrow().clone()
    }

    /// Waits until there is one.
    pub(crate) async fn wait(&self) -> String {
        let mut reason = self.0.subscribe();
        // `self` holds the sender, so the wait only ends with a reason.
        match reason.wait_for(Option::is_some).await {
            Ok(reason) => reason.clone().unwrap_or_default(),
            Err(_) => unreachable!("the sender is held"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_reason_stays_and_ends_every_wait() {
        let halt = Halt::default();
        let waiting = halt.clone();
        let wait = waiting.wait();
        halt.set("disk died");
        halt.set("raft stopped");
        assert_eq!(wait.await, "disk died");
        assert_eq!(halt.reason().as_deref(), Some("disk died"));
    }
}
