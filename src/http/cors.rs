//! From where browsers may submit: a form's origins.
//!
//! Holds: a page of another site whose origin the form does not list is refused (403) even where
//! the browser would not have asked first; a program sends no `Origin` and is not concerned.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Hall;
use super::error::{FOREIGN_ORIGIN, Problem};
use crate::forms::Form;

/// How long a browser may remember what it was told, in seconds.
const MAX_AGE_S: u32 = 600;

/// What the browser is told about the page that asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Consent {
    /// Nothing: no page asked, or a page of this very node.
    Unasked,
    /// The page may read the answer.
    Given(HeaderValue),
}

impl Consent {
    /// Judges the page that a request comes from.
    pub(super) fn of(doors: &Hall, form: &Form, headers: &HeaderMap) -> Result<Self, Problem> {
        let Some(origin) = headers.get(header::ORIGIN) else {
            return Ok(Self::Unasked);
        };
        let said = origin.to_str().unwrap_or_default();
        let public = doors.public_site.as_deref();
        if is_same_site(said, headers) || public.is_some_and(|one| one.eq_ignore_ascii_case(said)) {
            return Ok(Self::Unasked);
        }
        let allowed = &form.definition.origins;
        if allowed.iter().any(|one| one == "*") {
            return Ok(Self::Given(HeaderValue::from_static("*")));
        }
        if allowed.iter().any(|one| one.eq_ignore_ascii_case(said)) {
            return Ok(Self::Given(origin.clone()));
        }
        Err(Problem::new(
            FOREIGN_ORIGIN,
            "its origin is not among the form's origins",
        ))
    }

    /// Adds what the browser needs to show the answer to the page.
    pub(super) fn tell(&self, mut response: Response) -> Response {
        if let Self::Given(origin) = self {
            let headers = response.headers_mut();
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(
                header::ACCESS_CONTROL_EXPOSE_HEADERS,
                HeaderValue::from_static("retry-after"),
            );
            headers.append(header::VARY, HeaderValue::from_static("origin"));
        }
        response
    }
}

/// A page that this node served itself: its origin is the host that was asked. Where a proxy asks
/// by another name, `http.public_url` says so.
fn is_same_site(origin: &str, headers: &HeaderMap) -> bool {
    let host = headers
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    match (origin.split_once("://"), host) {
        (Some(("http" | "https", site)), Some(host)) => site.eq_ignore_ascii_case(host),
        _ => false,
    }
}

/// The question that a browser asks before it lets a page send JSON.
pub(super) async fn preflight(
    State(doors): State<Arc<Hall>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(form) = doors.registry.get(&name) else {
        return Problem::no_form(&name).into_response();
    };
    let consent = match Consent::of(&doors, &form, &headers) {
        Ok(consent) => consent,
        Err(problem) => return problem.into_response(),
    };
    let said = [
        (
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST"),
        ),
        (
            header::ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("accept, authorization, content-type, idempotency-key"),
        ),
        (header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from(MAX_AGE_S)),
    ];
    consent.tell((StatusCode::NO_CONTENT, said).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nodes_own_page_is_known_by_its_host() {
        let host = HeaderValue::from_static("forms.example:8080");
        let headers = HeaderMap::from_iter([(header::HOST, host)]);
        assert!(is_same_site("http://forms.example:8080", &headers));
        assert!(is_same_site("https://Forms.Example:8080", &headers));
        for foreign in [
            "http://forms.example",
            "null",
            "",
            "http://evil.example:8080",
            "file://",
        ] {
            assert!(!is_same_site(foreign, &headers), "{foreign}");
        }
    }
}
