//! Pairs of a browser's form: `application/x-www-form-urlencoded` and `multipart/form-data`.
//!
//! Holds: names and values are UTF-8 or the body is refused; nothing is replaced by a guess. A
//! part that is a file is refused (415), since a record that lost its attachment would look whole.

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart};
use axum::http::{HeaderMap, HeaderValue, Request, header};

use super::error::{MALFORMED, MEDIA_TYPE, Problem};

/// Names and values in the order of the page.
pub(super) type Pairs = Vec<(String, String)>;

/// Takes `a=1&b=2` apart; `Err`: the bytes of a name or value are not UTF-8.
pub(super) fn parse_urlencoded(body: &[u8]) -> Result<Pairs, NotUtf8> {
    let pairs = body
        .split(|&byte| byte == b'&')
        .filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let mut halves = pair.splitn(2, |&byte| byte == b'=');
            let name = halves.next().unwrap_or_default();
            let value = halves.next().unwrap_or_default();
            Ok((unescape(name)?, unescape(value)?))
        })
        .collect()
}

/// Bytes that are no text.
#[derive(Debug)]
pub(super) struct NotUtf8;

impl From<NotUtf8> for Problem {
    fn from(_: NotUtf8) -> Self {
        Self::new(MALFORMED, "a name or a value is not UTF-8")
    }
}

/// `+` is a space, `%xx` a byte; a `%` that is not followed by two digits stands for itself.
fn unescape(text: &[u8]) -> Result<String, NotUtf8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [byte, after @ ..] = rest {
        rest = after;
        match (byte, after) {
            (b'+', _) => bytes.push(b' '),
            (b'%', [high, low, behind @ ..]) => {
                if let (Some(high), Some(low)) = (digit(*high), digit(*low)) {
                    bytes.push(high << 4 | low);
                    rest = behind;
                } else {
                    bytes.push(b'%');
                }
            }
            (other, _) => bytes.push(*other),
        }
    }
    String::from_utf8(bytes).map_err(|_| NotUtf8)
}

const fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// A value for a query, written so that it stands for itself.
pub(super) fn escape(text: &str) -> String {
    form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// Takes a multipart body apart.
pub(super) async fn parse_multipart(headers: &HeaderMap, body: Bytes) -> Result<Pairs, Problem> {
    let mut request = Request::new(Body::from(body));
    let kind = headers.get(header::CONTENT_TYPE).cloned();
    let kind = kind.unwrap_or_else(|| HeaderValue::from_static("multipart/form-data"));
    request.headers_mut().insert(header::CONTENT_TYPE, kind);
    let mut parts = Multipart::from_request(request, &())
        .await
        .map_err(|_| no_multipart())?;
    let mut pairs = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|_| no_multipart())? {
        if part.file_name().is_some() {
            return Err(Problem::new(MEDIA_TYPE, "files are not taken"));
        }
        let Some(name) = part.name().map(str::to_owned) else {
            return Err(Problem::new(MALFORMED, "a part of the body has no name"));
        };
        let value = part.bytes().await.map_err(|_| no_multipart())?;
        let value = String::from_utf8(value.into()).map_err(|_| NotUtf8)?;
        pairs.push((name, value));
    }
    Ok(pairs)
}

fn no_multipart() -> Problem {
    Problem::new(
        MALFORMED,
        "the body is not multipart/form-data as its header describes it",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::StatusCode;
    use proptest::prelude::*;

    fn pairs(all: &[(&str, &str)]) -> Pairs {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn pairs_keep_their_order_and_their_repeats() {
        let parsed = parse_urlencoded(b"a=1&b=x+y%26&a=%C3%A4&&c&d=50%").unwrap();
        let expected = [
            ("a", "1"),
            ("b", "x y&"),
            ("a", "\u{e4}"),
            ("c", ""),
            ("d", "50%"),
        ];
        assert_eq!(parsed, pairs(&expected));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_not_replaced() {
        assert!(parse_urlencoded(b"a=%ff").is_err());
        assert!(parse_urlencoded(b"\xff=1").is_err());
    }

    proptest! {
        #[test]
        fn what_a_browser_writes_is_read_back(all in prop::collection::vec((".+", ".*"), 0..8)) {
            let mut writer = form_urlencoded::Serializer::new(String::new());
            writer.extend_pairs(&all);
            prop_assert_eq!(parse_urlencoded(writer.finish().as_bytes()).unwrap(), all);
        }
    }

    fn multipart_headers() -> HeaderMap {
        let kind = HeaderValue::from_static("multipart/form-data; boundary=XX");
        HeaderMap::from_iter([(header::CONTENT_TYPE, kind)])
    }

    #[tokio::test]
    async fn multipart_gives_the_same_pairs() {
        let body = "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n2\r\n\
                    --XX\r\nContent-Disposition: form-data; name=\"b\"\r\n\r\n\r\n--XX--\r\n";
        let parsed = parse_multipart(&multipart_headers(), Bytes::from(body))
            .await
            .unwrap();
        assert_eq!(parsed, pairs(&[("a", "1\r\n2"), ("b", "")]));
    }

    #[tokio::test]
    async fn a_file_and_a_broken_body_are_refused() {
        for (part, status) in [
            (
                "--XX\r\nContent-Disposition: form-data; name=\"a\"; filename=\"x.exe\"\r\n\r\n1\r\n--XX--\r\n",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
            ),
            (
                "--XX\r\nContent-Disposition: form-data\r\n\r\n1\r\n--XX--\r\n",
                StatusCode::BAD_REQUEST,
            ),
            (
                "--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1",
                StatusCode::BAD_REQUEST,
            ),
            ("nothing of the kind", StatusCode::BAD_REQUEST),
        ] {
            let problem = parse_multipart(&multipart_headers(), Bytes::from(part))
                .await
                .unwrap_err();
            assert_eq!(problem.status(), status, "{part}");
        }
        let body = Bytes::from(
            &b"--XX\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\xff\r\n--XX--\r\n"[..],
        );
        let problem = parse_multipart(&multipart_headers(), body)
            .await
            .unwrap_err();
        assert_eq!(problem.status(), StatusCode::BAD_REQUEST);
    }
}
