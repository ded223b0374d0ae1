//! Ranges in A1 notation: `Tab!A2:B`, `'It''s'!1:1`, `Tab`, `C3`.

use std::ops::Range;

use super::{Book, Tab};

/// A part of a tab, cut to its grid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rect {
    pub(crate) tab: i32,
    pub(crate) rows: Range<usize>,
    pub(crate) columns: Range<usize>,
}

/// One corner: a column, a row, or both.
#[derive(Clone, Copy, Debug, Default)]
struct Corner {
    column: Option<usize>,
    row: Option<usize>,
}

impl Book {
    /// `Err`: Google's words for what is wrong with it.
    pub(crate) fn rect(&self, text: &str) -> Result<Rect, String> {
        let unable = || format!("Unable to parse range: {text}");
        let whole = |tab: &Tab| Rect {
            tab: tab.id,
            rows: 0..tab.rows.len(),
            columns: 0..tab.columns(),
        };
        if let Some(tab) = self.titled(&unquoted(text)) {
            return Ok(whole(tab));
        }
        let (tab, range) = match text.rsplit_once('!') {
            Some((title, range)) => (self.titled(&unquoted(title)), range),
            None => (self.tabs.first().map(AsRef::as_ref), text),
        };
        let tab = tab.ok_or_else(unable)?;
        let (first, last) = match range.split_once(':') {
            Some((first, last)) => (corner(first), corner(last)),
            None => (
                corner(range).filter(|c| c.column.is_some() && c.row.is_some()),
                corner(range),
            ),
        };
        let (first, last) = first.zip(last).ok_or_else(unable)?;
        let side = |a: Option<usize>, b: Option<usize>, len: usize| {
            let (start, end) = (a.or(b.map(|_| 0)).unwrap_or(0), b.map_or(len, |b| b + 1));
            (start.min(end.saturating_sub(1)), end.max(start + 1))
        };
        let (top, bottom) = side(first.row, last.row, tab.rows.len());
        let (left, right) = side(first.column, last.column, tab.columns());
        if top >= tab.rows.len() || left >= tab.columns() {
            let (rows, columns) = (tab.rows.len(), tab.columns());
            return Err(format!(
                "Range ({text}) exceeds grid limits. Max rows: {rows}, max columns: {columns}"
            ));
        }
        Ok(Rect {
            tab: tab.id,
            rows: top..bottom.min(tab.rows.len()),
            columns: left..right.min(tab.columns()),
        })
    }
}

impl Rect {
    pub(crate) fn to_text(&self, title: &str) -> String {
        let last = |range: &Range<usize>| range.end.saturating_sub(1).max(range.start);
        format!(
            "{}!{}{}:{}{}",
            quoted(title),
            letters(self.columns.start),
            self.rows.start + 1,
            letters(last(&self.columns)),
            last(&self.rows) + 1
        )
    }
}

fn unquoted(title: &str) -> String {
    let inner = title
        .strip_prefix('\'')
        .and_then(|rest| rest.strip_suffix('\''));
    inner.map_or_else(|| title.to_owned(), |inner| inner.replace("''", "'"))
}

fn quoted(title: &str) -> String {
    let is_plain = title.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        && title.chars().next().is_some_and(|c| !c.is_ascii_digit());
    if is_plain {
        title.to_owned()
    } else {
        format!("'{}'", title.replace('\'', "''"))
    }
}

fn corner(text: &str) -> Option<Corner> {
    let text = text.replace('$', "");
    let end = text.find(|c: char| !c.is_ascii_alphabetic());
    let (letters, digits) = text.split_at(end.unwrap_or(text.len()));
    if text.is_empty() || letters.len() > 3 {
        return None;
    }
    let column = letters.bytes().fold(0, |column, letter| {
        column * 26 + usize::from(letter.to_ascii_uppercase() - b'A') + 1
    });
    let row = (!digits.is_empty()).then(|| digits.parse::<usize>());
    let row = row.transpose().ok()?;
    Some(Corner {
        column: column.checked_sub(1),
        row: match row {
            Some(row) => Some(row.checked_sub(1)?),
            None => None,
        },
    })
}

/// The name of a column: `A`, `Z`, `AA`.
pub(crate) fn letters(column: usize) -> String {
    let (mut left, mut letters) = (column + 1, Vec::new());
    while left > 0 {
        left -= 1;
        letters.push(b'A' + u8::try_from(left % 26).unwrap_or(0));
        left /= 26;
    }
    letters.reverse();
    String::from_utf8_lossy(&letters).into_owned()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::{Rect, letters};
    use crate::book::{Book, Tab};

    fn rect(text: &str) -> Result<Rect, String> {
        let mut book = Book::new("b", "b");
        book.tabs.push(Arc::new(Tab::new(0, "First", 100, 30)));
        book.tabs.push(Arc::new(Tab::new(7, "It's a tab!", 10, 5)));
        book.rect(text)
    }

    #[test]
    fn every_way_to_write_a_range_is_read() {
        let first = |rows, columns| Rect {
            tab: 0,
            rows,
            columns,
        };
        assert_eq!(rect("First!A1").unwrap(), first(0..1, 0..1));
        assert_eq!(rect("A1:b2").unwrap(), first(0..2, 0..2));
        assert_eq!(rect("first!A:B").unwrap(), first(0..100, 0..2));
        assert_eq!(rect("First!1:1").unwrap(), first(0..1, 0..30));
        assert_eq!(rect("First!A2:B").unwrap(), first(1..100, 0..2));
        assert_eq!(rect("First!$AC$3:ZZ9999").unwrap(), first(2..100, 28..30));
        assert_eq!(rect("First").unwrap(), first(0..100, 0..30));
        let whole = Rect {
            tab: 7,
            rows: 0..10,
            columns: 0..5,
        };
        assert_eq!(rect("'It''s a tab!'").unwrap(), whole);
        let cell = Rect {
            tab: 7,
            rows: 1..2,
            columns: 1..2,
        };
        assert_eq!(rect("'It''s a tab!'!B2").unwrap(), cell);
    }

    #[test]
    fn what_is_no_range_is_told_in_googles_words() {
        assert_eq!(
            rect("Nope!A1").unwrap_err(),
            "Unable to parse range: Nope!A1"
        );
        for bad in [
            "First!A0",
            "First!",
            "First!ABCD1",
            "First!1A",
            "First!A1:",
            "A",
        ] {
            assert!(rect(bad).unwrap_err().starts_with("Unable"), "{bad}");
        }
        let beyond = "Range (First!A101) exceeds grid limits. Max rows: 100, max columns: 30";
        assert_eq!(rect("First!A101").unwrap_err(), beyond);
    }

    #[test]
    fn columns_are_named_as_on_the_page() {
        assert_eq!(
            [0, 25, 26, 701, 702, 18_277].map(letters),
            ["A", "Z", "AA", "ZZ", "AAA", "ZZZ"]
        );
        let rect = rect("'It''s a tab!'!B2:C").unwrap();
        assert_eq!(rect.to_text("It's a tab!"), "'It''s a tab!'!B2:C10");
        assert_eq!(rect.to_text("Sheet1"), "Sheet1!B2:C10");
    }
}
