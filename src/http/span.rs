//! A span of time in words, as clients write it: `30s`, `500ms`, `2m`.

use std::time::Duration;

/// Reads a whole number with one of the units `ms`, `s`, `m`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u32 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(u64::from(number))),
        "s" => Some(Duration::from_secs(u64::from(number))),
        "m" => Some(Duration::from_secs(u64::from(number) * 60)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_needs_a_number_and_a_unit() {
        assert_eq!(parse("30s"), Some(Duration::from_secs(30)));
        assert_eq!(parse("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(parse("2m"), Some(Duration::from_mins(2)));
        for bad in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "1h",
            "99999999999s",
            "1 s",
            "ß",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
