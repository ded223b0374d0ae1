//! What kind of content a client sends, and what it would like to get.

use axum::http::{HeaderMap, header};

/// A media type without its parameters, in lower case; empty where none is said.
pub(super) fn content_type(headers: &HeaderMap) -> String {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    essence(value.unwrap_or_default())
}

/// A parameter of the content type, e.g. `charset`.
pub(super) fn content_parameter(headers: &HeaderMap, name: &str) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let (_, parameters) = value.split_once(';')?;
    parameters.split(';').find_map(|parameter| {
        let (found, value) = parameter.split_once('=')?;
        found
            .trim()
            .eq_ignore_ascii_case(name)
            .then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    })
}

/// Whether the client names HTML among what it accepts: browsers do, programs do not.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    ranges(headers).any(|(range, quality)| range == "text/html" && quality > 0)
}

/// Whether the client names JSON among what it accepts.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let json = ["application/json", "application/problem+json"];
    ranges(headers).any(|(range, quality)| json.contains(&range.as_str()) && quality > 0)
}

/// The offer that the client likes best; of equal ones the first. `None`: it takes none of them.
pub(super) fn best<'a>(headers: &HeaderMap, offers: &[&'a str]) -> Option<&'a str> {
    if !headers.contains_key(header::ACCEPT) {
        return offers.first().copied();
    }
    let accepted: Vec<_> = ranges(headers).collect();
    let mut best: Option<(&str, u16)> = None;
    for offer in offers {
        let quality = quality_of(offer, &accepted);
        if quality > best.map_or(0, |(_, quality)| quality) {
            best = Some((offer, quality));
        }
    }
    best.map(|(offer, _)| offer)
}

/// The most exact range decides: the type itself, then `type/*`, then `*/*`.
fn quality_of(offer: &str, accepted: &[(String, u16)]) -> u16 {
    let group = offer.split('/').next().unwrap_or_default();
    let exact = accepted.iter().find(|(range, _)| range == offer);
    let by_group = || {
        accepted
            .iter()
            .find(|(range, _)| range.strip_suffix("/*") == Some(group))
    };
    let any = || accepted.iter().find(|(range, _)| range == "*/*");
    exact
        .or_else(by_group)
        .or_else(any)
        .map_or(0, |(_, quality)| *quality)
}

/// Media ranges with their quality in thousandths.
fn ranges(headers: &HeaderMap) -> impl Iterator<Item = (String, u16)> {
    let values = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .map(|range| (essence(range), quality(range)))
}

fn quality(range: &str) -> u16 {
    let said = range
        .split(';')
        .skip(1)
        .find_map(|parameter| parameter.trim().strip_prefix("q="));
    let Some(said) = said else { return 1000 };
    let (whole, part) = said.trim().split_once('.').unwrap_or((said.trim(), ""));
    let thousandths = format!("{part:0<3}");
    match (
        whole,
        thousandths.get(..3).and_then(|digits| digits.parse().ok()),
    ) {
        ("0", Some(thousandths)) => thousandths,
        _ => 1000,
    }
}

fn essence(value: &str) -> String {
    value
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn accepting(value: &'static str) -> HeaderMap {
        HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(value))])
    }

    const OFFERS: &[&str] = &["application/json", "application/x-ndjson", "text/csv"];

    #[test]
    fn the_best_offer_is_the_one_that_the_client_likes_most() {
        for (accept, expected) in [
            ("*/*", Some("application/json")),
            ("text/csv", Some("text/csv")),
            ("text/*;q=0.5, application/x-ndjson;q=0.4", Some("text/csv")),
            (
                "text/csv;q=0.1, application/x-ndjson;q=0.25",
                Some("application/x-ndjson"),
            ),
            ("application/json;q=0, */*", Some("application/x-ndjson")),
            ("image/png", None),
            ("", None),
        ] {
            assert_eq!(best(&accepting(accept), OFFERS), expected, "{accept}");
        }
        assert_eq!(best(&HeaderMap::new(), OFFERS), Some("application/json"));
    }

    #[test]
    fn a_browser_is_known_by_html() {
        assert!(wants_page(&accepting(
            "text/html,application/xhtml+xml,*/*;q=0.8"
        )));
        assert!(!wants_page(&accepting("*/*")));
        assert!(wants_json(&accepting("Application/JSON")));
        assert!(!wants_json(&accepting("*/*")));
    }

    #[test]
    fn content_types_lose_their_parameters() {
        let value = HeaderValue::from_static("Text/CSV; Charset=\"UTF-8\"; header=present");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, value)]);
        assert_eq!(content_type(&headers), "text/csv");
        assert_eq!(
            content_parameter(&headers, "charset").as_deref(),
            Some("utf-8")
        );
        assert_eq!(content_parameter(&headers, "boundary"), None);
    }
}
