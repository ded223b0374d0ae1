//! Sanitising: what happens to text before it is validated and stored.
//!
//! Always: control characters go (all but TAB and LF; CRLF is LF after that), Unicode becomes NFC,
//! both ends are trimmed. Holds: doing it twice changes nothing more; names of members are never
//! touched; text that needs nothing is neither copied nor allocated for, which is nearly all text.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::Value;
use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::definition::Rule;

/// Sanitises every text of a document in place; says whether any changed.
pub(crate) fn document(document: &mut Value, rules: &BTreeMap<String, Vec<Rule>>) -> bool {
    let Some(members) = document.as_object_mut() else {
        return value(document, &[]);
    };
    let mut is_changed = false;
    for (name, member) in members.iter_mut() {
        let rules = rules.get(name).map_or(&[][..], Vec::as_slice);
        is_changed |= value(member, rules);
    }
    is_changed
}

/// Sanitises one text. Borrowed: it was fine.
pub(crate) fn text<'a>(text: &'a str, rules: &[Rule]) -> Cow<'a, str> {
    if is_clean(text) && rules.iter().all(|rule| is_satisfied(*rule, text)) {
        return Cow::Borrowed(text);
    }
    let mut now = pass(text, rules);
    // A later step can make work for an earlier one: `<ſ>` is no tag until it is upper case.
    for _ in 0..PASSES_MAX {
        let next = pass(&now, rules);
        if next == now {
            break;
        }
        now = next;
    }
    if now == text {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(now)
    }
}

fn value(member: &mut Value, rules: &[Rule]) -> bool {
    match member {
        Value::String(held) => match text(held, rules) {
            Cow::Borrowed(_) => false,
            Cow::Owned(new) => {
                *held = new;
                true
            }
        },
        Value::Array(items) => values(items.iter_mut(), rules),
        Value::Object(members) => values(members.values_mut(), rules),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

fn values<'a>(members: impl Iterator<Item = &'a mut Value>, rules: &[Rule]) -> bool {
    let mut is_changed = false;
    for member in members {
        is_changed |= value(member, rules);
    }
    is_changed
}

/// Whether the default steps would change nothing. Certain when true.
fn is_clean(text: &str) -> bool {
    let is_plain = |byte: &u8| matches!(byte, 0x20..=0x7e | b'\t' | b'\n');
    let is_kept = text.as_bytes().iter().all(is_plain)
        || (!text.chars().any(is_dropped) && is_nfc_quick(text.chars()) == IsNormalized::Yes);
    let has_edges = text.starts_with(char::is_whitespace) || text.ends_with(char::is_whitespace);
    is_kept && !has_edges
}

/// Whether a rule would change nothing in a clean text. Certain when true.
fn is_satisfied(rule: Rule, text: &str) -> bool {
    let bytes = text.as_bytes();
    match rule {
        Rule::CollapseSpaces => {
            text.is_ascii()
                && !bytes.iter().any(|byte| matches!(byte, b'\t' | b'\n'))
                && !bytes.windows(2).any(|pair| pair == b"  ")
        }
        Rule::StripHtml => !bytes.contains(&b'<'),
        Rule::Lowercase => text.is_ascii() && !bytes.iter().any(u8::is_ascii_uppercase),
        Rule::Uppercase => text.is_ascii() && !bytes.iter().any(u8::is_ascii_lowercase),
    }
}

fn pass(text: &str, rules: &[Rule]) -> String {
    // CR is dropped wherever it stands, so CRLF is LF.
    let mut now: String = text
        .chars()
        .filter(|letter| !is_dropped(*letter))
        .nfc()
        .collect();
    for rule in rules {
        now = match rule {
            Rule::StripHtml => strip_tags(&now),
            Rule::CollapseSpaces => collapse(&now),
            Rule::Lowercase => now.to_lowercase(),
            Rule::Uppercase => now.to_uppercase(),
        };
    }
    if !rules.is_empty() {
        now = now.nfc().collect();
    }
    now.trim().to_owned()
}

fn is_dropped(letter: char) -> bool {
    letter.is_control() && letter != '\t' && letter != '\n'
}

fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split_whitespace() {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Takes tags out. Each `>` closes the nearest open `<`, so what taking one tag out puts together
/// (`<<b>b>`) is seen as well, in one walk.
fn strip_tags(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut open = Vec::new();
    for letter in text.chars() {
        if letter == '<' {
            open.push(out.len());
        }
        let start = if letter == '>' { open.pop() } else { None };
        let begins_tag = |start: usize| {
            let next = out.as_bytes().get(start + 1);
            next.is_some_and(|byte| byte.is_ascii_alphabetic() || b"/!?".contains(byte))
        };
        match start.filter(|start| begins_tag(*start)) {
            Some(start) => out.truncate(start),
            None => out.push(letter),
        }
    }
    out
}

/// Real text is done after the first; the bound is for text made to be odd.
const PASSES_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn check(from: &str, rules: &[Rule], to: &str) {
        assert_eq!(text(from, rules), to, "{from:?}");
    }

    #[test]
    fn the_default_trims_composes_and_drops_controls() {
        check("  Ada\u{7}\r\nLovelace\t\u{a0} ", &[], "Ada\nLovelace");
        check("e\u{301}", &[], "\u{e9}");
        check("a\u{85}b\u{9b}c\u{7f}", &[], "abc");
        check("tab\there", &[], "tab\there");
    }

    #[test]
    fn text_that_is_fine_is_not_copied() {
        for fine in ["", "Ada Lovelace", "Zoë 北京", "two\nlines"] {
            assert!(matches!(text(fine, &[]), Cow::Borrowed(_)), "{fine:?}");
        }
        assert!(matches!(text("ada", &[Rule::Lowercase]), Cow::Borrowed(_)));
        assert!(matches!(
            text("a b", &[Rule::CollapseSpaces]),
            Cow::Borrowed(_)
        ));
    }

    #[test]
    fn rules_come_on_top() {
        check("  a \n b  ", &[Rule::CollapseSpaces], "a b");
        check("Ada@Example.COM", &[Rule::Lowercase], "ada@example.com");
        check("ab1", &[Rule::Uppercase], "AB1");
        check("<\u{17f}>x", &[Rule::StripHtml, Rule::Uppercase], "X");
        check("x<b>y</b> 1 < 2 > 1", &[Rule::StripHtml], "xy 1 < 2 > 1");
        check(
            "<scr<script>ipt>alert(1)</scr</script>ipt>",
            &[Rule::StripHtml],
            "alert(1)",
        );
    }

    #[test]
    fn a_field_has_its_own_rules_and_names_stay() {
        let rules = BTreeMap::from([("a".to_owned(), vec![Rule::Uppercase])]);
        let mut tree = json!({"a": ["x", {"k ": "y"}], "b": " x ", "c": 1});
        assert!(document(&mut tree, &rules));
        assert_eq!(tree, json!({"a": ["X", {"k ": "Y"}], "b": "x", "c": 1}));
        assert!(!document(&mut tree, &rules));
    }

    fn any_rules() -> impl Strategy<Value = Vec<Rule>> {
        let rule = prop_oneof![
            Just(Rule::CollapseSpaces),
            Just(Rule::StripHtml),
            Just(Rule::Lowercase),
            Just(Rule::Uppercase),
        ];
        proptest::collection::vec(rule, 0..3)
    }

    proptest! {
        #[test]
        fn text_that_looks_fine_is_fine(from in "[a-zA-Z <>é\u{301}\u{a0}\t]{0,6}", rules in any_rules()) {
            if let Cow::Borrowed(_) = text(&from, &rules) {
                prop_assert_eq!(pass(&from, &rules), from);
            }
        }

        #[test]
        fn sanitising_twice_is_sanitising_once(
            from in "(\\PC|[<>/!a \u{17f}\u{338}\u{301}\u{130}\u{390}\r\n\t\u{0}\u{85}]){0,24}",
            rules in any_rules(),
        ) {
            // Two case rules undo each other: the last one wins, also the second time.
            let once = text(&from, &rules).into_owned();
            prop_assert_eq!(text(&once, &rules), once.as_str());
            prop_assert!(!once.chars().any(is_dropped));
            prop_assert_eq!(once.trim(), once.as_str());
        }
    }
}
