//! Wall time, read in this one place: tokens and the journal carry it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Milliseconds since 1970, as this machine's clock says.
#[expect(
    clippy::disallowed_methods,
    reason = "here time enters this program, and nowhere else"
)]
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}
