//! Whether a process stands still: the states of its threads, as the kernel tells them.
//!
//! Why not the signal alone: a thread inside a write or a sync ends that first, and stops after.

use anyhow::Context as _;

pub(crate) fn are_stopped(pid: i32) -> anyhow::Result<bool> {
    let path = format!("/proc/{pid}/task");
    let tasks = std::fs::read_dir(&path).with_context(|| format!("cannot read {path}"))?;
    for task in tasks {
        match std::fs::read_to_string(task?.path().join("stat")) {
            Ok(stat) if is_stopped(&stat) => {}
            Ok(_) => return Ok(false),
            // A thread that has ended meanwhile.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

/// The state stands behind the name, which may hold anything, brackets too.
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(") ")
        .is_some_and(|(_, rest)| rest.starts_with('T'))
}

#[cfg(test)]
mod tests {
    use super::is_stopped;

    #[test]
    fn only_a_stopped_thread_stands_still() {
        assert!(is_stopped("12 (a) T) T 1 12"));
        assert!(!is_stopped("12 (wal) D 1 12"));
        assert!(!is_stopped("12 (a) T) S 1 12"));
    }
}
