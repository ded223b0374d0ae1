//! The one place where an error becomes a status: RFC 9457 problem documents.
//!
//! Holds: every kind of problem stands once in the table below, with its status, its name (the end
//! of `type`) and its title; details are for people and never repeat a secret. 5xx says "come
//! again" only with `Retry-After`, and only where coming again can help.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, Response, StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use storage::{Position, Reaction, Seq};

use super::Declined;
use crate::forms::Fault;
use crate::ingest::Refused;

/// What every problem of one kind has in common.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    status: StatusCode,
    name: &'static str,
    title: &'static str,
}

macro_rules! kinds {
    ($($constant:ident = $status:ident, $name:literal, $title:literal;)*) => {
        $(pub(super) const $constant: &Kind =
            &Kind { status: StatusCode::$status, name: $name, title: $title };)*
        /// Every kind, for the description of the API.
        pub(super) const KINDS: &[&Kind] = &[$($constant),*];
    };
}

kinds! {
    MALFORMED = BAD_REQUEST, "malformed", "The request cannot be read";
    TOO_DEEP = BAD_REQUEST, "too-deep", "The document is nested too deeply";
    BAD_KEY = BAD_REQUEST, "bad-idempotency-key", "The idempotency key cannot be used";
    BAD_TARGET = BAD_REQUEST, "foreign-next", "The form does not allow this target";
    BAD_PARAMETER = BAD_REQUEST, "bad-parameter", "A parameter cannot be used";
    UNAUTHORIZED = UNAUTHORIZED, "unauthorized", "A token is needed";
    FOREIGN_ORIGIN = FORBIDDEN, "foreign-origin", "The form does not take submissions from this site";
    NOT_FOUND = NOT_FOUND, "not-found", "There is nothing here";
    NO_FORM = NOT_FOUND, "no-such-form", "There is no form of this name";
    METHOD = METHOD_NOT_ALLOWED, "method-not-allowed", "This address does not take this method";
    NOT_ACCEPTABLE = NOT_ACCEPTABLE, "not-acceptable", "No representation that the client accepts";
    TOO_SLOW = REQUEST_TIMEOUT, "too-slow", "The request took too long to arrive";
    RETIRED = CONFLICT, "form-retired", "The form takes no more submissions";
    CHANGED = CONFLICT, "changed-meanwhile", "Somebody else changed it";
    LAGS = CONFLICT, "not-all-delivered", "The task has something left to deliver";
    CANNOT = CONFLICT, "cannot-be-done", "The cluster cannot do this as things are";
    PRECONDITION = PRECONDITION_FAILED, "precondition-failed", "It is not at the expected version";
    FORGOTTEN = GONE, "below-the-horizon", "The log has let go of these records";
    TOO_LARGE = PAYLOAD_TOO_LARGE, "too-large", "The request is too large";
    URI_TOO_LONG = URI_TOO_LONG, "address-too-long", "The address is too long";
    MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", "This kind of content is not taken";
    INVALID = UNPROCESSABLE_ENTITY, "invalid", "The submission does not fit the form";
    TOO_MANY_FIELDS = UNPROCESSABLE_ENTITY, "too-many-fields", "The submission has too many fields";
    KEY_REUSED = UNPROCESSABLE_ENTITY, "key-reused", "The key was used with another body";
    BAD_DEFINITION = UNPROCESSABLE_ENTITY, "bad-definition", "The definition cannot be used";
    HEADER_TOO_LARGE = REQUEST_HEADER_FIELDS_TOO_LARGE, "header-too-large", "The header is too large";
    BROKEN = INTERNAL_SERVER_ERROR, "internal", "The node failed at this";
    BUSY = SERVICE_UNAVAILABLE, "busy", "The node has no room for more right now";
    DISK_FULL = INSUFFICIENT_STORAGE, "disk-full", "The disk is full: nothing more is taken for now";
    KEYS_FULL = SERVICE_UNAVAILABLE, "keys-full", "No room for new idempotency keys right now";
    NO_QUORUM = SERVICE_UNAVAILABLE, "no-quorum", "No majority of the nodes can be reached";
    UNKNOWN = SERVICE_UNAVAILABLE, "outcome-unknown", "It is not known whether it was accepted";
    NOT_YET = SERVICE_UNAVAILABLE, "older-member", "A node still runs an older release";
    DRAINING = SERVICE_UNAVAILABLE, "draining", "The node is stopping";
}

impl Kind {
    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    /// What `type` says.
    pub(super) fn address(&self) -> String {
        format!("/problems/{}", self.name)
    }
}

/// A refusal, as the client sees it.
#[derive(Debug)]
pub struct Problem {
    kind: &'static Kind,
    detail: String,
    errors: Vec<Fault>,
    /// Most have none.
    extra: Box<Extra>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// Members beyond those of RFC 9457, each present only where it says something.
#[derive(Debug, Default, Serialize)]
struct Extra {
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_position: Option<String>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    #[serde(skip_serializing_if = "str::is_empty")]
    detail: &'a str,
    #[serde(skip_serializing_if = "<[Fault]>::is_empty")]
    errors: &'a [Fault],
    #[serde(flatten)]
    extra: &'a Extra,
}

impl Problem {
    pub(super) fn new(kind: &'static Kind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            errors: Vec::new(),
            extra: Box::default(),
            headers: Vec::new(),
        }
    }

    pub(super) fn with_errors(mut self, errors: Vec<Fault>) -> Self {
        self.errors = errors;
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    pub(super) fn with_version(mut self, version: u32) -> Self {
        self.extra.version = Some(version);
        self
    }

    /// The line of a stream that this answers.
    pub(super) fn at_line(mut self, line: u32) -> Self {
        self.extra.line = Some(line);
        self
    }

    /// What was asked for is below the horizon; from here on there is something.
    fn forgotten(oldest: Seq) -> Self {
        let detail = format!("the oldest record that is still there is {oldest}");
        let mut problem = Self::new(FORGOTTEN, detail);
        problem.extra.oldest_seq = Some(oldest.0);
        problem
    }

    /// A cursor below the horizon; from this one on there is something.
    pub(super) fn let_go(oldest: Position) -> Self {
        let detail = format!(
            "the log has let go of what comes behind it; the oldest cursor from which all is still \
             there is {oldest}, which \"beginning\" means too"
        );
        let mut problem = Self::new(FORGOTTEN, detail);
        problem.extra.oldest_position = Some(oldest.to_string());
        problem
    }

    /// Heals as soon as all members run this release.
    pub(super) fn not_yet() -> Self {
        let detail = "every node has to run a release that knows this; the leader looks every few \
                      seconds (`formspool cluster status` shows who is missing)";
        Self::new(NOT_YET, detail).retry_after(5)
    }

    fn retry_after(self, seconds: u32) -> Self {
        self.with_header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    pub(super) fn no_form(name: &str) -> Self {
        Self::new(NO_FORM, format!("no form is named {name:?}"))
    }

    pub(super) fn too_large(max: u64) -> Self {
        Self::new(TOO_LARGE, format!("at most {max} bytes"))
    }

    pub(super) fn too_slow() -> Self {
        Self::new(TOO_SLOW, "the body did not arrive in time").closing()
    }

    /// Also for the operators' listener, which has no doors.
    pub(super) fn slow_header() -> Self {
        Self::new(TOO_SLOW, "the header did not arrive in time")
    }

    pub(super) fn no_room(what: &str) -> Self {
        Self::new(BUSY, what).retry_after(1)
    }

    /// A receipt that another node gave, on one that cannot find out whether it is behind.
    pub(super) fn being_copied() -> Self {
        let detail = "this node has no such receipt yet, and reaches no other that would know; what \
                      was accepted is being copied here: look again in a moment";
        Self::new(NO_QUORUM, detail).retry_after(2)
    }

    /// To bytes that are not a request, by the status that the HTTP library chose.
    pub(super) fn not_http(status: u16) -> Self {
        match status {
            431 => Self::new(HEADER_TOO_LARGE, "request line and header fields together"),
            414 => Self::new(URI_TOO_LONG, ""),
            _ => Self::new(MALFORMED, "these bytes are no request of HTTP 1.1"),
        }
    }

    /// After this answer the rest of the request is not worth reading.
    pub(super) fn closing(self) -> Self {
        self.with_header(header::CONNECTION, HeaderValue::from_static("close"))
    }

    pub(super) fn status(&self) -> StatusCode {
        self.kind.status
    }

    pub(super) fn is(&self, kind: &'static Kind) -> bool {
        self.kind == kind
    }

    pub(super) fn title(&self) -> &'static str {
        self.kind.title
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) fn errors(&self) -> &[Fault] {
        &self.errors
    }

    /// What an answer of another shape (a page) must carry too.
    pub(super) fn headers(&self) -> &[(HeaderName, HeaderValue)] {
        &self.headers
    }

    /// The document, on one line.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let document = Document {
            r#type: self.kind.address(),
            title: self.kind.title,
            status: self.kind.status.as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            extra: &self.extra,
        };
        // Strings and numbers have no way to fail.
        serde_json::to_vec(&document).unwrap_or_default()
    }

    /// A whole HTTP answer after which the connection is closed, for where there is no request.
    pub(super) fn to_response_bytes(&self) -> bytes::Bytes {
        let body = self.to_json();
        let mut answer = format!(
            "HTTP/1.1 {} {}\r\ncontent-type: application/problem+json\r\ncontent-length: {}\r\n\
             connection: close\r\n",
            self.kind.status.as_u16(),
            self.kind.status.canonical_reason().unwrap_or_default(),
            body.len()
        );
        for (name, value) in &self.headers {
            if name != header::CONNECTION {
                for part in [
                    name.as_str(),
                    ": ",
                    value.to_str().unwrap_or_default(),
                    "\r\n",
                ] {
                    answer.push_str(part);
                }
            }
        }
        answer.push_str("\r\n");
        let mut answer = answer.into_bytes();
        answer.extend_from_slice(&body);
        answer.into()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> axum::response::Response {
        let mut response = Response::new(Body::from(self.to_json()));
        *response.status_mut() = self.kind.status;
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        for (name, value) in self.headers {
            headers.insert(name, value);
        }
        response
    }
}

impl From<Declined> for Problem {
    fn from(declined: Declined) -> Self {
        match declined {
            Declined::Cannot(why) => Self::new(CANNOT, why),
            Declined::Refused(refused) => refused.into(),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Malformed { detail, faults } => {
                Self::new(MALFORMED, detail).with_errors(faults)
            }
            Refused::TooDeep { max } => Self::new(TOO_DEEP, format!("at most {max} levels")),
            Refused::TooLarge { max } => Self::too_large(max as u64),
            Refused::TooManyFields { max } => Self::new(
                TOO_MANY_FIELDS,
                format!("at most {max} fields, over all levels"),
            ),
            Refused::Invalid(faults) => {
                let detail = match faults.len() {
                    1 => "one thing is wrong".to_owned(),
                    many => format!("{many} things are wrong"),
                };
                Self::new(INVALID, detail).with_errors(faults)
            }
            Refused::KeyReused => Self::new(
                KEY_REUSED,
                "a submission with this key and another body is there already",
            ),
            Refused::BadKey(detail) => Self::new(BAD_KEY, detail),
            Refused::FormRetired => Self::new(RETIRED, "it was retired"),
            Refused::FormUnknown => Self::new(RETIRED, "the form changed meanwhile; send it again"),
            Refused::Overloaded { retry_after_s } => {
                Self::new(BUSY, "too much is under way").retry_after(retry_after_s)
            }
            Refused::DiskFull { detail } => Self::new(DISK_FULL, detail).retry_after(10),
            Refused::KeysFull => Self::new(
                KEYS_FULL,
                "a new key would push out one younger than ten minutes",
            )
            .retry_after(60),
            Refused::NoQuorum => Self::new(NO_QUORUM, "").retry_after(2),
            Refused::Unknown => Self::new(
                UNKNOWN,
                "send it again with the same idempotency key to learn it, without doubling it",
            )
            .retry_after(1),
            Refused::Draining => Self::new(DRAINING, "").retry_after(2),
        }
    }
}

impl From<storage::Error> for Problem {
    fn from(error: storage::Error) -> Self {
        if let storage::Error::Forgotten { oldest } = error {
            return Self::forgotten(oldest);
        }
        match error.reaction() {
            Reaction::Reject => Self::new(FORGOTTEN, error.to_string()),
            Reaction::Retry => Self::new(DRAINING, error.to_string()).retry_after(2),
            Reaction::Stop => {
                tracing::error!(%error, "cannot read");
                Self::new(BROKEN, "see the node's log")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_names_each_fault_by_pointer() {
        let problem = Problem::from(Refused::Invalid(vec![Fault::new("/email", "is required")]));
        assert_eq!(problem.status(), StatusCode::UNPROCESSABLE_ENTITY);
        let document: serde_json::Value = serde_json::from_slice(&problem.to_json()).unwrap();
        assert_eq!(document["type"], "/problems/invalid");
        assert_eq!(document["status"], 422);
        assert_eq!(document["errors"][0]["pointer"], "/email");
        assert_eq!(document["errors"][0]["detail"], "is required");
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = KINDS.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), KINDS.len());
    }

    #[test]
    fn come_again_is_said_where_it_helps() {
        let again = [
            Refused::Overloaded { retry_after_s: 3 },
            Refused::KeysFull,
            Refused::NoQuorum,
            Refused::Unknown,
            Refused::Draining,
        ];
        for refused in again {
            let problem = Problem::from(refused);
            assert_eq!(problem.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(
                problem
                    .headers
                    .iter()
                    .any(|(name, _)| name == header::RETRY_AFTER)
            );
        }
    }

    #[test]
    fn a_raw_answer_says_its_length_and_closes() {
        let answer = Problem::no_room("").to_response_bytes();
        let text = std::str::from_utf8(&answer).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(
            head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{head}"
        );
        assert!(head.contains("\r\nconnection: close"), "{head}");
        assert!(head.contains("\r\nretry-after: 1"), "{head}");
        assert!(
            head.contains(&format!("\r\ncontent-length: {}", body.len())),
            "{head}"
        );
    }
}
