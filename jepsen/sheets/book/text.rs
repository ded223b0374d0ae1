//! How values are shown: plain numbers, and dates by the tokens `y M d h m s`.
//!
//! Inferred, not documented: how a number without a format is shown (Google's width-dependent
//! "automatic" is drawn as the shortest decimal), and every pattern but the common ones for dates.

use serde_json::{Number, Value};

use super::Book;
use super::row::{Cell, Content};

const DAYS_TO_1970: f64 = 25_569.0; // from 1899-12-30
const DAY_SECONDS: f64 = 86_400.0;

pub(crate) fn number(number: f64) -> String {
    number.to_string()
}

/// A whole number has no point.
pub(crate) fn json_number(number: f64) -> Value {
    let is_whole = number.fract() == 0.0 && number.abs() < 9e15;
    if is_whole && let Ok(whole) = format!("{number:.0}").parse::<i64>() {
        return whole.into();
    }
    Number::from_f64(number).map_or(Value::Null, Value::Number)
}

impl Book {
    /// As a person sees the cell.
    pub(crate) fn formatted(&self, cell: Cell<'_>) -> String {
        match cell.content {
            Content::Blank => String::new(),
            Content::Text(text) => text.to_owned(),
            Content::Bool(flag) => flag.to_string().to_uppercase(),
            Content::Number(number) => {
                let date = self.date_pattern(cell.style);
                date.map_or_else(|| self::number(number), |pattern| moment(number, &pattern))
            }
            // Nothing is ever evaluated here: a formula in a cell is what the tests look for.
            Content::Formula(_) => "#NAME?".to_owned(),
        }
    }

    /// The pattern of a style that shows numbers as dates or times.
    pub(crate) fn date_pattern(&self, style: u32) -> Option<String> {
        let format = self
            .style_at(style)?
            .pointer("/userEnteredFormat/numberFormat")?;
        let usual = match format.get("type")?.as_str()? {
            "DATE" => "yyyy-mm-dd",
            "TIME" => "hh:mm:ss",
            "DATE_TIME" => "yyyy-mm-dd hh:mm:ss",
            _ => return None,
        };
        let pattern = format.get("pattern").and_then(Value::as_str);
        Some(pattern.unwrap_or(usual).to_owned())
    }
}

/// A serial number as a date. `m` means minutes behind `h` or before `s`, else months.
fn moment(serial: f64, pattern: &str) -> String {
    let millis = ((serial - DAYS_TO_1970) * DAY_SECONDS * 1000.0).round();
    let Ok(millis) = format!("{millis:.0}").parse::<i64>() else {
        return number(serial);
    };
    let (days, of_day) = (millis.div_euclid(86_400_000), millis.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (of_day / 3_600_000, of_day / 60_000 % 60, of_day / 1000 % 60);
    let (mut out, mut rest, mut is_time) = (String::new(), pattern, false);
    while let Some(first) = rest.chars().next() {
        let same = rest.find(|c| c != first).unwrap_or(rest.len());
        let (token, after) = rest.split_at(same);
        let two = |number: i64| {
            if token.len() > 1 {
                format!("{number:02}")
            } else {
                number.to_string()
            }
        };
        let before_seconds = after.trim_start_matches([':', ' ']).starts_with('s');
        let shown = match first {
            'y' if token.len() == 2 => format!("{:02}", year % 100),
            'y' => format!("{year:04}"),
            'm' if is_time || before_seconds => two(minute),
            'M' | 'm' => two(month),
            'd' => two(day),
            'h' | 'H' => two(hour),
            's' => two(second),
            '0' => format!("{:03}", of_day % 1000)
                .chars()
                .take(token.len())
                .collect(),
            _ => token.replace(['"', '\\'], ""),
        };
        out.push_str(&shown);
        is_time = match first {
            'h' | 'H' => true,
            'y' | 'd' | 's' => false,
            _ => is_time,
        };
        rest = after;
    }
    out
}

/// Year, month and day of a day counted from 1970, by the proleptic Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468; // from 0000-03-01
    let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 {
        from_march + 3
    } else {
        from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::{json_number, moment, number};

    #[test]
    fn serial_numbers_are_dates() {
        assert_eq!(moment(2.5, "yyyy-mm-dd hh:mm:ss"), "1900-01-01 12:00:00");
        assert_eq!(moment(46_352.5, "d.m.yy h:mm"), "26.11.26 12:00");
        assert_eq!(moment(46_352.999_999_999_9, "yyyy-MM-dd"), "2026-11-27");
        assert_eq!(
            moment(0.0, "yyyy-mm-dd hh:mm:ss.000"),
            "1899-12-30 00:00:00.000"
        );
        assert_eq!(moment(60.0, "yyyy-mm-dd"), "1900-02-28");
    }

    #[test]
    fn whole_numbers_have_no_point() {
        assert_eq!([1.0, -0.5, 1e5].map(number), ["1", "-0.5", "100000"]);
        assert_eq!(json_number(3.0).to_string(), "3");
        assert_eq!(json_number(0.25).to_string(), "0.25");
    }
}
