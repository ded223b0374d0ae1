//! A value as a cell.
//!
//! Holds: text is text: no formula ever runs, leading zeros and signs stay, as do more digits than a
//! spreadsheet can count with. Only a field that the task names as a number, a truth value or a date
//! becomes one, and only where it fits exactly; otherwise it stays the text that it was. What is
//! empty leaves its cell alone, so that a person's formula beside it still sees an empty cell.

use std::borrow::Cow;

use serde_json::value::RawValue;

use super::super::row::{guarded, text_of};
use super::api::Cell;
use super::settings::Kind;

/// Google's limit on one cell, in UTF-16 units.
const CELL_UNITS_MAX: usize = 50_000;
/// What is kept of a longer text: the marker needs the rest.
const KEPT_UNITS: usize = 49_900;
/// Digits that a spreadsheet's number keeps.
const DIGITS_MAX: usize = 15;
/// Days from a spreadsheet's first day, 1899-12-30, to 1970-01-01.
const EPOCH_DAYS: f64 = 25_569.0;
const DAY_MS: f64 = 86_400_000.0;

/// How values are written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Style<'a> {
    /// Text that looks like a formula begins with `'`.
    pub(super) has_guard: bool,
    /// Names the record, where a text is cut.
    pub(super) id: &'a str,
}

/// A member's value.
pub(super) fn cell(value: &RawValue, kind: Option<Kind>, style: Style<'_>) -> Cell {
    let text = match text_of(value) {
        Some(text) => text,
        None if value.get() == "null" => return Cell::Empty,
        None => Cow::Borrowed(value.get()),
    };
    let typed = match kind {
        None => None,
        Some(Kind::Number) => number(&text).map(Cell::Number),
        Some(Kind::Bool) => match &*text {
            "true" => Some(Cell::Bool(true)),
            "false" => Some(Cell::Bool(false)),
            _ => None,
        },
        Some(Kind::Date) => serial_of(&text).map(Cell::Number),
    };
    typed.unwrap_or_else(|| self::text(&text, style))
}

/// A text, as it is.
pub(super) fn text(text: &str, style: Style<'_>) -> Cell {
    let mut text = Cow::Borrowed(text);
    if text.contains('\0') {
        text = Cow::Owned(text.replace('\0', ""));
    }
    if style.has_guard {
        let safe = match guarded(&text) {
            Cow::Owned(safe) => Some(safe),
            Cow::Borrowed(_) => None,
        };
        text = safe.map_or(text, Cow::Owned);
    }
    if text.is_empty() {
        return Cell::Empty;
    }
    Cell::Text(cut(&text, style.id).unwrap_or_else(|| text.into_owned()))
}

/// What is kept of a text that no cell can hold.
fn cut(text: &str, id: &str) -> Option<String> {
    // A UTF-8 text has at least as many bytes as UTF-16 units.
    if text.len() <= CELL_UNITS_MAX || text.encode_utf16().count() <= CELL_UNITS_MAX {
        return None;
    }
    let mut units = 0;
    let kept = text.chars().take_while(|c| {
        units += c.len_utf16();
        units <= KEPT_UNITS
    });
    let kept: String = kept.collect();
    let chars = text.chars().count();
    Some(format!("{kept}…[truncated, {chars} chars, see {id}]"))
}

/// A moment as a spreadsheet counts it: days, in UTC.
pub(super) fn serial(ms: u64) -> f64 {
    // Exact up to the year 287,396.
    #[expect(
        clippy::cast_precision_loss,
        reason = "milliseconds need 42 of 53 bits"
    )]
    let ms = ms as f64;
    ms / DAY_MS + EPOCH_DAYS
}

/// A number, if it is written as JSON writes one and a spreadsheet keeps all its digits.
fn number(text: &str) -> Option<f64> {
    serde_json::from_str::<&RawValue>(text).ok()?;
    let mantissa = text.split(['e', 'E']).next()?;
    let is_number = text.starts_with(|c: char| c == '-' || c.is_ascii_digit());
    let digits = mantissa.chars().filter(char::is_ascii_digit);
    let counted = digits.skip_while(|c| *c == '0').count();
    let value: f64 = text.parse().ok()?;
    // Too small for a number is not nought.
    let is_kept = value.is_finite() && (counted == 0) == (value == 0.0);
    (is_number && counted <= DIGITS_MAX && is_kept).then_some(value)
}

/// A day, or a moment with its offset.
fn serial_of(text: &str) -> Option<f64> {
    let days = if text.len() == "2025-01-31".len() {
        let day: jiff::civil::Date = text.parse().ok()?;
        let span = day.since(jiff::civil::date(1970, 1, 1)).ok()?;
        f64::from(span.get_days()) + EPOCH_DAYS
    } else {
        let moment: jiff::Timestamp = text.parse().ok()?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "milliseconds need 48 of 53 bits"
        )]
        let ms = moment.as_millisecond() as f64;
        ms / DAY_MS + EPOCH_DAYS
    };
    // Before 1900 spreadsheets differ.
    (days >= 2.0).then_some(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STYLE: Style<'static> = Style {
        has_guard: false,
        id: "0198-id",
    };

    fn cell_of(json: &str, kind: Option<Kind>) -> Cell {
        let value: &RawValue = serde_json::from_str(json).unwrap();
        cell(value, kind, STYLE)
    }

    fn as_text(text: &str) -> Cell {
        Cell::Text(text.to_owned())
    }

    #[test]
    fn text_stays_as_it_was_sent() {
        for text in [
            "=1+1",
            "+49 171",
            "007",
            "1/2",
            "1e5",
            "'x",
            "\u{1f600}",
            "-",
            "@a",
        ] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(cell_of(&json, None), as_text(text));
        }
        assert_eq!(cell_of("1.10", None), as_text("1.10"));
        let long = "12345678901234567890123";
        assert_eq!(cell_of(long, None), as_text(long));
        assert_eq!(cell_of("true", None), as_text("true"));
        assert_eq!(cell_of(r#"{"a":[1, 2]}"#, None), as_text(r#"{"a":[1, 2]}"#));
    }

    #[test]
    fn what_is_empty_leaves_its_cell_alone() {
        for json in ["null", "\"\"", r#""\u0000""#] {
            assert_eq!(cell_of(json, None), Cell::Empty, "{json}");
        }
        assert_eq!(cell_of(r#""a\u0000b""#, None), as_text("ab"));
    }

    #[test]
    fn a_number_is_one_only_where_it_fits() {
        let kind = Some(Kind::Number);
        assert_eq!(cell_of("3.70", kind), Cell::Number(3.7));
        assert_eq!(cell_of("\"3.70\"", kind), Cell::Number(3.7));
        assert_eq!(cell_of("-0.5e3", kind), Cell::Number(-500.0));
        assert_eq!(cell_of("\"0\"", kind), Cell::Number(0.0));
        for text in [
            "007",
            "+4",
            "1,5",
            "0x1",
            "1e999",
            "1e-999",
            "NaN",
            " 1",
            "1234567890123456",
        ] {
            let json = serde_json::to_string(text).unwrap();
            assert_eq!(cell_of(&json, kind), as_text(text));
        }
        assert_eq!(cell_of("[1]", kind), as_text("[1]"));
        assert_eq!(cell_of("true", kind), as_text("true"));
    }

    #[test]
    fn truth_values_and_dates_are_what_they_say() {
        assert_eq!(cell_of("true", Some(Kind::Bool)), Cell::Bool(true));
        assert_eq!(cell_of("\"false\"", Some(Kind::Bool)), Cell::Bool(false));
        assert_eq!(cell_of("\"yes\"", Some(Kind::Bool)), as_text("yes"));
        let date = |text: &str| cell_of(&format!("\"{text}\""), Some(Kind::Date));
        assert_eq!(date("2000-01-01"), Cell::Number(36_526.0));
        assert_eq!(date("2000-01-01T12:00:00Z"), Cell::Number(36_526.5));
        assert_eq!(date("2000-01-01T12:00:00+12:00"), Cell::Number(36_526.0));
        for text in ["1850-01-01", "2000-02-30", "01.02.2000", "2000-01-01T12:00"] {
            assert_eq!(date(text), as_text(text));
        }
        assert!((serial(946_728_000_000) - 36_526.5).abs() < f64::EPSILON);
    }

    #[test]
    fn a_text_that_no_cell_can_hold_is_cut_with_a_marker() {
        let whole = "x".repeat(50_000);
        assert_eq!(text(&whole, STYLE), as_text(&whole));
        let Cell::Text(kept) = text(&"x".repeat(60_000), STYLE) else {
            panic!("no text");
        };
        assert!(
            kept.ends_with("xx…[truncated, 60000 chars, see 0198-id]"),
            "{kept}"
        );
        assert_eq!(kept.chars().filter(|c| *c == 'x').count(), KEPT_UNITS);
        // Two units each: none is cut in half.
        let Cell::Text(kept) = text(&"\u{1f600}".repeat(25_001), STYLE) else {
            panic!("no text");
        };
        assert!(kept.encode_utf16().count() <= CELL_UNITS_MAX);
        assert_eq!(
            kept.chars().filter(|c| *c == '\u{1f600}').count(),
            KEPT_UNITS / 2
        );
        assert_eq!(
            text(&"\u{1f600}".repeat(25_000), STYLE),
            as_text(&"\u{1f600}".repeat(25_000))
        );
    }

    #[test]
    fn the_guard_is_for_those_who_save_the_sheet_as_csv() {
        let style = Style {
            has_guard: true,
            ..STYLE
        };
        assert_eq!(text("=1+1", style), as_text("'=1+1"));
        assert_eq!(text("1+1", style), as_text("1+1"));
    }
}
