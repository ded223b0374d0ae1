//! What processes used, as the kernel counts it: processor time and memory.
//!
//! Holds: the processes that a server has started are counted with it.

use std::collections::BTreeMap;
use std::time::Duration;

/// One process in `/proc/<pid>/stat`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// It is no more than an entry that nobody has looked at yet.
    is_dead: bool,
    parent: u32,
    /// Of processor time, in user and system.
    ticks: u64,
    rss_pages: u64,
}

/// Processor time and memory of some processes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) cpu: Duration,
    pub(crate) rss_bytes: u64,
}

impl Usage {
    /// Of these processes; what has ended counts nothing.
    pub(crate) fn of(pids: &[u32]) -> Self {
        let stats = || pids.iter().filter_map(|pid| stat(*pid));
        let ticks: u64 = stats().map(|stat| stat.ticks).sum();
        let pages: u64 = stats().map(|stat| stat.rss_pages).sum();
        Self {
            cpu: time(ticks),
            rss_bytes: pages * rustix::param::page_size() as u64,
        }
    }
}

/// Processor time that the machine has spent on anything at all since it was started, what the host
/// took from it included.
pub(crate) fn spent_by_all() -> Duration {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    time(busy_ticks(&text).unwrap_or_default())
}

/// The first line: user, nice, system, idle, waiting for the disk, interrupts, soft ones, stolen.
fn busy_ticks(text: &str) -> Option<u64> {
    let line = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    let [user, nice, system, _, _, interrupts, soft, stolen] = ticks.first_chunk()?;
    Some(user + nice + system + interrupts + soft + stolen)
}

fn time(ticks: u64) -> Duration {
    let second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks * 1000 / second)
}

/// `roots` and all that they have started, directly or not.
pub(crate) fn with_children(roots: &[u32]) -> Vec<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parents = pids.filter_map(|pid| Some((pid, stat(pid)?.parent)));
    family(roots, &parents.collect())
}

/// `parents` has the parent of each process.
fn family(roots: &[u32], parents: &BTreeMap<u32, u32>) -> Vec<u32> {
    let mut family = roots.to_vec();
    let mut at = 0;
    while let Some(parent) = family.get(at).copied() {
        let of_parent = parents.iter().filter(|(_, of)| **of == parent);
        let children: Vec<u32> = of_parent
            .map(|(pid, _)| *pid)
            .filter(|pid| !family.contains(pid))
            .collect();
        family.extend(children);
        at += 1;
    }
    family
}

/// It has not ended.
pub(crate) fn is_alive(pid: u32) -> bool {
    stat(pid).is_some_and(|stat| !stat.is_dead)
}

fn stat(pid: u32) -> Option<Stat> {
    parse(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// The command's name may have blanks and brackets: fields are counted after its last bracket.
fn parse(text: &str) -> Option<Stat> {
    let (_, fields) = text.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        is_dead: matches!(fields.first(), Some(&("Z" | "X"))),
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        rss_pages: number(21)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_read_after_the_name() {
        let text = "77 (a (b) c) S 12 77 77 0 -1 4194304 100 0 0 0 250 50 9 9 20 0 4 0 123 1000000 2048 18446744073709551615 1 1";
        let stat = Stat {
            is_dead: false,
            parent: 12,
            ticks: 300,
            rss_pages: 2048,
        };
        assert_eq!(Some(stat), parse(text));
        assert_eq!(None, parse("77 (a) S 12"));
        let dead = parse(&text.replace(" S ", " Z ")).unwrap();
        assert!(dead.is_dead);
    }

    #[test]
    fn waiting_is_not_spending() {
        let text = "cpu  1 2 4 1000 1000 8 16 32 64 128\ncpu0 9 9 9 9 9 9 9 9 9 9\n";
        assert_eq!(Some(63), busy_ticks(text));
        assert_eq!(None, busy_ticks("cpu 1 2"));
        assert!(Duration::ZERO < spent_by_all());
    }

    #[test]
    fn a_family_has_grandchildren_and_no_strangers() {
        let parents = BTreeMap::from([(2, 1), (3, 2), (4, 3), (5, 1), (6, 9)]);
        assert_eq!(vec![2, 3, 4], family(&[2], &parents));
        assert_eq!(vec![5, 6], family(&[5, 6], &parents));
    }

    #[test]
    fn this_process_uses_memory() {
        assert!(0 < Usage::of(&[std::process::id()]).rss_bytes);
        assert_eq!(Usage::default(), Usage::of(&[u32::MAX]));
    }
}
