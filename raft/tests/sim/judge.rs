//! The end: everything that was acknowledged is on every node, once, where it was said to be.

use std::collections::{BTreeMap, BTreeSet};

use raft::Node;
use storage::{FormId, Index, Position, Seq};

use crate::ledger::{Id, Ledger, Receipt};
use crate::world::forms;

type Content = BTreeMap<(FormId, Seq), (Id, Position)>;

/// Looks at all nodes, which have applied the same.
pub fn judge(ledger: &Ledger, nodes: &[(usize, Node)]) {
    let all: Vec<_> = nodes
        .iter()
        .map(|(at, node)| (*at, node, content(ledger, *at, node)))
        .collect();
    for (at, node, content) in &all {
        let horizon = node.view().horizon().unwrap();
        acknowledged(ledger, *at, node, content, horizon);
        let (other, _, first) = &all[0];
        let shared = |theirs: &Content, key: &(FormId, Seq)| theirs.contains_key(key);
        for (key, value) in content.iter().filter(|(key, _)| shared(first, key)) {
            if first[key] != *value {
                ledger.wrong(format!("{key:?} differs on places {at} and {other}"));
            }
        }
    }
}

/// What a node shows, form by form.
fn content(ledger: &Ledger, at: usize, node: &Node) -> Content {
    let mut content = Content::new();
    let mut ids = BTreeSet::new();
    for form in forms(node).unwrap_or_default() {
        let (view, records) = (node.view(), node.records());
        let head = view.head(form).unwrap();
        let mut next = view.oldest_seq(form).unwrap();
        while next <= head {
            let read = records.read(form, Seq(next.0 - 1), 1000, 1 << 20);
            let read = match read {
                Ok(read) if !read.is_empty() => read,
                Ok(_) => {
                    ledger.wrong(format!(
                        "place {at} has nothing at seq {next} of {head}, form {form}"
                    ));
                    break;
                }
                Err(error) => {
                    ledger.wrong(format!(
                        "place {at} cannot read seq {next} of form {form}: {error}"
                    ));
                    break;
                }
            };
            for record in read {
                if record.seq != Some(next) {
                    ledger.wrong(format!(
                        "place {at}, form {form}: {:?} comes after {next}",
                        record.seq
                    ));
                }
                next = record.seq.unwrap_or(next).next();
                if !ids.insert(record.id) {
                    ledger.wrong(format!(
                        "place {at} has a submission twice, the second at seq {:?}",
                        record.seq
                    ));
                }
                let offered = ledger.lock().offered.get(&record.id).cloned();
                if offered != Some((form, record.body.clone())) {
                    ledger.wrong(format!(
                        "place {at} has what nobody sent, at seq {:?}",
                        record.seq
                    ));
                }
                if ledger.lock().refused.contains(&record.id) {
                    ledger.wrong(format!(
                        "place {at} has at seq {:?} what was said to be in no log",
                        record.seq
                    ));
                }
                content.insert((form, record.seq.unwrap()), (record.id, record.position));
            }
        }
    }
    content
}

fn acknowledged(ledger: &Ledger, at: usize, node: &Node, content: &Content, horizon: Index) {
    let acked: Vec<(Id, Receipt)> = {
        let inner = ledger.lock();
        inner.acked.iter().map(|(id, one)| (*id, *one)).collect()
    };
    for (id, receipt) in acked {
        let position = Position {
            index: receipt.index,
            slot: receipt.slot,
        };
        match content.get(&(receipt.form, receipt.seq)) {
            Some(found) if *found == (id, position) => {}
            Some(_) => ledger.wrong(format!("place {at} has another submission at {receipt:?}")),
            None if receipt.index <= horizon => {
                let head = node.view().head(receipt.form).unwrap();
                if head < receipt.seq {
                    ledger.wrong(format!("place {at} lost {receipt:?}: its head is {head}"));
                }
            }
            None => ledger.wrong(format!("place {at} lost {receipt:?}")),
        }
    }
}
