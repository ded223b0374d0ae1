//! A walk over the files of a log, for people: changes nothing, holds nothing.
//!
//! Holds: it shows what is there and stops for nothing; whether damage matters is for `recovery`
//! to judge. On a running node the last batch may look unfinished: it is being written.

use std::path::Path;
use std::sync::Arc;

use super::directory::Directory;
use super::entry::{HardInfo, SegmentId, WalItem};
use super::hardstate;
use super::record::Record;
use super::segment::{BodyFault, Found, Segment, Walk};
use crate::disk::Disk;
use crate::error::Error;

/// Shows every header, batch and record of the log in `dir` to `show`, oldest first.
pub fn inspect(
    disk: Arc<dyn Disk>,
    dir: &Path,
    show: &mut dyn FnMut(WalItem),
) -> Result<(), Error> {
    let directory = Directory::new(disk, dir);
    if let Some(hard) = hardstate::peek(directory.disk(), dir)? {
        show(WalItem::HardState(HardInfo {
            generation: hard.generation,
            vote: hard.vote,
            policy: hard.policy,
            floor: hard.floor,
            clean_end: hard.clean_end,
        }));
    }
    for id in directory.segments()? {
        let segment = match Segment::open(&directory, id) {
            Ok(segment) => segment,
            Err(error @ (Error::Corrupt { .. } | Error::Version { .. })) => {
                show(WalItem::Damage {
                    segment: id,
                    offset: 0,
                    what: error.to_string(),
                });
                continue;
            }
            Err(error) => return Err(error),
        };
        let header = &segment.header;
        show(WalItem::Segment {
            id,
            uuid: header.uuid,
            first_batch: header.first_batch,
            state: header.marks,
            version: header.version,
            is_recycled: header.is_recycled,
            len: header.segment_len,
        });
        batches(&segment, id, show).map_err(Error::io("read", directory.path_of(id)))?;
        if let Some(footer) = segment.footer() {
            show(WalItem::Footer {
                end: footer.end,
                points: footer.points.len(),
            });
        }
    }
    Ok(())
}

fn batches(segment: &Segment, id: SegmentId, show: &mut dyn FnMut(WalItem)) -> std::io::Result<()> {
    let mut walk = Walk::new(segment)?;
    loop {
        let offset = walk.offset;
        let mut damage = |what: &str| {
            show(WalItem::Damage {
                segment: id,
                offset,
                what: what.to_owned(),
            });
        };
        let fault = match walk.peek()? {
            Found::Nothing => return Ok(()),
            Found::Other => Err("no batch begins here"),
            Found::Batch(header, _) => match walk.records(&header)? {
                Ok(records) => Ok((header, records)),
                Err(BodyFault::Damaged) => {
                    Err("the body does not have the crc that its header says")
                }
                Err(BodyFault::Nonsense) => Err("records that nobody wrote"),
            },
        };
        let (header, records) = match fault {
            Ok(whole) => whole,
            Err(what) => {
                damage(what);
                match walk.find_later(&|_| true)? {
                    Some((later, _)) => walk.offset = later,
                    None => return Ok(()),
                }
                continue;
            }
        };
        show(WalItem::Batch {
            seq: header.seq,
            offset,
            records: header.record_count,
            bytes: header.body_len,
            synced_upto: header.synced_upto,
        });
        for record in records {
            show(item(record));
        }
        walk.pass(&header);
    }
}

fn item(record: Record) -> WalItem {
    match record {
        Record::Entry(entry) => WalItem::Entry(entry),
        Record::Vote(vote) => WalItem::Vote(vote),
        Record::TruncateAfter(keep) => WalItem::TruncateAfter(keep),
        Record::PurgeUpto(upto) => WalItem::Purge(upto),
        Record::Committed(id) => WalItem::Committed(id),
        Record::Repaired(entry) => WalItem::Repaired(entry),
    }
}
