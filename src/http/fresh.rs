//! How old what is read here may be: said with every plain reading, and mended where it matters.
//!
//! Holds: the applied index that an answer names was reached before the answer was read, so it never
//! promises too much. What is not here may only not be here *yet*: before a client who was told of it
//! by another node hears "there is none", this node asks whether it is behind.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;

use super::Hall;
use super::error::Problem;
use super::query::{Parameter, Query};
use crate::forms::Form;

/// Such questions at a time: anybody can ask for what does not exist, and the leader hears of each.
pub(super) const DOUBTS_MAX: usize = 16;
/// Milliseconds since this node last heard of the leader.
const AGE: HeaderName = HeaderName::from_static("formspool-age-ms");
/// The last entry that what was read shows.
const APPLIED: HeaderName = HeaderName::from_static("formspool-applied");
/// The parameter of readings that may be asked to be up to date.
pub(super) const CONSISTENT: Parameter = (
    "consistent",
    "true: shows all that was acknowledged anywhere before the request, or is answered 503; false \
     (default): what this node has, and its age in formspool-age-ms",
);

/// Around every reading of the admin's: how old it may be. An answer that says so itself is left as
/// it is.
pub(super) async fn aged(State(doors): State<Arc<Hall>>, request: Request, next: Next) -> Response {
    let before = Reading::begin(&doors);
    let mut response = next.run(request).await;
    before.tell(response.headers_mut());
    response
}

/// What is known before something is read.
pub(super) struct Reading {
    age: Option<Duration>,
    applied: u64,
}

impl Reading {
    fn begin(doors: &Hall) -> Self {
        Self {
            age: (doors.freshness.age)(),
            applied: (doors.freshness.applied)().0,
        }
    }

    /// As the query wants it: up to date, or as it is.
    pub(super) async fn of(doors: &Hall, query: &Query) -> Result<Self, Problem> {
        if !query.value(CONSISTENT.0, false)? {
            return Ok(Self::begin(doors));
        }
        (doors.freshness.catch_up)().await?;
        Ok(Self {
            age: Some(Duration::ZERO),
            applied: (doors.freshness.applied)().0,
        })
    }

    pub(super) fn tell(self, headers: &mut HeaderMap) {
        if headers.contains_key(APPLIED) {
            return;
        }
        headers.insert(APPLIED, HeaderValue::from(self.applied));
        if let Some(age) = self.age {
            let age_ms = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
            headers.insert(AGE, HeaderValue::from(age_ms));
        }
    }
}

impl Hall {
    /// Where something was looked for and is not here: brings this node up to date, so that it can be
    /// looked for again. False: it cannot be told whether it is behind.
    pub(super) async fn is_brought_up(&self) -> bool {
        match self.doubt_room.try_acquire() {
            Ok(_turn) => (self.freshness.catch_up)().await.is_ok(),
            Err(_) => false,
        }
    }

    /// The form of that name, wherever it was defined.
    pub(super) async fn form(&self, name: &str) -> Option<Arc<Form>> {
        match self.registry.get(name) {
            Some(form) => Some(form),
            None if self.is_brought_up().await => self.registry.get(name),
            None => None,
        }
    }
}
