//! One thing that is wrong with a document: where, and in words for the person who typed it.

use serde::Serialize;

/// A fault in a submission. The detail never repeats the value: it may be long, or a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// JSON pointer into the document; empty: the document itself.
    pub pointer: String,
    /// A phrase that goes on from the field's name: "is required".
    pub detail: String,
}

impl Fault {
    /// A fault at a pointer.
    pub fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: pointer.into(),
            detail: detail.into(),
        }
    }

    /// The top-level member that the fault lies in; `None`: the document itself.
    pub fn field(&self) -> Option<String> {
        let first = self.pointer.strip_prefix('/')?.split('/').next()?;
        Some(first.replace("~1", "/").replace("~0", "~"))
    }
}

/// A member's name as one step of a JSON pointer.
pub(crate) fn pointer_step(name: &str) -> String {
    format!("/{}", name.replace('~', "~0").replace('/', "~1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_names_its_top_level_field() {
        assert_eq!(
            Fault::new("/address/street", "x").field().as_deref(),
            Some("address")
        );
        assert_eq!(Fault::new("", "x").field(), None);
        let odd = "a/b~c";
        assert_eq!(
            Fault::new(pointer_step(odd), "x").field().as_deref(),
            Some(odd)
        );
    }
}
