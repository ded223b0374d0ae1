//! A task's definition as it lies in the state, whichever release and build wrote it.
//!
//! Holds: a definition that this build cannot run is never passed over. What can be read of it counts, and
//! what cannot may be anything: such a task may cover every form.

use std::sync::Arc;

use serde_json::Value;

use super::task::TaskDefinition;

/// A definition, as far as this build understands it.
#[derive(Clone, Debug)]
pub struct StoredTask {
    /// As it is written there.
    sink: Arc<str>,
    /// `None`: it has members of which this build knows nothing.
    known: Option<TaskDefinition>,
    /// Empty: it can be run.
    problems: Vec<String>,
}

impl StoredTask {
    /// Reads one; there is none that it cannot read at all.
    pub fn read(bytes: &[u8]) -> Self {
        let value = serde_json::from_slice::<Value>(bytes).unwrap_or_default();
        let sink = value.get("sink").and_then(Value::as_str);
        let sink = Arc::from(sink.unwrap_or("unknown"));
        let (known, problems) = match TaskDefinition::shape_of_json(bytes) {
            Ok(definition) => {
                let problems = definition.problems();
                (Some(definition), problems)
            }
            Err(problems) => (None, problems),
        };
        Self {
            sink,
            known,
            problems,
        }
    }

    /// What it says, whether or not its sink can do so; `None` where only another release can tell.
    pub fn known(&self) -> Option<&TaskDefinition> {
        self.known.as_ref()
    }

    /// Whether it may move this form.
    pub fn covers(&self, form: &str) -> bool {
        let known = self.known.as_ref();
        known.is_none_or(|definition| definition.covers(form))
    }

    /// The sink as the bridge knows it.
    pub fn spec(&self) -> bridge::SinkSpec {
        match &self.known {
            Some(definition) => definition.spec(),
            None => bridge::SinkSpec {
                name: Arc::clone(&self.sink),
                settings: Value::Null,
            },
        }
    }

    /// Why this build cannot run it, and what to do; `None` if it can.
    pub fn unfit(&self) -> Option<String> {
        if self.problems.is_empty() {
            return None;
        }
        // It was checked when it was defined.
        Some(format!(
            "formspool {} cannot run its definition, as it is built here: {}. A newer release has defined \
             it, or a build with more features: start that one on this node. Nothing is lost: the log \
             keeps what the task has not delivered",
            env!("CARGO_PKG_VERSION"),
            self.problems.join("; ")
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_run_is_fit() {
        let stored = StoredTask::read(br#"{"name":"t","forms":["a"],"sink":"csv"}"#);
        assert_eq!(stored.unfit(), None);
        assert!(stored.covers("a") && !stored.covers("b"));
        assert_eq!(&*stored.spec().name, "csv");
    }

    #[test]
    fn what_only_its_sink_refuses_keeps_its_forms_and_its_place() {
        let stored = StoredTask::read(
            br#"{"name":"t","forms":["a"],"sink":"kafka","kafka":{"colour":"red"}}"#,
        );
        let why = stored.unfit().unwrap();
        assert!(
            why.contains("colour") && why.contains("start that one"),
            "{why}"
        );
        assert!(stored.covers("a") && !stored.covers("b"));
        assert_eq!(stored.spec().settings["colour"], "red");
    }

    #[test]
    fn what_is_of_another_release_may_cover_anything() {
        let cases: [(&[u8], &str, &str); 3] = [
            (
                br#"{"name":"t","forms":["a"],"sink":"kafka","except":["b"]}"#,
                "kafka",
                "except",
            ),
            (
                br#"{"name":"t","forms":["a"],"sink":"tape"}"#,
                "tape",
                "tape",
            ),
            (b"\x01", "unknown", "not JSON"),
        ];
        for (bytes, sink, word) in cases {
            let stored = StoredTask::read(bytes);
            assert!(stored.known().is_none() && stored.covers("z"));
            assert_eq!(&*stored.spec().name, sink);
            let why = stored.unfit().unwrap();
            assert!(why.contains(word), "{why}");
        }
    }
}
