//! Work that waits for a disk, away from tasks that others wait for.

use storage::simulation;
use tokio::task::JoinError;

/// Runs it on a thread that may wait; in a simulation, where no disk keeps anybody waiting, at once.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    if simulation::is_on() {
        return Ok(work());
    }
    tokio::task::spawn_blocking(work).await
}
