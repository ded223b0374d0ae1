//! Resident memory of a process, as the kernel counts it.

use anyhow::Context as _;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now_kib: u64,
    /// The most that it ever had.
    pub(crate) peak_kib: u64,
}

pub(crate) fn of(pid: i32) -> anyhow::Result<Memory> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.with_context(|| format!("{path} has no {name}"))
    };
    Ok(Memory {
        now_kib: field("VmRSS:")?,
        peak_kib: field("VmHWM:")?,
    })
}
