//! Who may: the admin's token, and a form's key.
//!
//! Holds: a token is compared by its SHA-256 in constant time, so neither its length nor its
//! beginning shows in the time that a refusal takes; it is never logged and never answered.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::Hall;
use super::error::{Problem, UNAUTHORIZED};
use crate::forms::Form;

/// The token of an `Authorization: Bearer` field.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// In front of every route that is the admin's.
pub(super) async fn admin_only(
    State(doors): State<Arc<Hall>>,
    request: Request,
    next: Next,
) -> Response {
    match bearer(request.headers()) {
        Some(token) if is_admin(&doors, token) => next.run(request).await,
        Some(_) => refusal("the token is not the admin's").into_response(),
        None => refusal("send Authorization: Bearer with the admin's token").into_response(),
    }
}

/// Whether these credentials may submit on the form. `field` is the body's `_key`.
pub(super) fn may_submit(
    doors: &Hall,
    form: &Form,
    headers: &HeaderMap,
    field: Option<&str>,
) -> Result<(), Problem> {
    if !form.definition.key_required {
        return Ok(());
    }
    let given = [bearer(headers), field];
    if given
        .iter()
        .flatten()
        .any(|key| is_form_key(form, key) || is_admin(doors, key))
    {
        return Ok(());
    }
    Err(refusal(
        "the form needs its key: Authorization: Bearer, or the field _key",
    ))
}

fn is_admin(doors: &Hall, token: &str) -> bool {
    doors
        .view
        .admin_hash()
        .is_some_and(|hash| is_preimage(token, &hash))
}

fn is_form_key(form: &Form, key: &str) -> bool {
    let hash = form.definition.key_hash.as_deref().and_then(parse_hash);
    hash.is_some_and(|hash| is_preimage(key, &hash))
}

fn is_preimage(token: &str, hash: &[u8; 32]) -> bool {
    let found: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    found.ct_eq(hash).into()
}

/// Reads `sha256:` and 64 hex digits.
pub(super) fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digits = text.strip_prefix("sha256:")?;
    if digits.len() != 64 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut hash = [0; 32];
    for (at, byte) in hash.iter_mut().enumerate() {
        *byte = u8::from_str_radix(digits.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(hash)
}

fn refusal(detail: &str) -> Problem {
    Problem::new(UNAUTHORIZED, detail).with_header(
        header::WWW_AUTHENTICATE,
        HeaderValue::from_static("Bearer realm=\"formspool\""),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_is_found_whatever_the_case_of_its_scheme() {
        let with = |value| HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
        let token = |value| bearer(&with(HeaderValue::from_static(value))).map(str::to_owned);
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("bearer  abc ").as_deref(), Some("abc"));
        assert_eq!(token("Basic abc"), None);
        assert_eq!(token("abc"), None);
    }

    #[test]
    fn a_key_fits_its_hash_alone() {
        // echo -n secret | sha256sum
        let hash = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        let hash = parse_hash(hash).unwrap();
        assert!(is_preimage("secret", &hash));
        assert!(!is_preimage("secret ", &hash));
        assert!(!is_preimage("", &hash));
        for bad in ["sha256:", "2bb8", "sha256:zz", "md5:00"] {
            assert_eq!(parse_hash(bad), None);
        }
    }
}
