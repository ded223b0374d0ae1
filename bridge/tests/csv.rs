//! The CSV sink's promise: each row once, in order, whatever happens to the disk, the power, or
//! the file while a person works on it.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bridge::testing::{Break, MemFiles, Sectors, drive, record, sink_of};
use bridge::{
    Batch, CsvConfig, Delivery, Files, Lane, Life, Opening, OsFiles, Position, Record, Sink,
    SinkError, SinkSpec, Sinks,
};
use proptest::prelude::*;

const SHEET: &str = "sheets/f.csv";

fn sink(files: impl Files, dir: &Path, incarnation: u64) -> Box<dyn Sink> {
    let config = CsvConfig {
        dir: dir.to_path_buf(),
        ..CsvConfig::default()
    };
    let sinks = Sinks::new(&config, Arc::new(files), "cluster");
    let life = Life {
        lane: Lane::new("t", "f"),
        incarnation,
    };
    sink_of(&sinks, &SinkSpec::csv("{form}.csv"), &life)
}

/// Records whose bodies get one more field every tenth, and line ends and quotes within.
fn records(count: u64) -> Vec<Record> {
    (1..=count)
        .map(|seq| {
            let mut body = format!("{{\"n\":{seq},\"text\":\"line\\n\\\"{seq}\\\", end\"");
            for field in 0..seq / 10 {
                write!(body, ",\"field{field}\":\"{seq}\"").unwrap();
            }
            body.push('}');
            record("f", seq, &body)
        })
        .collect()
}

/// Panics unless the sheet holds exactly these records, once, in order, with all their values.
fn check(sheet: &[u8], records: &[Record]) {
    let mut reader = csv::Reader::from_reader(sheet);
    let header = reader.headers().unwrap().clone();
    let rows: Vec<csv::StringRecord> = reader.records().map(Result::unwrap).collect();
    let seqs: Vec<u64> = rows.iter().map(|row| row[0].parse().unwrap()).collect();
    let expected: Vec<u64> = records.iter().map(|record| record.seq).collect();
    assert_eq!(seqs, expected);
    for (row, record) in rows.iter().zip(records) {
        assert_eq!(row[1], record.id);
        let body: serde_json::Value = serde_json::from_slice(&record.body).unwrap();
        for (at, name) in header.iter().enumerate().skip(3) {
            let cell = match body.get(name) {
                Some(serde_json::Value::String(text)) => text.clone(),
                Some(value) => value.to_string(),
                None => String::new(),
            };
            assert_eq!(row[at], cell, "{name} of seq {}", record.seq);
        }
        for name in body.as_object().unwrap().keys() {
            assert!(
                header.iter().any(|column| column == name),
                "{name} has no column"
            );
        }
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

/// Delivers until the disk breaks. Returns what was said to be there for good.
async fn attempt(sink: &mut dyn Sink, records: &[Record], size: usize) -> Position {
    let mut at = match sink.open(Opening::default()).await {
        Ok(cursor) => cursor.map(|cursor| cursor.position).unwrap_or_default(),
        Err(SinkError::Again(_)) => return Position::default(),
        Err(SinkError::Stop(why)) => panic!("{why}"),
    };
    loop {
        let batch: Vec<Record> = records
            .iter()
            .filter(|record| at < record.position)
            .take(size)
            .cloned()
            .collect();
        if batch.is_empty() {
            return at;
        }
        let batch = Batch::new(batch, Arc::from(["n".to_owned()]));
        match sink.deliver(Arc::new(batch)).await {
            Delivery::Taken { upto } => at = upto,
            Delivery::Again(_) | Delivery::Reopen(_) => return at,
            Delivery::Never { why, .. } => panic!("{why}"),
        }
    }
}

#[test]
fn a_power_cut_at_any_operation_costs_no_row_and_doubles_none() {
    let records = records(35);
    let whole = MemFiles::new();
    run(drive(
        &mut *sink(whole.clone(), Path::new("sheets"), 1),
        &records,
        4,
    ));
    let operations = whole.operations();
    assert!(operations > 60, "a run worth cutting, not {operations}");
    for n in 0..operations {
        for (how, sectors) in [
            (Break::PowerBefore, Sectors::Atomic),
            (Break::PowerAfter, Sectors::Atomic),
            (Break::PowerAfter, Sectors::Torn),
        ] {
            for seed in 0..6 {
                let files = MemFiles::new();
                let mut sink = sink(files.clone(), Path::new("sheets"), 1);
                files.break_at(n, how);
                let said = run(attempt(&mut *sink, &records, 4));
                assert!(files.is_off(), "operation {n} was not met");
                drop(sink);
                files.restart(sectors, seed * 1000 + n);
                let found = run(drive(
                    &mut *self::sink(files.clone(), Path::new("sheets"), 1),
                    &records,
                    3,
                ));
                check(&files.read(Path::new(SHEET)).unwrap(), &records);
                if sectors == Sectors::Atomic {
                    let found = found.map(|cursor| cursor.position).unwrap_or_default();
                    assert!(
                        said <= found,
                        "{said} was taken; after the cut it is {found}"
                    );
                    assert!(
                        files.names("kept-1.csv").is_empty(),
                        "a cut is nobody's work"
                    );
                }
            }
        }
    }
}

#[test]
fn a_sidecar_that_is_begun_anew_says_no_less() {
    // More marks than one sidecar holds.
    let records: Vec<Record> = (1..=450).map(|seq| record("f", seq, "{}")).collect();
    let whole = MemFiles::new();
    run(drive(
        &mut *sink(whole.clone(), Path::new("sheets"), 1),
        &records,
        1,
    ));
    let sidecar = whole.read(Path::new("sheets/.f.csv.cursor")).unwrap();
    assert!(sidecar.len() < 40 << 10, "{} bytes", sidecar.len());
    for n in (whole.operations() * 3 / 5..whole.operations()).step_by(17) {
        let files = MemFiles::new();
        let mut sink = sink(files.clone(), Path::new("sheets"), 1);
        files.break_at(n, Break::PowerAfter);
        let said = run(attempt(&mut *sink, &records, 1));
        drop(sink);
        files.restart(Sectors::Atomic, n);
        let found = run(self::sink(files.clone(), Path::new("sheets"), 1).open(Opening::default()))
            .unwrap();
        assert!(
            said <= found.map(|cursor| cursor.position).unwrap_or_default(),
            "cut at {n}"
        );
    }
}

#[test]
fn an_error_at_any_operation_costs_no_row_even_if_the_power_goes_later() {
    let records = records(35);
    let whole = MemFiles::new();
    run(drive(
        &mut *sink(whole.clone(), Path::new("sheets"), 1),
        &records,
        4,
    ));
    for n in 0..whole.operations() {
        for how in [Break::Fail, Break::Full] {
            let files = MemFiles::new();
            let mut sink = sink(files.clone(), Path::new("sheets"), 1);
            files.break_at(n, how);
            run(drive(&mut *sink, &records, 4));
            check(&files.read(Path::new(SHEET)).unwrap(), &records);
            drop(sink);
            files.restart(Sectors::Atomic, n);
            let mut sink = self::sink(files.clone(), Path::new("sheets"), 1);
            let found = run(drive(&mut *sink, &records, 4)).map(|cursor| cursor.position);
            let last = records.last().map(|record| record.position);
            assert_eq!(found, last, "what was taken is there");
            check(&files.read(Path::new(SHEET)).unwrap(), &records);
            assert_eq!(files.names(".new").len(), 0, "nothing half-made is left");
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Deliver {
        upto: u64,
        size: usize,
    },
    Reopen,
    Crash {
        after: u64,
        how: Break,
        seed: u64,
    },
    /// A person's work on the file.
    Edit(Edit),
}

#[derive(Clone, Copy, Debug)]
enum Edit {
    Flip(u16),
    Cut(u16),
    AddRow,
    Replace,
    Empty,
    Touch,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let how = prop_oneof![
        Just(Break::PowerBefore),
        Just(Break::PowerAfter),
        Just(Break::Full),
        Just(Break::Fail)
    ];
    let edit = prop_oneof![
        any::<u16>().prop_map(Edit::Flip),
        any::<u16>().prop_map(Edit::Cut),
        Just(Edit::AddRow),
        Just(Edit::Replace),
        Just(Edit::Empty),
        Just(Edit::Touch),
    ];
    let act = prop_oneof![
        4 => (1u64..60, 1usize..20).prop_map(|(upto, size)| Act::Deliver { upto, size }),
        2 => Just(Act::Reopen),
        4 => (0u64..30, how, any::<u64>())
            .prop_map(|(after, how, seed)| Act::Crash { after, how, seed }),
        1 => edit.prop_map(Act::Edit),
    ];
    prop::collection::vec(act, 1..25)
}

fn edit(files: &MemFiles, edit: Edit) {
    let path = Path::new(SHEET);
    let Some(mut sheet) = files.read(path).filter(|sheet| !sheet.is_empty()) else {
        return;
    };
    match edit {
        Edit::Flip(at) => {
            let at = usize::from(at) % sheet.len();
            sheet[at] ^= 1;
        }
        Edit::Cut(at) => sheet.truncate(usize::from(at) % sheet.len()),
        Edit::AddRow => sheet.extend(b"sum,=SUM(A:A)\n"),
        Edit::Replace => sheet = b"mine\n".to_vec(),
        Edit::Empty => sheet.clear(),
        Edit::Touch => {}
    }
    files.write(path, &sheet);
}

fn play(acts: &[Act], all: &[Record]) {
    let files = MemFiles::new();
    let open = || sink(files.clone(), Path::new("sheets"), 1);
    let mut sink = open();
    let mut shown = 0;
    for act in acts {
        match *act {
            Act::Deliver { upto, size } => {
                shown = upto.max(shown);
                let visible = usize::try_from(shown).unwrap();
                run(attempt(&mut *sink, &all[..visible], size));
            }
            Act::Reopen => {
                drop(sink);
                sink = open();
            }
            Act::Crash { after, how, seed } => {
                files.break_at(after, how);
                shown = (shown + 7).min(60);
                let visible = usize::try_from(shown).unwrap();
                run(attempt(&mut *sink, &all[..visible], 3));
                drop(sink);
                files.mend();
                if files.is_off() {
                    let sectors = if seed % 2 == 0 {
                        Sectors::Atomic
                    } else {
                        Sectors::Torn
                    };
                    files.restart(sectors, seed);
                }
                sink = open();
            }
            Act::Edit(how) => edit(&files, how),
        }
    }
    drop(sink);
    run(drive(&mut *open(), all, 50));
    check(&files.read(Path::new(SHEET)).unwrap(), all);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn rows_stand_once_and_in_order_whatever_happens(acts in acts()) {
        play(&acts, &records(60));
    }
}

fn kept(dir: &Path) -> Vec<PathBuf> {
    let mut kept: Vec<PathBuf> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_string_lossy().contains(".kept-"))
        .collect();
    kept.sort();
    kept
}

/// A sheet of 10 rows on a real disk, then a person's work while it is open or closed, then the
/// rest. Returns the directory.
fn worked_on(is_open: bool, work: impl Fn(&Path)) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("f.csv");
    let all = records(30);
    run(async {
        let mut sink = sink(OsFiles, dir.path(), 1);
        drive(&mut *sink, &all[..10], 4).await;
        check(&std::fs::read(&path).unwrap(), &all[..10]);
        if is_open {
            work(&path);
            // On, as a pump goes on: without opening it first.
            let batch = Batch::new(all[10..].to_vec(), Arc::from([]));
            let delivered = sink.deliver(Arc::new(batch)).await;
            if !matches!(delivered, Delivery::Taken { .. }) {
                drive(&mut *sink, &all, 4).await;
            }
        } else {
            drop(sink);
            work(&path);
            drive(&mut *self::sink(OsFiles, dir.path(), 1), &all, 4).await;
        }
    });
    check(&std::fs::read(&path).unwrap(), &all);
    dir
}

#[test]
fn a_sheet_that_a_person_edits_is_kept_and_ours_written_anew() {
    let edited = |path: &Path| {
        let text = std::fs::read_to_string(path)
            .unwrap()
            .replace("line", "LINE");
        std::fs::write(path, text).unwrap();
    };
    for is_open in [true, false] {
        let dir = worked_on(is_open, edited);
        let kept = kept(dir.path());
        assert_eq!(kept.len(), 1, "is_open: {is_open}");
        assert!(kept[0].ends_with("f.kept-1.csv"));
        assert!(std::fs::read_to_string(&kept[0]).unwrap().contains("LINE"));
    }
}

#[test]
fn a_row_that_a_person_adds_is_kept() {
    let added = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap() + "total,=SUM(A:A)\n";
        std::fs::write(path, text).unwrap();
    };
    for is_open in [true, false] {
        assert_eq!(
            kept(worked_on(is_open, added).path()).len(),
            1,
            "is_open: {is_open}"
        );
    }
}

#[test]
fn a_row_that_looks_like_ours_is_kept_too_while_the_sheet_is_open() {
    let added = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap() + "11,looks,like,ours\n";
        std::fs::write(path, text).unwrap();
    };
    assert_eq!(kept(worked_on(true, added).path()).len(), 1);
}

#[test]
fn a_sheet_that_an_editor_saves_by_rename_is_kept_if_it_differs() {
    let dir = worked_on(true, |path| {
        let saved = path.with_extension("tmp");
        std::fs::write(&saved, "_seq\n1\n").unwrap();
        std::fs::rename(saved, path).unwrap();
    });
    assert_eq!(kept(dir.path()).len(), 1);
}

#[test]
fn a_sheet_that_is_copied_back_unchanged_goes_on() {
    let dir = worked_on(true, |path| {
        let copy = path.with_extension("tmp");
        std::fs::copy(path, &copy).unwrap();
        std::fs::rename(copy, path).unwrap();
    });
    assert_eq!(kept(dir.path()).len(), 0);
}

#[test]
fn a_sheet_that_is_removed_is_written_anew() {
    for is_open in [true, false] {
        let dir = worked_on(is_open, |path| std::fs::remove_file(path).unwrap());
        assert_eq!(kept(dir.path()).len(), 0, "is_open: {is_open}");
    }
}

#[test]
fn a_sheet_whose_sidecar_is_gone_is_kept_and_written_anew() {
    let dir = worked_on(false, |path| {
        std::fs::remove_file(path.with_file_name(".f.csv.cursor")).unwrap();
    });
    assert_eq!(kept(dir.path()).len(), 1);
}

#[test]
fn another_clusters_sheet_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let all = records(12);
    run(drive(&mut *sink(OsFiles, dir.path(), 1), &all, 5));
    let config = CsvConfig {
        dir: dir.path().to_path_buf(),
        ..CsvConfig::default()
    };
    let sinks = Sinks::new(&config, Arc::new(OsFiles), "another");
    let life = Life {
        lane: Lane::new("t", "f"),
        incarnation: 1,
    };
    run(drive(
        &mut *sink_of(&sinks, &SinkSpec::csv("f.csv"), &life),
        &all[..5],
        5,
    ));
    check(&std::fs::read(dir.path().join("f.csv")).unwrap(), &all[..5]);
    check(&std::fs::read(&kept(dir.path())[0]).unwrap(), &all);
}

#[test]
fn a_full_disk_says_so_and_heals() {
    let files = MemFiles::new();
    let all = records(9);
    let mut sink = sink(files.clone(), Path::new("sheets"), 1);
    run(drive(&mut *sink, &all[..5], 5));
    files.break_at(0, Break::Full);
    let batch = Arc::new(Batch::new(all[5..].to_vec(), Arc::from([])));
    let Delivery::Reopen(trouble) = run(sink.deliver(batch)) else {
        panic!("it was not full")
    };
    assert_eq!(trouble.cause, bridge::Cause::Room);
    assert!(trouble.why.contains(SHEET), "{}", trouble.why);
    run(drive(&mut *sink, &all, 5));
    check(&files.read(Path::new(SHEET)).unwrap(), &all);
}

#[test]
fn two_tasks_never_write_one_sheet() {
    let dir = tempfile::tempdir().unwrap();
    let config = CsvConfig {
        dir: dir.path().to_path_buf(),
        ..CsvConfig::default()
    };
    let sinks = Sinks::new(&config, Arc::new(OsFiles), "cluster");
    let make = |task: &str| {
        let life = Life {
            lane: Lane::new(task, "f"),
            incarnation: 1,
        };
        sink_of(&sinks, &SinkSpec::csv("same.csv"), &life)
    };
    let (mut one, mut other) = (make("one"), make("other"));
    run(async {
        assert!(one.open(Opening::default()).await.is_ok());
        let Err(SinkError::Again(trouble)) = other.open(Opening::default()).await else {
            panic!("both opened")
        };
        assert!(trouble.why.contains("task one"), "{}", trouble.why);
        drop(one);
        assert!(other.open(Opening::default()).await.is_ok());
    });
}

#[test]
fn a_new_field_keeps_every_row_and_every_cell() {
    let dir = tempfile::tempdir().unwrap();
    let all = records(95);
    // Cells larger than the copy's buffer, with line ends and quotes across its edges.
    let long = format!("{{\"n\":1,\"text\":\"{}\"}}", "a\\\"\\n,b".repeat(30_000));
    let mut all = all;
    all[3] = record("f", 4, &long);
    run(drive(&mut *sink(OsFiles, dir.path(), 1), &all, 10));
    check(&std::fs::read(dir.path().join("f.csv")).unwrap(), &all);
}

/// As a pump does: a sheet whose last row is not one of `records` begins anew.
async fn reconcile(sink: &mut dyn Sink, records: &[Record]) {
    if let Ok(Some(cursor)) = sink.open(Opening::default()).await {
        let is_known = records
            .iter()
            .any(|record| Some(&record.id) == cursor.id.as_ref());
        if !is_known {
            drop(sink.begin_anew("the log lost it".to_owned()).await);
        }
    }
}

#[test]
fn a_sheet_that_holds_what_the_log_lost_is_kept_whenever_the_power_goes() {
    let old = records(12);
    let mut new = records(20);
    for record in &mut new[8..] {
        record.id = record.id.replace("7000", "7001");
    }
    for n in 0.. {
        let files = MemFiles::new();
        let open = || sink(files.clone(), Path::new("sheets"), 1);
        run(drive(&mut *open(), &old, 5));
        files.break_at(n, Break::PowerAfter);
        let mut first = open();
        run(reconcile(&mut *first, &new));
        run(attempt(&mut *first, &new, 5));
        drop(first);
        let was_cut = files.is_off();
        if was_cut {
            files.restart(Sectors::Atomic, n);
        }
        files.mend();
        let mut second = open();
        run(reconcile(&mut *second, &new));
        run(drive(&mut *second, &new, 5));
        check(&files.read(Path::new(SHEET)).unwrap(), &new);
        let kept = files.names("kept-1.csv");
        assert_eq!(kept.len(), 1, "cut at {n}");
        check(&files.read(&kept[0]).unwrap(), &old);
        assert!(files.names("kept-2.csv").is_empty(), "cut at {n}");
        if !was_cut {
            assert!(n > 8, "a run worth cutting, not {n}");
            return;
        }
    }
}
