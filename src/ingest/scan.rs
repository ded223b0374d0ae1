//! A walk over JSON text that builds nothing: how deep, how many members, any white space.
//!
//! Holds: it runs before anything is parsed, so a megabyte of `[` costs a counter, not a tree. It
//! does not judge syntax; of text that the parser takes afterwards, every number here is exact.

/// What the walk saw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// Lists and objects within one another.
    pub(crate) depth: usize,
    /// Members over the whole document.
    pub(crate) fields: usize,
    /// No white space between tokens.
    pub(crate) is_compact: bool,
}

/// A bound was passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Beyond {
    Depth,
    Fields,
}

/// Walks once over the text.
pub(crate) fn scan(text: &[u8], depth_max: usize, fields_max: usize) -> Result<Scan, Beyond> {
    let mut scan = Scan {
        depth: 0,
        fields: 0,
        is_compact: true,
    };
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => at = string_end(text, at),
            b'{' | b'[' => {
                depth += 1;
                scan.depth = scan.depth.max(depth);
                if scan.depth > depth_max {
                    return Err(Beyond::Depth);
                }
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b':' => {
                scan.fields += 1;
                if scan.fields > fields_max {
                    return Err(Beyond::Fields);
                }
            }
            b' ' | b'\t' | b'\n' | b'\r' => scan.is_compact = false,
            _ => {}
        }
        at += 1;
    }
    Ok(scan)
}

/// The closing quote of the string whose opening quote is at `start`; the text's end if there is
/// none.
pub(crate) fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::ingest::tests::any_json;

    fn measure(tree: &Value) -> (usize, usize) {
        let below = |items: Vec<&Value>| {
            let inner = items.into_iter().map(measure);
            inner.fold((0, 0), |(depth, fields), (d, f)| (depth.max(d), fields + f))
        };
        match tree {
            Value::Array(items) => {
                let (depth, fields) = below(items.iter().collect());
                (depth + 1, fields)
            }
            Value::Object(members) => {
                let (depth, fields) = below(members.values().collect());
                (depth + 1, fields + members.len())
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => (0, 0),
        }
    }

    proptest! {
        #[test]
        fn the_walk_agrees_with_the_parser(tree in any_json(), is_pretty: bool) {
            let text = if is_pretty {
                serde_json::to_vec_pretty(&tree).unwrap()
            } else {
                serde_json::to_vec(&tree).unwrap()
            };
            let (depth, fields) = measure(&tree);
            let seen = scan(&text, depth, fields).unwrap();
            prop_assert_eq!((seen.depth, seen.fields), (depth, fields));
            prop_assert_eq!(seen.is_compact, text == serde_json::to_vec(&tree).unwrap());
            if depth > 0 {
                prop_assert_eq!(scan(&text, depth - 1, fields), Err(Beyond::Depth));
            }
            if fields > 0 {
                prop_assert_eq!(scan(&text, depth, fields - 1), Err(Beyond::Fields));
            }
        }

        #[test]
        fn any_bytes_are_walked_to_an_end(bytes: Vec<u8>) {
            prop_assert!(scan(&bytes, usize::MAX, usize::MAX).is_ok());
        }
    }

    #[test]
    fn a_megabyte_of_brackets_ends_at_the_limit() {
        assert_eq!(scan(&vec![b'['; 1 << 20], 32, 500), Err(Beyond::Depth));
        let quoted = [b"[\"".to_vec(), vec![b'['; 1 << 20], b"\"]".to_vec()].concat();
        assert_eq!(scan(&quoted, 32, 500).unwrap().depth, 1);
    }
}
