//! The stored body: the document as it was validated, as compact JSON.
//!
//! Holds: what the parser reads from the new text is exactly the tree. Numbers, and all that
//! sanitising left alone, keep the letters that the client sent: a tree holds a number as 64 bits,
//! and 20 digits would not come back out of it. So the text is edited, not written anew.

use serde_json::{Map, Value};

use super::scan::string_end;

/// Takes white space out from between the tokens.
pub(super) fn compacted(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        let end = if *byte == b'"' {
            string_end(text, at)
        } else {
            at
        };
        if !is_space(*byte) {
            out.extend_from_slice(text.get(at..=end).unwrap_or_default());
        }
        at = end + 1;
    }
    out
}

/// The text with each string that differs from the tree's replaced, and each top-level member left
/// out that the tree has no longer. The tree must have been parsed from this text.
pub(super) fn edited(text: &[u8], tree: &Map<String, Value>) -> Vec<u8> {
    let mut edit = Edit {
        text,
        at: 0,
        out: Vec::with_capacity(text.len()),
    };
    match edit.object(tree) {
        Some(()) => edit.out,
        // Only a tree of another text leads here; the tree is what was validated.
        None => serde_json::to_vec(tree).unwrap_or_default(),
    }
}

struct Edit<'a> {
    text: &'a [u8],
    at: usize,
    out: Vec<u8>,
}

impl<'a> Edit<'a> {
    /// The object that begins here; `None`: the tree is of another text.
    fn object(&mut self, members: &Map<String, Value>) -> Option<()> {
        self.expect(b'{')?;
        self.out.push(b'{');
        let mut is_first = true;
        while self.next()? != b'}' {
            let name = self.token();
            self.expect(b':')?;
            let Some(member) = members.get(name_of(name)?.as_ref()) else {
                self.skip()?;
                self.comma();
                continue;
            };
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            self.out.extend_from_slice(name);
            self.out.push(b':');
            self.value(member)?;
            self.comma();
        }
        self.expect(b'}')?;
        self.out.push(b'}');
        Some(())
    }

    fn list(&mut self, items: &[Value]) -> Option<()> {
        self.expect(b'[')?;
        self.out.push(b'[');
        for (at, item) in items.iter().enumerate() {
            if at > 0 {
                self.out.push(b',');
            }
            self.value(item)?;
            self.comma();
        }
        self.expect(b']')?;
        self.out.push(b']');
        Some(())
    }

    fn value(&mut self, value: &Value) -> Option<()> {
        match value {
            Value::Object(members) => self.object(members),
            Value::Array(items) => self.list(items),
            Value::String(held) => {
                let token = self.token();
                let is_same = matches!(name_of(token), Some(text) if text == *held);
                if is_same {
                    self.out.extend_from_slice(token);
                    return Some(());
                }
                serde_json::to_writer(&mut self.out, held).ok()
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {
                let token = self.token();
                self.out.extend_from_slice(token);
                Some(())
            }
        }
    }

    /// Walks over a value that is left out.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.next()? {
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' => {
                    depth = depth.checked_sub(1)?;
                    self.at += 1;
                }
                b',' | b':' => self.at += 1,
                _ => drop(self.token()),
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    /// A string, number or word, as it stands in the text.
    fn token(&mut self) -> &'a [u8] {
        self.space();
        let start = self.at;
        let rest = self.text.get(start..).unwrap_or_default();
        let is_end = |byte: &u8| is_space(*byte) || b",:]}".contains(byte);
        self.at = match rest.first() {
            Some(b'"') => string_end(self.text, start) + 1,
            _ => start + rest.iter().position(is_end).unwrap_or(rest.len()),
        };
        self.text.get(start..self.at).unwrap_or_default()
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then(|| self.at += 1)
    }

    fn comma(&mut self) {
        if self.next() == Some(b',') {
            self.at += 1;
        }
    }

    fn next(&mut self) -> Option<u8> {
        self.space();
        self.text.get(self.at).copied()
    }

    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(|byte| is_space(*byte)) {
            self.at += 1;
        }
    }
}

/// What a string's token says.
fn name_of(token: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    let inner = token.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if inner.contains(&b'\\') {
        return serde_json::from_slice::<String>(token)
            .ok()
            .map(std::borrow::Cow::Owned);
    }
    std::str::from_utf8(inner)
        .ok()
        .map(std::borrow::Cow::Borrowed)
}

const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::forms::sanitise_document;
    use crate::ingest::tests::any_json;
    use crate::ingest::tree::tree;

    #[test]
    fn numbers_keep_their_letters() {
        let text =
            br#" { "a" : 12345678901234567890123 , "b":[1.10, "x "], "_key":{"k":[1,"}"]} } "#;
        let mut parsed = tree(text).unwrap();
        let members = parsed.as_object_mut().unwrap();
        members.shift_remove("_key");
        members.insert("b".to_owned(), json!([1.1, "x"]));
        let new = edited(text, members);
        assert_eq!(
            String::from_utf8(new).unwrap(),
            r#"{"a":12345678901234567890123,"b":[1.10,"x"]}"#
        );
        assert_eq!(
            compacted(br#" {"a b" : "c \" d" } "#),
            br#"{"a b":"c \" d"}"#
        );
    }

    proptest! {
        #[test]
        fn the_new_text_says_what_the_tree_says(
            inner in any_json(), is_pretty: bool, is_first: bool, dropped in any_json(),
        ) {
            let mut whole = json!({"x": inner, "plain\"name": [" trim me "]});
            let at = if is_first { 0 } else { 2 };
            whole.as_object_mut().unwrap().shift_insert(at, "_next".to_owned(), dropped);
            let text = if is_pretty {
                serde_json::to_vec_pretty(&whole).unwrap()
            } else {
                serde_json::to_vec(&whole).unwrap()
            };
            prop_assert_eq!(tree(&compacted(&text)).unwrap(), tree(&text).unwrap());

            let mut changed = tree(&text).unwrap();
            changed.as_object_mut().unwrap().shift_remove("_next");
            sanitise_document(&mut changed, &BTreeMap::new());
            let new = edited(&text, changed.as_object().unwrap());
            let read: Value = serde_json::from_slice(&new).unwrap();
            prop_assert_eq!(&read, &changed);
            prop_assert_eq!(compacted(&new), new);
        }
    }
}
