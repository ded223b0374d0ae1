//! One sheet: rows appended once, in order, whatever happens between two syncs.
//!
//! ```text
//! file     ├ header ─┼ rows ──────────────┼ rows of the last batch ─┼ tail: not marked ─┤
//! mark     ├ length, crc of all of it ────────────────────────────┤
//!                              ├ crc of the last 64 KiB ───────────┤
//! ```
//! A batch: look that the file is as it was left; write the rows; sync; mark; sync the mark.
//! Holds:
//! - the file up to the mark is durable before the mark is. So after a crash at any point the tail
//!   is cut, and its rows come again: none is lost and none stands twice;
//! - bytes up to the mark are never changed in place. A sheet with more columns is written under
//!   another name and renamed over; the sidecar knows both until then;
//! - a sheet that is not as it was left (shorter, edited, replaced, removed) is somebody's work: it
//!   is kept under another name, and ours is written anew from the beginning. So is a sheet that
//!   holds rows of a log that lost them.

use std::sync::Arc;

use super::super::row::Row;
use super::cells::Columns;
use super::names::Names;
use super::ours::{Fault, Fit, Setup, Tail, io_fault, last_crc};
use super::sidecar::{Mark, Sidecar, crc_of, wide};
use super::widen::{Fresh, copy_rows};
use crate::files::{How, OpenFile};
use crate::mutants::{self, Mutant};
use crate::record::{Position, Record};
use crate::sink::Batch;

#[derive(Debug)]
pub(super) struct Sheet {
    setup: Arc<Setup>,
    columns: Columns,
    /// `None` until the first batch: there is no file, or only one that the first rename replaces.
    page: Option<Page>,
}

/// The file, and how far it is ours.
#[derive(Debug)]
struct Page {
    file: Box<dyn OpenFile>,
    sidecar: Sidecar,
    mark: Mark,
}

impl Sheet {
    /// Opens what there is: cuts the tail that no mark covers, keeps aside what is not ours.
    pub(super) fn open(setup: Arc<Setup>, tail: Tail) -> Result<Self, Fault> {
        let Setup { files, names, head } = &*setup;
        files
            .create_dir_all(&names.dir)
            .map_err(io_fault("make", &names.dir))?;
        files
            .remove(&names.csv_new)
            .map_err(io_fault("remove", &names.csv_new))?;
        let known = Sidecar::read(&**files, names).map_err(io_fault("read", &names.sidecar))?;
        let stat = files
            .stat(&names.csv)
            .map_err(io_fault("look at", &names.csv))?;
        if let Some(known) = &known
            && known.head.is_later_than(head)
        {
            let incarnation = known.head.incarnation;
            return Err(Fault::Later {
                path: names.csv.clone(),
                incarnation,
            });
        }
        let mut what = "it is not of this life of the task";
        if let (Some(known), Some(stat)) = (&known, stat)
            && known.head == *head
        {
            for mark in &known.marks {
                let (file, end) = match setup.fit(stat, mark, tail)? {
                    Fit::Whole(file) => (file, stat.len),
                    Fit::WithTail(file, end) => (file, end),
                    Fit::No(why) => {
                        what = why;
                        continue;
                    }
                };
                return Self::resume(&setup, mark, file, end);
            }
        }
        if stat.is_some_and(|stat| stat.len > 0) {
            return Self::set_aside(setup, what);
        }
        if stat.is_none() && known.is_some_and(|known| known.head == *head) {
            tracing::warn!(path = %names.csv.display(), "sheet is gone; it is written anew");
        }
        Ok(Self::new(setup))
    }

    /// Keeps the file under another name. The sidecar stays, and speaks of no file: whoever opens
    /// the sheet before its next row begins it anew too.
    pub(super) fn set_aside(setup: Arc<Setup>, what: &str) -> Result<Self, Fault> {
        setup.keep_aside(what)?;
        Ok(Self::new(setup))
    }

    fn new(setup: Arc<Setup>) -> Self {
        Self {
            setup,
            columns: Columns::default(),
            page: None,
        }
    }

    fn resume(
        setup: &Arc<Setup>,
        mark: &Mark,
        mut file: Box<dyn OpenFile>,
        end: u64,
    ) -> Result<Self, Fault> {
        let Setup { files, names, head } = &**setup;
        let mut mark = mark.clone();
        if end > mark.length {
            if mutants::is(Mutant::SkipCut) {
                mark.length = end;
                let crc = crc_of(&*file, 0, end).map_err(io_fault("read", &names.csv))?;
                mark.crc = crc.unwrap_or_default();
            } else {
                file.set_len(mark.length)
                    .map_err(io_fault("cut", &names.csv))?;
                file.sync().map_err(io_fault("sync", &names.csv))?;
                let bytes = end - mark.length;
                tracing::info!(path = %names.csv.display(), bytes, "unmarked rows cut");
            }
        }
        let left = file.stat().map_err(io_fault("look at", &names.csv))?;
        mark.modified_ns = left.modified_ns;
        mark.inode = left.inode;
        if std::mem::take(&mut mark.is_swap) {
            // The rename may be in the cache only; from here on no older mark speaks for the file.
            setup.sync_dir()?;
        }
        let sidecar = Sidecar::create(&**files, names, head, &mark)
            .map_err(io_fault("write", &names.sidecar))?;
        let columns = Columns::new(mark.columns.take().unwrap_or_default());
        Ok(Self {
            setup: Arc::clone(setup),
            columns,
            page: Some(Page {
                file,
                sidecar,
                mark,
            }),
        })
    }

    /// Everything up to here stands in the sheet, durably; `None` while it holds no record.
    pub(super) fn position(&self) -> Option<Position> {
        self.page.as_ref().and_then(|page| page.mark.position)
    }

    /// The last row's id.
    pub(super) fn id(&self) -> Option<&String> {
        self.page.as_ref().and_then(|page| page.mark.id.as_ref())
    }

    /// Adds a batch's rows. When it returns `Ok`, they and their mark are durable. After an error
    /// this value is not used any more.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), Fault> {
        let Some(last) = batch.records.last() else {
            return Ok(());
        };
        assert!(
            self.position() < Some(last.position),
            "the sheet is past this batch"
        );
        let rows: Vec<Row<'_>> = batch.records.iter().map(Row::of).collect();
        let columns = self.columns.widened(&batch.fields, &rows);
        if let Some(page) = &self.page {
            self.setup.check_untouched(page.mark.left())?;
        }
        let is_wider = columns.list().len() > self.columns.list().len();
        let page = match self.page.take() {
            Some(page) if !is_wider => page,
            page => self.setup.swap(page, self.columns.list().len(), &columns)?,
        };
        self.columns = columns;
        let bytes = self
            .rows(batch, &rows)
            .map_err(|error| io_fault("write", &self.setup.names.csv)(error.into()))?;
        self.page = Some(self.setup.write(page, &bytes, last)?);
        Ok(())
    }

    fn rows(&self, batch: &Batch, rows: &[Row<'_>]) -> ::csv::Result<Vec<u8>> {
        let room = Vec::with_capacity(batch.bytes() + 128 * batch.records.len());
        let mut out = ::csv::Writer::from_writer(room);
        let mut order: Vec<usize> = (0..rows.len()).collect();
        if mutants::is(Mutant::SwapRows) && order.len() > 1 {
            order.swap(0, 1);
        }
        for at in order {
            let (Some(record), Some(row)) = (batch.records.get(at), rows.get(at)) else {
                continue;
            };
            let is_picked = record.seq.is_multiple_of(50);
            if !(is_picked && mutants::is(Mutant::DropRow)) {
                self.columns.write_row(record, row, &mut out)?;
            }
            if is_picked && mutants::is(Mutant::DoubleRow) {
                self.columns.write_row(record, row, &mut out)?;
            }
        }
        out.into_inner().map_err(|error| error.into_error().into())
    }
}

impl Setup {
    /// A sheet with `columns` in the place of `page`'s, with the same rows; a first one if there
    /// is no page. Crash-safe: until the rename is durable, the mark before the swap holds.
    fn swap(
        &self,
        page: Option<Page>,
        old_columns: usize,
        columns: &Columns,
    ) -> Result<Page, Fault> {
        let Names {
            csv,
            csv_new,
            sidecar: sidecar_path,
            ..
        } = &self.names;
        let failed = |op| io_fault(op, csv_new);
        let file = self
            .files
            .open(csv_new, How::Create)
            .map_err(failed("make"))?;
        let mut fresh = Fresh::new(file);
        let mut header = ::csv::Writer::from_writer(Vec::new());
        columns
            .write_header(&mut header)
            .map_err(|error| failed("write")(error.into()))?;
        let header = header
            .into_inner()
            .map_err(|error| failed("write")(error.into_error()))?;
        fresh.push(&header).map_err(failed("write"))?;
        if let Some(page) = &page {
            let added = columns.list().len() - old_columns;
            copy_rows(&*page.file, page.mark.length, added, &mut fresh).map_err(failed("write"))?;
        }
        let (file, length, crc) = fresh.finish().map_err(failed("write"))?;
        let stat = file.stat().map_err(failed("look at"))?;
        let mut mark = Mark {
            position: page.as_ref().and_then(|page| page.mark.position),
            seq: page.as_ref().map_or(0, |page| page.mark.seq),
            id: page.as_ref().and_then(|page| page.mark.id.clone()),
            length,
            crc,
            last_crc: last_crc(&*file, csv_new, length)?,
            modified_ns: stat.modified_ns,
            inode: stat.inode,
            is_swap: true,
            columns: Some(columns.list().to_vec()),
        };
        let marked = |error| io_fault("write", sidecar_path)(error);
        let sidecar = if let Some(mut page) = page {
            page.sidecar
                .append(&*self.files, &self.names, &mark)
                .map_err(marked)?;
            // Somebody may have written to it while it was copied.
            self.check_untouched(page.mark.left())?;
            page.sidecar
        } else {
            self.check_free()?;
            Sidecar::create(&*self.files, &self.names, &self.head, &mark).map_err(marked)?
        };
        self.files
            .rename(csv_new, csv)
            .map_err(io_fault("rename", csv_new))?;
        self.sync_dir()?;
        mark.columns = None;
        Ok(Page {
            file,
            sidecar,
            mark,
        })
    }

    /// Writes rows behind the mark, then the mark.
    fn write(&self, mut page: Page, rows: &[u8], last: &Record) -> Result<Page, Fault> {
        let path = &self.names.csv;
        page.file
            .write_at(rows, page.mark.length)
            .map_err(io_fault("write", path))?;
        page.file.sync().map_err(io_fault("sync", path))?;
        let length = page.mark.length + wide(rows.len());
        let stat = page.file.stat().map_err(io_fault("look at", path))?;
        // Another file may have taken the name, or rows of somebody else's stand behind ours.
        let named = self.files.stat(path).map_err(io_fault("look at", path))?;
        if stat.len != length || named.is_none_or(|named| named.inode != stat.inode) {
            let what = "it was changed while rows were written";
            return Err(Fault::Differs {
                path: path.clone(),
                what,
            });
        }
        let mut hasher = crc32fast::Hasher::new_with_initial(page.mark.crc);
        hasher.update(rows);
        let mark = Mark {
            position: Some(last.position),
            seq: last.seq,
            id: Some(last.id.clone()),
            length,
            crc: hasher.finalize(),
            last_crc: last_crc(&*page.file, path, length)?,
            modified_ns: stat.modified_ns,
            inode: stat.inode,
            is_swap: false,
            columns: None,
        };
        page.sidecar
            .append(&*self.files, &self.names, &mark)
            .map_err(io_fault("write", &self.names.sidecar))?;
        page.mark = mark;
        Ok(page)
    }
}
