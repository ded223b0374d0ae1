//! What the kernel keeps of files in memory, and how to make it let go of all of it.

use anyhow::Context as _;

const SWITCH: &str = "/proc/sys/vm/drop_caches";

/// Everybody's, not only ours: others are slower for a while, and nothing is lost. Needs root.
pub(crate) fn drop_all() -> anyhow::Result<()> {
    // Only what is written can be let go.
    rustix::fs::sync();
    std::fs::write(SWITCH, "1\n").with_context(|| format!("cannot write {SWITCH}"))
}
