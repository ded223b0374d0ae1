//! Room for what is under way: a permit for each submission's bytes, held until it is answered.
//!
//! Holds: what waits anywhere behind the door is bounded by bytes, so memory is; who cannot be
//! taken now is told so at once, a request that streams waits for its turn instead.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError};

use super::refused::Refused;

/// The counter of bytes.
#[derive(Clone, Debug)]
pub(super) struct Admission {
    bytes: Arc<Semaphore>,
    bytes_max: usize,
}

impl Admission {
    pub(super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes: Arc::new(Semaphore::new(bytes_max)),
            bytes_max,
        }
    }

    /// Jobs that can wait at a time: each has a permit of at least its overhead.
    pub(super) const fn jobs_max(&self) -> usize {
        self.bytes_max / OVERHEAD_BYTES + 1
    }

    /// Room for one submission, now or not.
    pub(super) fn admit(&self, body_bytes: usize) -> Result<OwnedSemaphorePermit, Refused> {
        let wanted = self.wanted(body_bytes, 1);
        Arc::clone(&self.bytes)
            .try_acquire_many_owned(wanted)
            .map_err(|error| match error {
                TryAcquireError::NoPermits => Refused::Overloaded {
                    retry_after_s: RETRY_AFTER_S,
                },
                TryAcquireError::Closed => Refused::Draining,
            })
    }

    /// Room for many submissions of one request, as soon as there is.
    pub(super) async fn admit_many(
        &self,
        body_bytes: usize,
        count: usize,
    ) -> Result<OwnedSemaphorePermit, Refused> {
        let wanted = self.wanted(body_bytes, count);
        let room = Arc::clone(&self.bytes).acquire_many_owned(wanted);
        room.await.map_err(|_closed| Refused::Draining)
    }

    fn wanted(&self, body_bytes: usize, count: usize) -> u32 {
        let bytes = (body_bytes + count * OVERHEAD_BYTES).min(self.bytes_max);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

/// What a submission weighs beside its body, in every queue between here and the disk.
const OVERHEAD_BYTES: usize = 1024;
/// A full node has turned over in a second.
const RETRY_AFTER_S: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_room_is_told_at_once_and_room_comes_back() {
        let admission = Admission::new(10 * OVERHEAD_BYTES);
        let first = admission.admit(8 * OVERHEAD_BYTES).unwrap();
        let refused = admission.admit(OVERHEAD_BYTES).unwrap_err();
        assert_eq!(
            refused,
            Refused::Overloaded {
                retry_after_s: RETRY_AFTER_S
            }
        );
        drop(first);
        // One that is larger than the whole is still taken, alone.
        let whole = admission.admit(usize::MAX / 2).unwrap();
        assert!(admission.admit(0).is_err());
        drop(whole);
        assert!(admission.admit(0).is_ok());
    }
}
