//! Checkpoints against their log: cut anywhere, lost, damaged; what is built on them is what the
//! whole log gives.

#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "tests stop at the first surprise"
)]

#[expect(dead_code, unreachable_pub, reason = "shared by the test files")]
mod world;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};

use storage::{
    Checkpoint, Checkpoints, Command, Digests, Disk as _, Engine, Entry, Error, Expect, Fault,
    FaultDisk, FormId, Horizon, Index, NodeId, Opened, OsDisk, Pack, Policy, Sender, State,
    StateConfig, StateParts, Wal, WalConfig,
};
use world::*;

const DIR: &str = "/data/state";

fn wal_config(fsync: Policy) -> WalConfig {
    WalConfig {
        fsync,
        segment_bytes: 48 << 10,
        batch_bytes_max: 16 << 10,
        ..WalConfig::simulated()
    }
}

/// A node's storage on one disk: a log of small segments and a state in memory.
struct Node {
    wal: Wal,
    state: State,
    opened: Opened,
}

fn open_with(disk: &FaultDisk, fsync: Policy, had_peers: bool) -> Result<Node, Error> {
    let disk = Arc::new(disk.clone());
    let shared = Arc::clone(&disk);
    let (wal, _) = Wal::open(shared, Path::new("/data/wal"), &wal_config(fsync))?;
    let config = StateConfig {
        engine: Engine::Memory,
        checkpoint_bytes: 1,
        ..StateConfig::default()
    };
    let parts = StateParts {
        disk,
        dir: Path::new(DIR),
        config: &config,
        wal: &wal,
        voters_of,
        had_peers,
    };
    let (state, opened) = State::open(&parts, &mut |_| {})?;
    Ok(Node { wal, state, opened })
}

fn open(disk: &FaultDisk) -> Result<Node, Error> {
    open_with(disk, Policy::Always, false)
}

impl Node {
    fn checkpoints(&self) -> Checkpoints {
        self.state.checkpoints().unwrap().clone()
    }

    fn indexes(&self) -> Vec<u64> {
        let all = self.checkpoints().all();
        all.iter().map(|one| one.id.index.0).collect()
    }

    /// False: the disk is dead.
    fn take(&mut self, entry: &Entry) -> bool {
        let (told, heard) = mpsc::sync_channel(1);
        self.wal.append(
            vec![entry.clone()],
            Box::new(move |done| told.send(done).unwrap()),
        );
        if heard.recv().unwrap().is_err() {
            return false;
        }
        self.wal.save_committed(entry.id);
        self.state.apply(entry).unwrap();
        self.state.wait_for_checkpoint();
        true
    }

    /// Purges as far as the horizon lets, and removes what is useless then. False: the disk is dead.
    fn forget(&self) -> bool {
        let checkpoints = self.checkpoints();
        let horizon = self.state.view().horizon().unwrap();
        let Some(floor) = checkpoints.floor(horizon) else {
            return true;
        };
        let (told, heard) = mpsc::sync_channel(1);
        self.wal
            .purge(floor.id, Box::new(move |done| told.send(done).unwrap()));
        if heard.recv().unwrap().is_err() {
            return false;
        }
        checkpoints.purged(floor.id.index);
        checkpoints.tidy(horizon).is_ok()
    }

    /// Applies what the log holds beyond what the state was built to.
    fn catch_up(&mut self) {
        let next = self.state.applied().map_or(Index(1), |id| id.index.next());
        let end = self.wal.last().map_or(Index(0), |id| id.index).next();
        if next < end {
            for entry in self.wal.read(next..end, usize::MAX).unwrap() {
                self.state.apply(&entry).unwrap();
            }
        }
    }
}

/// The entries of a run: packs of four forms, and a horizon now and then.
fn history(count: u64) -> Vec<Entry> {
    let mut number = 0;
    let command = |index: u64| match index {
        1..=4 => define(&format!("f{index}"), "{}", Expect::Any),
        _ if index.is_multiple_of(9) => Command::Horizon(Horizon {
            index: Index(index - 8),
        }),
        _ => {
            number += 1;
            let form = FormId(1 + u32::try_from(index % 4).unwrap());
            let body = |n: u64| format!("{index} {n} {}", "x".repeat(1500));
            Command::Submit(Pack {
                sender: Sender {
                    node: NodeId(1),
                    boot: 1,
                },
                number,
                submissions: vec![
                    submission(form, &body(0)),
                    keyed(form, &format!("k{index}"), "b"),
                ],
            })
        }
    };
    (1..=count)
        .map(command)
        .zip(1..)
        .map(|(command, index)| entry(index, &command))
        .collect()
}

/// What a pure state says after each entry.
fn model(entries: &[Entry]) -> BTreeMap<Index, Digests> {
    let mut state = State::in_memory(voters_of);
    let digests = |entry: &Entry| {
        state.apply(entry).unwrap();
        (entry.id.index, state.view().digests())
    };
    entries.iter().map(digests).collect()
}

#[test]
fn a_checkpoint_is_cut_behind_each_boundary_and_says_what_it_is_of() {
    let disk = FaultDisk::new();
    let mut node = open(&disk).unwrap();
    let entries = history(120);
    for entry in &entries {
        assert!(node.take(entry));
    }
    let sealed = node.wal.segments();
    let sealed: Vec<Index> = sealed
        .iter()
        .filter(|one| !one.is_active)
        .filter_map(|one| one.last)
        .collect();
    assert!(sealed.len() > 3, "{sealed:?}");
    let all = node.checkpoints().all();
    assert!(!all.is_empty());
    for one in &all {
        let boundary = sealed
            .iter()
            .filter(|last| **last <= one.id.index)
            .max()
            .unwrap();
        assert!(
            one.id.index.0 - boundary.0 <= 32,
            "{one:?} behind {boundary}"
        );
        node.checkpoints().check(one).unwrap();
        let mut state = State::in_memory(voters_of);
        state
            .import(&mut node.checkpoints().read(one).unwrap())
            .unwrap();
        assert_eq!(Some(one.id), state.applied());
        assert_eq!(model(&entries)[&one.id.index], state.view().digests());
    }
}

#[test]
fn a_power_cut_at_any_change_of_the_disk_leaves_a_state_that_the_whole_log_would_give() {
    let entries = history(90);
    let model = model(&entries);
    let mut purges = 0;
    for policy in [Policy::Always, Policy::Never] {
        let mut die_after = 1;
        loop {
            let disk = FaultDisk::new();
            disk.inject(Fault::DieAfter(die_after));
            let mut acknowledged = 0;
            if let Ok(mut node) = open_with(&disk, policy, false) {
                for entry in &entries {
                    if !node.take(entry) {
                        break;
                    }
                    acknowledged = entry.id.index.0;
                    if entry.id.index.0 % 10 == 0 && !node.forget() {
                        break;
                    }
                }
                purges += u32::from(node.wal.purged().is_some());
            }
            let is_over = disk.changes() < die_after;
            disk.power_cut(die_after);
            let what = format!("{policy}, cut after change {die_after}");
            let mut node =
                open_with(&disk, policy, false).unwrap_or_else(|error| panic!("{what}: {error}"));
            if let Some(applied) = node.state.applied() {
                assert_eq!(model[&applied.index], node.state.view().digests(), "{what}");
            }
            node.catch_up();
            let last = node.wal.last().map_or(0, |id| id.index.0);
            if policy == Policy::Always {
                assert!(acknowledged <= last, "{what}: {last} of {acknowledged}");
            }
            if last > 0 {
                assert_eq!(model[&Index(last)], node.state.view().digests(), "{what}");
                assert_eq!(
                    Some(Index(last)),
                    node.state.applied().map(|id| id.index),
                    "{what}"
                );
            }
            if is_over {
                break;
            }
            die_after += 1;
        }
        assert!(
            die_after > 150,
            "the run was cut at many places: {die_after}"
        );
    }
    assert!(purges > 20, "many of them after a purge: {purges}");
}

/// A node that has purged, and has one more checkpoint above the purge.
fn purged() -> (FaultDisk, Vec<Entry>, Vec<u64>) {
    let disk = FaultDisk::new();
    let mut node = open(&disk).unwrap();
    let entries = history(150);
    for entry in &entries {
        assert!(node.take(entry));
        if entry.id.index.0 == 100 {
            assert!(node.forget());
        }
    }
    let indexes = node.indexes();
    let purged = node.wal.purged().unwrap().index.0;
    assert_eq!(
        Some(&purged),
        indexes.first(),
        "older ones are gone: {indexes:?}"
    );
    assert!(indexes.len() >= 2, "{indexes:?}");
    assert_eq!(None, node.wal.log_id(Index(purged - 1)).unwrap());
    (disk, entries, indexes)
}

fn file_of(index: u64) -> PathBuf {
    Path::new("/data/checkpoints").join(format!("{index:016}.ckpt"))
}

fn base_of(node: &Node) -> Option<Index> {
    match &node.opened {
        Opened::Rebuilt { base, .. } => *base,
        other @ (Opened::Fresh | Opened::Kept) => panic!("{other:?}"),
    }
}

#[test]
fn a_log_without_its_beginning_is_rebuilt_from_the_newest_checkpoint() {
    let (disk, entries, indexes) = purged();
    let node = open(&disk).unwrap();
    assert_eq!(indexes.last().map(|at| Index(*at)), base_of(&node));
    assert_eq!(indexes, node.indexes());
    let model = model(&entries);
    assert_eq!(model[&Index(150)], node.state.view().digests());
    // The same one serves as floor again: the newest at or below the horizon.
    let horizon = node.state.view().horizon().unwrap();
    let floor = node.checkpoints().floor(horizon).unwrap();
    let expected = indexes.iter().filter(|at| Index(**at) <= horizon).max();
    assert_eq!(expected, Some(&floor.id.index.0));
}

#[test]
fn a_damaged_checkpoint_is_put_aside_and_the_one_before_it_taken() {
    let (disk, entries, indexes) = purged();
    let newest = *indexes.last().unwrap();
    let len = disk.read(&file_of(newest)).unwrap().len();
    for (at, offset) in [(newest, 0), (newest, len / 2), (newest, len - 1)] {
        let disk = disk.copy();
        assert!(disk.flip(&file_of(at), offset, 0x10));
        let node = open(&disk).unwrap();
        assert_eq!(Some(Index(indexes[indexes.len() - 2])), base_of(&node));
        assert_eq!(model(&entries)[&Index(150)], node.state.view().digests());
        assert!(!disk.exists(&file_of(at)).unwrap());
        let aside = Path::new("/data/quarantine").join(format!("checkpoint-{newest}-1"));
        assert!(disk.exists(&aside).unwrap());
    }
    disk.shorten(&file_of(newest), len / 2);
    let node = open(&disk).unwrap();
    assert_eq!(Some(Index(indexes[indexes.len() - 2])), base_of(&node));
}

#[test]
fn where_no_checkpoint_reaches_the_log_the_start_is_refused_and_nothing_else_changes() {
    let (disk, _, indexes) = purged();
    let purged = indexes[0];
    for (at, index) in indexes.iter().enumerate() {
        if at % 2 == 0 {
            assert!(disk.flip(&file_of(*index), 1000, 1));
        } else {
            disk.remove(&file_of(*index)).unwrap();
        }
    }
    for _ in 0..2 {
        match open(&disk) {
            Err(Error::NoCheckpoint { first, dir }) => {
                assert_eq!(Index(purged + 1), first);
                assert_eq!(Path::new("/data/checkpoints"), dir);
            }
            Err(other) => panic!("{other}"),
            Ok(node) => panic!("{:?}", node.opened),
        }
    }
}

#[test]
fn what_a_crash_left_half_written_is_removed() {
    let (disk, _, indexes) = purged();
    let temporary = Path::new("/data/checkpoints/0000000000000140.ckpt.tmp");
    drop(disk.open(temporary, storage::Open::Create).unwrap());
    let node = open(&disk).unwrap();
    assert!(!disk.exists(temporary).unwrap());
    assert_eq!(indexes, node.indexes());
}

#[test]
fn a_checkpoint_of_entries_that_the_log_lost_is_of_no_history() {
    let disk = FaultDisk::new();
    let mut node = open(&disk).unwrap();
    let entries = history(60);
    for entry in &entries {
        assert!(node.take(entry));
    }
    let lost = node.state.checkpoint().unwrap().unwrap();
    assert_eq!(Index(60), lost.id.index);
    drop(node);
    let (wal, _) = Wal::open(
        Arc::new(disk.clone()),
        Path::new("/data/wal"),
        &wal_config(Policy::Always),
    )
    .unwrap();
    let (told, heard) = mpsc::sync_channel(1);
    wal.truncate_after(Some(id(58)), Box::new(move |done| told.send(done).unwrap()));
    heard.recv().unwrap().unwrap();
    wal.close().unwrap();
    let node = open(&disk).unwrap();
    assert!(!node.indexes().contains(&60));
    assert!(
        disk.exists(Path::new("/data/quarantine/checkpoint-60-1"))
            .unwrap()
    );
    assert_eq!(model(&entries)[&Index(58)], node.state.view().digests());
}

#[test]
fn a_checkpoint_that_a_peer_sends_is_kept_only_whole() {
    let (disk, _, indexes) = purged();
    let node = open(&disk).unwrap();
    let from = node.checkpoints();
    let one = from.newest(Index(u64::MAX)).unwrap();
    let mut bytes = Vec::new();
    from.read(&one).unwrap().read_to_end(&mut bytes).unwrap();
    assert_eq!(one.bytes, bytes.len() as u64);
    let fresh = FaultDisk::new();
    let peer = open_with(&fresh, Policy::Always, true).unwrap();
    let to = peer.checkpoints();
    for cut in [0, 100, bytes.len() / 2, bytes.len() - 1] {
        let mut incoming = to.receive().unwrap();
        incoming.write_all(&bytes[..cut]).unwrap();
        incoming.finish().unwrap_err();
    }
    let mut incoming = to.receive().unwrap();
    incoming.write_all(&bytes).unwrap();
    incoming.write_all(&[0]).unwrap();
    incoming.finish().unwrap_err();
    let mut incoming = to.receive().unwrap();
    incoming.write_all(&bytes).unwrap();
    assert_eq!(one, incoming.finish().unwrap());
    fresh.power_cut(1);
    assert_eq!(
        bytes,
        fresh.read(&file_of(*indexes.last().unwrap())).unwrap()
    );
}

#[test]
fn one_that_is_asked_for_is_cut_at_the_next_boundary_and_one_that_fails_costs_nothing() {
    let disk = FaultDisk::new();
    let (wal, _) = Wal::open(
        Arc::new(disk.clone()),
        Path::new("/data/wal"),
        &wal_config(Policy::Always),
    )
    .unwrap();
    let config = StateConfig {
        engine: Engine::Memory,
        ..StateConfig::default()
    };
    let parts = StateParts {
        disk: Arc::new(disk.clone()),
        dir: Path::new(DIR),
        config: &config,
        wal: &wal,
        voters_of,
        had_peers: false,
    };
    let (state, opened) = State::open(&parts, &mut |_| {}).unwrap();
    let mut node = Node {
        wal: wal.clone(),
        state,
        opened,
    };
    let entries = history(80);
    for entry in &entries[..40] {
        assert!(node.take(entry));
    }
    assert!(node.indexes().is_empty(), "a gibibyte is far");
    node.checkpoints().demand();
    assert!(node.take(&entries[40]));
    assert_eq!(vec![41], node.indexes());
    for entry in &entries[41..] {
        assert!(node.take(entry));
    }
    assert_eq!(vec![41], node.indexes(), "asked for once");
}

/// A node with its rows on a real disk.
struct OnDisk {
    _root: tempfile::TempDir,
    data: PathBuf,
}

impl OnDisk {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let data = root.path().join("data");
        Self { _root: root, data }
    }

    fn open(&self, had_peers: bool) -> Result<Node, Error> {
        let disk = Arc::new(OsDisk);
        let shared = Arc::clone(&disk);
        let config = wal_config(Policy::Always);
        let (wal, _) = Wal::open(shared, &self.data.join("wal"), &config)?;
        let config = StateConfig {
            checkpoint_bytes: 1,
            ..StateConfig::default()
        };
        let parts = StateParts {
            disk,
            dir: &self.data.join("state"),
            config: &config,
            wal: &wal,
            voters_of,
            had_peers,
        };
        let (state, opened) = State::open(&parts, &mut |_| {})?;
        Ok(Node { wal, state, opened })
    }

    /// Runs the first 100 entries and purges.
    fn run(&self) -> (Node, Vec<Entry>) {
        let mut node = self.open(false).unwrap();
        let entries = history(100);
        for entry in &entries {
            assert!(node.take(entry));
        }
        assert!(node.forget());
        assert!(node.wal.purged().is_some());
        (node, entries)
    }

    /// Changes one row of `table` behind the state's back.
    fn spoil(&self, table: u8) {
        let store = fjall::Database::builder(self.data.join("state/rows"))
            .open()
            .unwrap();
        let rows = store
            .keyspace("state", fjall::KeyspaceCreateOptions::default)
            .unwrap();
        let row = rows.prefix([table]).next().unwrap().into_inner().unwrap();
        rows.remove(row.0).unwrap();
    }
}

#[test]
fn a_state_that_cannot_be_used_is_built_again_from_a_checkpoint() {
    let home = OnDisk::new();
    let (node, entries) = home.run();
    drop(node);
    home.spoil(0x07);
    let node = home.open(false).unwrap();
    assert!(base_of(&node).is_some());
    assert_eq!(model(&entries)[&Index(100)], node.state.view().digests());
    drop(node);
    // And one that is gone altogether.
    std::fs::remove_dir_all(home.data.join("state")).unwrap();
    let node = home.open(false).unwrap();
    assert!(base_of(&node).is_some());
    assert_eq!(model(&entries)[&Index(100)], node.state.view().digests());
}

#[test]
fn a_hole_in_the_bulk_of_the_rows_is_found_beside_the_running_node_and_mended_by_the_next() {
    for table in [0x08, 0x09, 0x0b] {
        let home = OnDisk::new();
        let (node, entries) = home.run();
        drop(node);
        home.spoil(table);
        let mut node = home.open(false).unwrap();
        assert_eq!(Opened::Kept, node.opened, "its core is whole");
        let (told, heard) = mpsc::sync_channel(1);
        node.state
            .verify_beside(Box::new(move |why| told.send(why).unwrap()));
        let why = heard.recv().unwrap();
        assert!(why.contains("rows and should be"), "{why}");
        node.state.close().unwrap();
        drop(node.wal);
        let node = home.open(false).unwrap();
        assert!(
            matches!(&node.opened, Opened::Rebuilt { why: again, is_expected: false, .. } if *again == why)
        );
        assert_eq!(model(&entries)[&Index(100)], node.state.view().digests());
    }
}

#[test]
fn rows_that_are_whole_are_not_looked_at_twice_and_an_unfinished_look_is_done_again() {
    let home = OnDisk::new();
    let (node, _) = home.run();
    drop(node);
    let close = |node: Node| {
        node.state.close().unwrap();
        home.data.join("state/closed").exists()
    };
    let node = home.open(false).unwrap();
    assert!(!close(node), "nobody looked");
    loop {
        let mut node = home.open(false).unwrap();
        node.state.verify_beside(Box::new(|why| panic!("{why}")));
        if close(node) {
            break;
        }
    }
    let node = home.open(false).unwrap();
    assert_eq!(Opened::Kept, node.opened);
    assert!(close(node), "the word spoke for them");
}

#[test]
fn a_single_node_makes_its_lost_checkpoint_anew_and_one_of_several_refuses() {
    let home = OnDisk::new();
    let (node, entries) = home.run();
    node.state.close().unwrap();
    drop(node.wal);
    std::fs::remove_dir_all(home.data.join("checkpoints")).unwrap();
    let refused = home.open(true).map(|node| node.opened);
    assert!(
        matches!(refused, Err(Error::NoCheckpoint { .. })),
        "{refused:?}"
    );
    let node = home.open(false).unwrap();
    assert_eq!(vec![100], node.indexes());
    drop(node);
    home.spoil(0x07);
    let node = home.open(false).unwrap();
    assert_eq!(Some(Index(100)), base_of(&node));
    assert_eq!(model(&entries)[&Index(100)], node.state.view().digests());
}

/// Rows that a crash left behind the log's beginning are an everyday thing.
#[test]
fn rows_that_end_before_the_log_begins_are_replaced_without_alarm() {
    let home = OnDisk::new();
    let mut node = home.open(false).unwrap();
    let entries = history(100);
    for entry in &entries[..20] {
        assert!(node.take(entry));
    }
    node.state.close().unwrap();
    drop(node.wal);
    let (state, kept) = (home.data.join("state"), home.data.join("kept"));
    std::fs::rename(&state, &kept).unwrap();
    let mut node = home.open(false).unwrap();
    for entry in &entries[20..] {
        assert!(node.take(entry));
    }
    assert!(node.forget());
    assert!(node.wal.purged().unwrap().index > Index(20));
    drop(node);
    std::fs::remove_dir_all(&state).unwrap();
    std::fs::rename(&kept, &state).unwrap();
    let node = home.open(false).unwrap();
    assert!(
        matches!(
            node.opened,
            Opened::Rebuilt {
                is_expected: true,
                base: Some(_),
                ..
            }
        ),
        "{:?}",
        node.opened
    );
    assert_eq!(model(&entries)[&Index(100)], node.state.view().digests());
}

#[test]
fn nothing_is_removed_that_the_durable_purge_still_needs() {
    let disk = FaultDisk::new();
    let mut node = open(&disk).unwrap();
    for entry in &history(150) {
        assert!(node.take(entry));
    }
    let checkpoints = node.checkpoints();
    let all = node.indexes();
    assert!(all.len() >= 3, "{all:?}");
    assert_eq!(0, checkpoints.tidy(Index(0)).unwrap(), "nothing is purged");
    checkpoints.purged(Index(all[1] - 1));
    assert_eq!(
        0,
        checkpoints.tidy(Index(0)).unwrap(),
        "the first one still covers it"
    );
    checkpoints.purged(Index(all[1]));
    assert_eq!(1, checkpoints.tidy(Index(0)).unwrap());
    assert_eq!(all[1..], node.indexes());
    let newest: Option<Checkpoint> = checkpoints.newest(Index(all[1] - 1));
    assert_eq!(None, newest);
}

#[test]
fn a_log_that_grows_for_ever_keeps_a_bounded_number_of_checkpoints() {
    let disk = FaultDisk::new();
    let mut node = open(&disk).unwrap();
    let checkpoints = node.checkpoints();
    let mut most = 0;
    for entry in &history(120) {
        assert!(node.take(entry));
        let cut = node.state.checkpoint().unwrap().unwrap();
        let horizon = Index(entry.id.index.0 / 3);
        let floor = checkpoints.floor(horizon);
        checkpoints.tidy(horizon).unwrap();
        assert_eq!(
            floor,
            checkpoints.floor(horizon),
            "what openraft was told of stays"
        );
        assert_eq!(Some(cut), checkpoints.newest(Index(u64::MAX)));
        most = most.max(node.indexes().len());
    }
    assert!((8..=16).contains(&most), "{most}");
    let files = disk.list(checkpoints.dir()).unwrap();
    assert_eq!(files.len(), node.indexes().len());
}

#[test]
fn damage_far_behind_the_beginning_of_a_long_checkpoint_is_found_before_it_is_used() {
    let disk = FaultDisk::new();
    let mut node = open(&disk).unwrap();
    let mut world = BTreeMap::new();
    for index in 1..=8_u64 {
        let command = if index == 1 {
            define("f", "{}", Expect::Any)
        } else {
            let one = |n: u32| keyed(FormId(1), &format!("{index} {n} {}", "k".repeat(200)), "b");
            Command::Submit(Pack {
                sender: Sender {
                    node: NodeId(1),
                    boot: 1,
                },
                number: index - 1,
                submissions: (0..1000).map(one).collect(),
            })
        };
        assert!(node.take(&entry(index, &command)));
        world.insert(index, node.state.checkpoint().unwrap().unwrap());
    }
    let digests = node.state.view().digests();
    drop(node);
    assert!(world[&8].bytes > 1 << 20, "{:?}", world[&8]);
    let path = file_of(8);
    let middle = usize::try_from(world[&8].bytes / 2).unwrap();
    assert!(disk.flip(&path, middle, 1));
    let node = open(&disk).unwrap();
    assert_eq!(Some(Index(7)), base_of(&node));
    assert_eq!(digests, node.state.view().digests());
}
