//! Errors in Google's shapes and words.

use crate::json::put;
use serde_json::{Value, json};

use crate::schema::Violation;

/// What goes back for one call.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    Json {
        status: u16,
        body: Value,
        retry_after_s: Option<u64>,
    },
    Html {
        status: u16,
        body: String,
    },
    /// A 200 that breaks off in its middle.
    Cut(Value),
    /// The connection closes.
    Gone,
    /// Nothing, for ever.
    Never,
}

impl Answer {
    pub(crate) fn json(status: u16, body: Value) -> Self {
        Self::Json {
            status,
            body,
            retry_after_s: None,
        }
    }

    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::Json { status, .. } | Self::Html { status, .. } => *status,
            Self::Cut(_) => 200,
            Self::Gone | Self::Never => 0,
        }
    }
}

fn name(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        401 => "UNAUTHENTICATED",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        429 => "RESOURCE_EXHAUSTED",
        500 => "INTERNAL",
        501 => "UNIMPLEMENTED",
        503 => "UNAVAILABLE",
        504 => "DEADLINE_EXCEEDED",
        _ => "UNKNOWN",
    }
}

/// Google's usual words.
fn usual(status: u16) -> &'static str {
    match status {
        400 => "Request contains an invalid argument.",
        403 => "The caller does not have permission",
        404 => "Requested entity was not found.",
        409 => "The operation was aborted.",
        500 => "Internal error encountered.",
        503 => "The service is currently unavailable.",
        504 => "Deadline expired before operation could complete.",
        _ => "Unknown error.",
    }
}

pub(crate) fn error(status: u16, words: Option<&str>, details: Option<Value>) -> Answer {
    let mut error = json!({
        "code": status,
        "message": words.unwrap_or(usual(status)),
        "status": name(status),
    });
    if let Some(details) = details {
        put(&mut error, "details", vec![details]);
    }
    Answer::json(status, json!({ "error": error }))
}

pub(crate) fn info(reason: &str, metadata: &Value) -> Value {
    json!({
        "@type": "type.googleapis.com/google.rpc.ErrorInfo",
        "reason": reason,
        "domain": "googleapis.com",
        "metadata": metadata,
    })
}

pub(crate) fn violations(found: &[Violation]) -> Answer {
    let words = found.iter().map(|violation| violation.words.as_str());
    let words = words.collect::<Vec<_>>().join("\n");
    error(400, Some(&words), Some(bad_request(found)))
}

/// A mask that does not fit. Google's message is its usual one; the details say which.
pub(crate) fn stray(words: String) -> Answer {
    let field = "fields".to_owned();
    let details = bad_request(&[Violation { field, words }]);
    error(400, None, Some(details))
}

fn bad_request(found: &[Violation]) -> Value {
    let fields = found.iter().map(|violation| {
        let mut field = json!({ "description": violation.words });
        if !violation.field.is_empty() {
            put(&mut field, "field", violation.field.as_str());
        }
        field
    });
    json!({
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": fields.collect::<Value>(),
    })
}

pub(crate) fn unauthenticated(reason: &str) -> Answer {
    let words = "Request had invalid authentication credentials. Expected OAuth 2 access token, \
                 login cookie or other valid authentication credential. See \
                 https://developers.google.com/identity/sign-in/web/devconsole-project.";
    let metadata = json!({"service": "sheets.googleapis.com"});
    error(401, Some(words), Some(info(reason, &metadata)))
}

/// The page that Google's front end gives.
pub(crate) fn page(status: u16, words: &str) -> Answer {
    let body = format!(
        "<!DOCTYPE html>\n<html lang=en>\n<meta charset=utf-8>\n<title>Error {status}</title>\n\
         <p><b>{status}.</b> <ins>That\u{2019}s an error.</ins>\n<p>{words} <ins>That\u{2019}s all \
         we know.</ins>\n"
    );
    Answer::Html { status, body }
}

/// Google has this, and this fake has not: never to be taken for an answer of Google's.
pub(crate) fn gap(what: &str) -> Answer {
    error(501, Some(&format!("fake-sheets: {what}")), None)
}
