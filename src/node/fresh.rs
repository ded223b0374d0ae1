//! How old what this node knows may be, and how it is brought up to date.
//!
//! Holds: an age is never told too young: it counts from the last sign of the leader, and goes on
//! counting when there is none. A node alone is always up to date.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::propose::refused;
use crate::http::Freshness;
use crate::ingest::Refused;

/// Longer than an election: who waits for a reading has waited long enough.
const READ_TIME_MAX: Duration = Duration::from_secs(5);

/// Waits until all that was acknowledged anywhere before this call is applied here.
pub(super) async fn catch_up(node: &raft::Node) -> Result<(), Refused> {
    if node.is_alone() {
        return Ok(());
    }
    match tokio::time::timeout(READ_TIME_MAX, node.read_index()).await {
        Ok(Ok(_)) => Ok(()),
        // A reading changes nothing: whatever happened to it, it may be asked again.
        Ok(Err(raft::Error::Unknown)) | Err(_) => Err(Refused::NoQuorum),
        Ok(Err(error)) => Err(refused(&error)),
    }
}

/// As the doors see it.
pub(super) fn freshness(node: &raft::Node) -> Freshness {
    let heard = Arc::new(Heard::default());
    let (asked, behind, seen) = (node.clone(), node.clone(), node.applied());
    Freshness {
        age: Arc::new(move || heard.age(asked.contact(), Instant::now())),
        applied: Arc::new(move || *seen.borrow()),
        catch_up: Arc::new(move || {
            let node = behind.clone();
            Box::pin(async move { catch_up(&node).await })
        }),
    }
}

/// When the leader was last heard of.
#[derive(Debug, Default)]
struct Heard(Mutex<Option<Instant>>);

impl Heard {
    /// `contact` as the node tells it now; where it knows of no leader, what was told before counts.
    fn age(&self, contact: Option<Duration>, now: Instant) -> Option<Duration> {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(age) = contact {
            *last = now.checked_sub(age);
            return contact;
        }
        last.map(|last| now.saturating_duration_since(last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_goes_on_counting_when_the_leader_is_lost() {
        let heard = Heard::default();
        let start = Instant::now() + Duration::from_mins(1);
        let at = |seconds| start + Duration::from_secs(seconds);
        let age = |contact: Option<u64>, now| {
            let age = heard.age(contact.map(Duration::from_secs), at(now));
            age.map(|age| age.as_secs())
        };
        assert_eq!(age(None, 0), None, "never heard of");
        assert_eq!(age(Some(2), 10), Some(2));
        assert_eq!(age(None, 15), Some(7));
        assert_eq!(age(Some(0), 16), Some(0));
        assert_eq!(age(None, 17), Some(1));
    }
}
