//! The one place that prints.
//!
//! Holds: what a command was asked for goes to standard output, whole lines at a time; with
//! `--json` it is JSON and nothing else. A reader that went away (`… | head`) ends the command
//! quietly: it has all that it wanted.

use std::io::{self, Write};

use serde::Serialize;

/// Standard output, for people or for programs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Out {
    /// True for programs: JSON only.
    pub(super) is_json: bool,
}

impl Out {
    /// Prints `value` to programs, `words` to people.
    pub(super) fn either<T: Serialize>(self, value: &T, words: &str) -> io::Result<()> {
        if self.is_json {
            json(value)
        } else {
            text(words)
        }
    }
}

/// Prints `text` as it is, and a line end if it has none.
pub(super) fn text(text: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    if !text.ends_with('\n') {
        stdout.write_all(b"\n")?;
    }
    stdout.flush()
}

/// Prints bytes as they came.
pub(super) fn bytes(bytes: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()
}

/// Prints one value as one line of JSON.
pub(super) fn json<T: Serialize>(value: &T) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    bytes(&line)
}

/// One message on standard error. If that is gone too, the exit code alone has to tell.
pub(super) fn complain(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Lines up columns: the first row is the heading, each cell as wide as its column's widest.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns)
        .map(|at| {
            rows.iter()
                .filter_map(|row| row.get(at))
                .map(|cell| cell.chars().count())
                .max()
        })
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A time span as people say it.
pub(super) fn span_in_words(ms: u64) -> String {
    let (number, unit) = match ms {
        0..1_000 => return format!("{ms} ms"),
        1_000..60_000 => (ms / 1_000, "s"),
        60_000..3_600_000 => (ms / 60_000, "min"),
        3_600_000..172_800_000 => (ms / 3_600_000, "h"),
        _ => (ms / 86_400_000, "days"),
    };
    format!("{number} {unit}")
}

/// Makes text from outside safe for a terminal: control characters become visible.
pub(super) fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' && c != '\t' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_their_widest_cell() {
        let row = |cells: &[&str]| {
            cells
                .iter()
                .map(|&cell| cell.to_owned())
                .collect::<Vec<_>>()
        };
        let text = table(&[row(&["form", "head"]), row(&["student-data", "7"])]);
        assert_eq!(text, "form          head\nstudent-data  7\n");
    }

    #[test]
    fn spans_are_said_in_words() {
        assert_eq!(span_in_words(250), "250 ms");
        assert_eq!(span_in_words(61_000), "1 min");
    }

    #[test]
    fn an_escape_sequence_never_reaches_the_terminal() {
        assert_eq!(plain("a\u{1b}[31mb\r\n"), "a\u{fffd}[31mb\u{fffd}\n");
    }
}
