//! A log whose bytes changed while nobody looked: it is noticed, or it means nothing.
//!
//! Every damage is done to a log of two lives with purged, recycled and truncated parts, once after
//! an orderly end and once after the death of the process, and looked at in both ways to open.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::result_large_err,
    clippy::type_complexity,
    reason = "a test says what it saw, whole"
)]

mod harm;
#[expect(dead_code, reason = "shared by the test files")]
mod script;

use std::path::Path;

use harm::{BLOCK, End, Seen, Specimen, config, holds, is_told, look};
use storage::{Damage, Disk, Error, FaultDisk, Verify};

/// What one damage came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Noticed,
    Same,
    /// The last batch of a process that died is gone, with a finding and a floor.
    Told,
    /// It is gone without a word.
    Silent,
}

fn judge(specimen: &Specimen, end: End, disk: &FaultDisk, verify: Verify) -> Result<Verdict, Seen> {
    let seen = look(disk, &config(verify));
    let (model, last) = (&specimen.model, &specimen.before_last);
    match &seen {
        Seen::Refused(error) if is_told(error) => Ok(Verdict::Noticed),
        Seen::Opened {
            content: Err(error),
            ..
        } if is_told(error) && verify == Verify::Tail => Ok(Verdict::Noticed),
        Seen::Opened {
            content: Ok(content),
            ..
        } if content == model => Ok(Verdict::Same),
        Seen::Opened {
            content: Ok(content),
            damage,
            floor,
        } if end == End::Died => {
            let index = content.last.map(|last| last.index);
            let is_prefix = (last.last.map(|id| id.index)..=model.last.map(|id| id.index))
                .contains(&index)
                && content
                    .entries
                    .iter()
                    .all(|(at, entry)| model.entries.get(at) == Some(entry))
                && content.entries.len() >= last.entries.len();
            let is_tail = matches!(damage.as_slice(), [Damage::Tail { .. }]);
            if is_prefix && is_tail && holds(*floor, model.last.map(|id| id.index)) {
                Ok(Verdict::Told)
            } else if is_prefix && damage.is_empty() && floor.is_none() {
                Ok(Verdict::Silent)
            } else {
                Err(seen)
            }
        }
        Seen::Opened { .. } | Seen::Refused(_) => Err(seen),
    }
}

/// Does `harm` to copies of the specimens, once for each way to open; `exempt`: what may pass silently.
/// Returns how often each verdict came.
fn try_all(
    harms: impl Fn(&Specimen, Verify, &mut dyn FnMut(&str, &dyn Fn(&FaultDisk))),
    exempt: impl Fn(&Specimen, &str) -> bool,
) -> [usize; 4] {
    let mut counts = [0; 4];
    for end in [End::Closed, End::Died] {
        let specimen = Specimen::new(end);
        for verify in [Verify::Full, Verify::Tail] {
            harms(&specimen, verify, &mut |name, harm| {
                let disk = specimen.disk.copy();
                harm(&disk);
                let verdict = judge(&specimen, end, &disk, verify);
                let what = format!("{end:?}, verify {verify:?}, {name}");
                let verdict = verdict.unwrap_or_else(|seen| panic!("{what}: {seen:?}"));
                let is_exempt = end == End::Died && exempt(&specimen, name);
                assert!(
                    verdict != Verdict::Silent || is_exempt,
                    "{what}: nobody was told"
                );
                counts[verdict as usize] += 1;
            });
        }
    }
    counts
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

/// P3. Every byte that is neither zero nor one of a long payload's: with `verify = "full"` each of its
/// bits, else one. Of the others, the unwritten rest of a file too, one bit of every 61st byte.
#[test]
fn a_flipped_bit_is_noticed_or_means_nothing() {
    let counts = try_all(
        |specimen, verify, harm| {
            for path in specimen.files() {
                let bytes = specimen.disk.read(&path).unwrap();
                for (at, byte) in bytes.iter().enumerate() {
                    let is_dull = *byte == 0 || *byte == b'x';
                    if is_dull && !at.is_multiple_of(61) {
                        continue;
                    }
                    for bit in 0..8 {
                        let is_one = is_dull || verify == Verify::Tail;
                        if is_one && bit != at / 61 % 8 {
                            continue;
                        }
                        let what = format!("{} byte {at} bit {bit}", name(&path));
                        harm(&what, &|disk| assert!(disk.flip(&path, at, 1 << bit)));
                    }
                }
            }
        },
        |_, _| false,
    );
    assert!(counts.iter().take(3).all(|count| *count > 50), "{counts:?}");
}

/// P4: lengths in steps of a sector, and one byte to both sides of every block.
#[test]
fn a_file_that_lost_its_end_is_noticed_or_lost_nothing() {
    let counts = try_all(
        |specimen, _, harm| {
            for path in specimen.files() {
                let whole = specimen.disk.read(&path).unwrap().len();
                let steps = (0..whole).step_by(512);
                let sides = (BLOCK..=whole)
                    .step_by(BLOCK)
                    .flat_map(|at| [at - 1, at + 1]);
                for len in steps.chain(sides).filter(|len| *len < whole) {
                    let what = format!("{} cut to {len}", name(&path));
                    harm(&what, &|disk| disk.shorten(&path, len));
                }
            }
        },
        |_, _| false,
    );
    assert!(counts[Verdict::Noticed as usize] > 100, "{counts:?}");
}

/// A full file has no room for the mark of an orderly end: hardstate's word is enough.
#[test]
fn after_an_orderly_end_in_a_full_file_a_missing_last_batch_is_corruption() {
    let disk = FaultDisk::new();
    let (wal, _) = script::open(&disk, &config(Verify::Full)).unwrap();
    let mut answers = script::Answers::new();
    for index in 1..=5 {
        wal.append(vec![script::entry(script::id(1, index), 9)], answers.done());
        answers.wait();
    }
    wal.close().unwrap();
    let path = script::dir().join("0000000000000001.seg");
    disk.scribble(&path, 6 * BLOCK, &[0; BLOCK]);
    for verify in [Verify::Full, Verify::Tail] {
        let seen = look(&disk, &config(verify));
        assert!(
            matches!(seen, Seen::Refused(Error::Corrupt { .. })),
            "{seen:?}"
        );
    }
}

/// Every block becomes zeros, or what it was before, or another block of the log.
fn blocks(specimen: &Specimen, _: Verify, harm: &mut dyn FnMut(&str, &dyn Fn(&FaultDisk))) {
    let mut all = Vec::new();
    for path in specimen.files() {
        let bytes = specimen.disk.read(&path).unwrap();
        for (at, block) in bytes.chunks(BLOCK).enumerate() {
            all.push((path.clone(), at, block.to_vec()));
        }
    }
    for (path, at, now) in &all {
        let mut others = vec![("zeros".to_owned(), vec![0; BLOCK])];
        for (number, older) in specimen.older(path, *at).into_iter().enumerate() {
            others.push((format!("older {number}"), older));
        }
        for (from, block, other) in &all {
            others.push((format!("block {block} of {}", name(from)), other.clone()));
        }
        for (what, other) in others.iter().filter(|(_, other)| other != now) {
            let is_zero = other.iter().all(|byte| *byte == 0);
            let kind = if is_zero { "zeros" } else { "bytes" };
            let what = format!("{kind}: {} block {at} becomes {what}", name(path));
            harm(&what, &|disk| disk.scribble(path, at * BLOCK, other));
        }
    }
}

/// The one thing that nobody can see: the last batch of a process that died, nothing behind it, and
/// its first block is as if it had never been written.
fn is_last_batch_unwritten(specimen: &Specimen, what: &str) -> bool {
    let (path, at) = specimen.last_batch();
    what.starts_with(&format!(
        "zeros: {} block {} becomes",
        name(&path),
        at / BLOCK
    ))
}

#[test]
fn a_zeroed_stale_or_copied_block_is_noticed_unless_the_last_batch_of_a_dead_process_reads_as_unwritten()
 {
    let counts = try_all(blocks, is_last_batch_unwritten);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}
