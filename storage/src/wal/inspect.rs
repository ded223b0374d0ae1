//! A walk over the files of a log, for people: changes nothing, holds nothing.
//!
//! Holds: it shows what is there and stops for nothing; whether damage matters is for `recovery`
//! to judge. On a running node the last batch may look unfinished: it is being written.

use std::path::Path;
use std::sync::Arc;

use super::directory::Directory;
use super::entry::{SegmentId, WalItem};
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
    for id in directory.segments()? {
        let segment = match Segment::open_to_read(&directory, id) {
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
        let (uuid, first_batch, state) = (header.uuid, header.first_batch, header.marks);
        show(WalItem::Segment {
            id,
            uuid,
            first_batch,
            state,
        });
        batches(&segment, id, show).map_err(Error::io("read", directory.path_of(id)))?;
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
        let header = match walk.peek()? {
            Found::Batch(header, _) => header,
            Found::Nothing => return Ok(()),
            Found::Other => {
                damage("no batch begins here");
                return Ok(());
            }
        };
        let records = match walk.records(&header)? {
            Ok(records) => records,
            Err(BodyFault::Damaged) => {
                damage("the body does not have the crc that its header says");
                return Ok(());
            }
            Err(BodyFault::Nonsense) => {
                damage("records that nobody wrote");
                return Ok(());
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
    }
}
