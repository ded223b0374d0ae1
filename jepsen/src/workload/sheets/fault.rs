//! The faults of the workload for Google Sheets: what happens to calls, to the leader, and what people do.

use serde_json::{Value, json};

use crate::nemesis;

/// When people edit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum People {
    Away,
    /// All the time, whatever is under way.
    Between,
    /// While a request is under way: when it has arrived and is not carried out, and when it is carried
    /// out and not answered.
    Within,
}

/// What happens at Google, or to the leader.
pub(super) struct Fault {
    pub(super) name: &'static str,
    /// Of the calls to Google.
    pub(super) calls: fn() -> Vec<Value>,
    pub(super) node: Option<nemesis::Fault>,
    pub(super) people: People,
}

pub(super) const FAULTS: [Fault; 13] = [
    Fault {
        name: "people",
        calls: Vec::new,
        node: None,
        people: People::Between,
    },
    Fault {
        name: "meanwhile",
        calls: Vec::new,
        node: None,
        people: People::Within,
    },
    Fault {
        name: "reply-lost",
        calls: || vec![json!({"kind": "apply_then_drop", "percent": 30})],
        node: None,
        people: People::Between,
    },
    Fault {
        name: "unavailable",
        calls: || {
            vec![
                json!({"kind": "answer", "on": "any", "percent": 20}),
                json!({"kind": "apply_then_answer", "percent": 20}),
            ]
        },
        node: None,
        people: People::Between,
    },
    Fault {
        name: "truncated",
        calls: || vec![json!({"kind": "truncate", "on": "any", "percent": 30})],
        node: None,
        people: People::Between,
    },
    Fault {
        name: "throttled",
        calls: || vec![json!({"kind": "throttle", "on": "any", "percent": 50})],
        node: None,
        people: People::Between,
    },
    Fault {
        name: "expired",
        calls: || vec![json!({"kind": "expire", "on": "any", "percent": 30})],
        node: None,
        people: People::Between,
    },
    Fault {
        name: "late",
        calls: || {
            vec![
                json!({"kind": "slow", "percent": 20, "delay_ms": 2_000}),
                json!({"kind": "zombie", "percent": 20, "delay_ms": 1_000}),
            ]
        },
        node: None,
        people: People::Between,
    },
    // Later than a request can arrive: nothing but the cursor keeps it out, as long as people leave the
    // columns where they are.
    Fault {
        name: "overdue",
        calls: || vec![json!({"kind": "zombie", "percent": 60, "delay_ms": 5_000})],
        node: None,
        people: People::Away,
    },
    // Longer under way than its sender waits for it: the next one would meet it. So would people, and
    // what they do in the same moment no guard sees.
    Fault {
        name: "under-way",
        calls: || vec![json!({"kind": "work", "percent": 60, "delay_ms": 2_200})],
        node: None,
        people: People::Away,
    },
    Fault {
        name: "page",
        calls: || vec![json!({"kind": "answer", "status": 408, "percent": 40})],
        node: None,
        people: People::Between,
    },
    Fault {
        name: "leader-killed",
        calls: || vec![json!({"kind": "slow", "percent": 50, "delay_ms": 1_000})],
        node: Some(nemesis::Fault::KillLeader),
        people: People::Between,
    },
    Fault {
        name: "leader-paused",
        calls: || vec![json!({"kind": "apply_then_drop", "percent": 30})],
        node: Some(nemesis::Fault::PauseLeader),
        people: People::Between,
    },
];
