//! A sheet's rows with columns added behind them.
//!
//! Holds: the old rows are copied byte for byte; each gets one comma a column more, in front of
//! its line end. Columns are only added at the end, so no cell is ever taken apart. Memory is one
//! buffer, whatever the sheet's size.

use std::io;

use super::sidecar::wide;
use crate::files::OpenFile;

const BUFFER_BYTES: usize = 64 << 10;

/// A new file that is being written from its beginning, with the crc of what is in it.
pub(super) struct Fresh {
    pub(super) file: Box<dyn OpenFile>,
    buffer: Vec<u8>,
    written: u64,
    hasher: crc32fast::Hasher,
}

impl Fresh {
    pub(super) fn new(file: Box<dyn OpenFile>) -> Self {
        Self {
            file,
            buffer: Vec::with_capacity(BUFFER_BYTES),
            written: 0,
            hasher: crc32fast::Hasher::new(),
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER_BYTES {
            self.write_out()
        } else {
            Ok(())
        }
    }

    fn write_out(&mut self) -> io::Result<()> {
        self.file.write_at(&self.buffer, self.written)?;
        self.hasher.update(&self.buffer);
        self.written += wide(self.buffer.len());
        self.buffer.clear();
        Ok(())
    }

    /// Syncs; returns the file, its length and its crc.
    pub(super) fn finish(mut self) -> io::Result<(Box<dyn OpenFile>, u64, u32)> {
        self.write_out()?;
        self.file.sync()?;
        Ok((self.file, self.written, self.hasher.finalize()))
    }
}

/// Copies the rows of `old` up to `length`, its header left out, with `added` empty cells behind
/// each.
pub(super) fn copy_rows(
    old: &dyn OpenFile,
    length: u64,
    added: usize,
    fresh: &mut Fresh,
) -> io::Result<()> {
    let end = [vec![b','; added], vec![b'\n']].concat();
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut at = 0;
    let mut is_quoted = false;
    let mut is_header = true;
    while at < length {
        let room = usize::try_from(length - at)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let Some(part) = buffer.get_mut(..room) else {
            break;
        };
        let read = old.read_at(part, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += wide(read);
        let mut rest = part.get(..read).unwrap_or_default();
        // Runs between the two bytes that matter are copied whole. A doubled quote inside a quoted
        // cell flips twice, and so changes nothing.
        while let Some(stop) = rest.iter().position(|byte| matches!(byte, b'"' | b'\n')) {
            let (run, from_stop) = rest.split_at(stop);
            let (byte, after) = from_stop.split_at(1);
            rest = after;
            let is_end = byte == b"\n" && !is_quoted;
            is_quoted ^= byte == b"\"";
            if !is_header {
                fresh.push(run)?;
                fresh.push(if is_end { &end } else { byte })?;
            }
            is_header &= !is_end;
        }
        if !is_header {
            fresh.push(rest)?;
        }
    }
    Ok(())
}
