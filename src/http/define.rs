//! Defining over HTTP, alike for forms and tasks: the condition, the body, what came of it.
//!
//! Holds: a definition is checked as a whole, and every fault named, before it is proposed; whether
//! it may replace the present one is decided by `apply` alone (`If-Match`, `If-None-Match`).

use axum::body::Bytes;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use storage::Expect;

use super::body::{self, Room};
use super::error::{BAD_DEFINITION, BAD_PARAMETER, CHANGED, MEDIA_TYPE, PRECONDITION, Problem};
use super::{Hall, accept, json};
use crate::forms::{DEFINITION_BYTES_MAX, Fault};

/// A definition that people wrote has spaces and line breaks.
const BODY_BYTES_MAX: usize = 4 * DEFINITION_BYTES_MAX;

/// A definition as it arrived.
pub(super) struct Sent {
    pub(super) expect: Expect,
    pub(super) bytes: Bytes,
    /// Given back when the answer is known.
    _room: Room,
}

/// Reads a definition, and what the client believes to be there.
pub(super) async fn read(doors: &Hall, request: Request) -> Result<Sent, Problem> {
    let (parts, body) = request.into_parts();
    let expect = expect(&parts.headers)?;
    if accept::content_type(&parts.headers) != "application/json" {
        return Err(Problem::new(MEDIA_TYPE, "a definition is application/json").closing());
    }
    let mut room = Room::new(&doors.body_room);
    let (headers, config) = (&parts.headers, &doors.config);
    let bytes = body::read(headers, body, BODY_BYTES_MAX, config, &mut room).await?;
    Ok(Sent {
        expect,
        bytes,
        _room: room,
    })
}

/// A definition that cannot be one, with each thing to mend.
pub(super) fn bad(problems: Vec<String>) -> Problem {
    let fault = |detail: String| Fault::new("", detail);
    Problem::new(BAD_DEFINITION, format!("{} to mend", problems.len()))
        .with_errors(problems.into_iter().map(fault).collect())
}

/// What is wrong with a definition's name where the address has another one.
pub(super) fn misnamed(name: &str, address: &str) -> Option<String> {
    (name != address).then(|| format!("name is {name:?}, the address says {address:?}"))
}

/// What the client believes to be there.
pub(super) fn expect(headers: &HeaderMap) -> Result<Expect, Problem> {
    let said = |name| headers.get(name).map(HeaderValue::as_bytes);
    match (said(header::IF_MATCH), said(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Expect::Any),
        (None, Some(b"*")) => Ok(Expect::Absent),
        (Some(tag), None) => parse_tag(tag)
            .map(Expect::Version)
            .ok_or_else(bad_condition),
        _ => Err(bad_condition()),
    }
}

fn bad_condition() -> Problem {
    let detail = "say If-Match: \"<version>\" or If-None-Match: *, or neither";
    Problem::new(BAD_PARAMETER, detail)
}

fn parse_tag(tag: &[u8]) -> Option<u32> {
    std::str::from_utf8(tag)
        .ok()?
        .strip_prefix('"')?
        .strip_suffix('"')?
        .parse()
        .ok()
}

/// What came of it: `shape` tells it, at this version.
pub(super) fn changed(shape: &impl Serialize, version: u32, is_new: bool) -> Response {
    let status = if is_new {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    tagged(json(status, shape), version)
}

/// Something else is there than the client believes.
pub(super) fn conflict(expect: Expect, version: u32) -> Problem {
    let kind = if matches!(expect, Expect::Version(_)) {
        PRECONDITION
    } else {
        CHANGED
    };
    let detail = match version {
        0 => "there is none, or it is retired".to_owned(),
        version => format!("the present version is {version}"),
    };
    Problem::new(kind, detail).with_version(version)
}

/// An answer that names the version which it shows.
pub(super) fn tagged(mut response: Response, version: u32) -> Response {
    let tag = HeaderValue::from_str(&format!("\"{version}\""));
    // A number is always a header's value.
    response
        .headers_mut()
        .extend(tag.ok().map(|tag| (header::ETAG, tag)));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_a_version_or_nothing_there() {
        let with = |pairs: &[(header::HeaderName, &'static str)]| {
            let pairs = pairs.iter().cloned();
            expect(
                &pairs
                    .map(|(name, value)| (name, HeaderValue::from_static(value)))
                    .collect(),
            )
        };
        assert_eq!(with(&[]).unwrap(), Expect::Any);
        assert_eq!(
            with(&[(header::IF_MATCH, "\"3\"")]).unwrap(),
            Expect::Version(3)
        );
        assert_eq!(
            with(&[(header::IF_NONE_MATCH, "*")]).unwrap(),
            Expect::Absent
        );
        for bad in [
            &[(header::IF_MATCH, "3")][..],
            &[(header::IF_MATCH, "*")],
            &[(header::IF_MATCH, "W/\"3\"")],
            &[(header::IF_NONE_MATCH, "\"3\"")],
            &[(header::IF_MATCH, "\"3\""), (header::IF_NONE_MATCH, "*")],
        ] {
            assert!(with(bad).is_err(), "{bad:?}");
        }
    }
}
