//! A look at the members of a body that are meant for the door itself, before it is taken.
//!
//! Holds: looking is cheap and never an error; a body that cannot be read says nothing here and is
//! refused later, in words.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Body;

/// What a client said beside the data.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peek {
    /// Where to lead the browser afterwards.
    pub next: Option<String>,
    /// The form's key.
    pub key: Option<String>,
}

/// Looks at a body.
pub fn peek(body: &Body) -> Peek {
    match body {
        Body::Json(bytes) => peek_json(bytes),
        Body::Pairs(pairs) => {
            let find = |wanted: &str| {
                let found = pairs
                    .iter()
                    .find(|(name, text)| name == wanted && !text.is_empty());
                found.map(|(_, text)| text.clone())
            };
            Peek {
                next: find("_next"),
                key: find("_key"),
            }
        }
    }
}

fn peek_json(bytes: &[u8]) -> Peek {
    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Members<'a> {
        #[serde(borrow, rename = "_next")]
        next: Option<&'a RawValue>,
        #[serde(borrow, rename = "_key")]
        key: Option<&'a RawValue>,
    }
    // Nearly no body has such a member: one walk over the bytes says so.
    let may_have = bytes
        .windows(2)
        .any(|pair| pair == b"\"_" || pair == b"\\u");
    let is_object = bytes.trim_ascii_start().starts_with(b"{"); // a list would be read by place
    if !may_have || !is_object {
        return Peek::default();
    }
    let members: Members<'_> = serde_json::from_slice(bytes).unwrap_or_default();
    let text = |raw: Option<&RawValue>| {
        let text: String = serde_json::from_str(raw?.get()).ok()?;
        (!text.is_empty()).then_some(text)
    };
    Peek {
        next: text(members.next),
        key: text(members.key),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn the_members_of_the_door_are_found_in_both_shapes() {
        let json = br#"{"a":{"_key":"no"},"_next":"https://e.com/","\u005fkey":"k","_gotcha":1}"#;
        let seen = peek(&Body::Json(Bytes::from_static(json)));
        assert_eq!(seen.next.as_deref(), Some("https://e.com/"));
        assert_eq!(seen.key.as_deref(), Some("k"));
        let pairs = [("_next", "/x"), ("_key", "")];
        let pairs = pairs
            .map(|(name, text)| (name.to_owned(), text.to_owned()))
            .to_vec();
        let seen = peek(&Body::Pairs(pairs));
        assert_eq!((seen.next.as_deref(), seen.key), (Some("/x"), None));
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for text in [
            "",
            "[\"_key\"]",
            "{\"_key\":1}",
            "{\"_key\":\"",
            "{\"_key\":\"\\ud800\"}",
        ] {
            let body = Body::Json(Bytes::copy_from_slice(text.as_bytes()));
            assert_eq!(peek(&body), Peek::default(), "{text}");
        }
    }
}
