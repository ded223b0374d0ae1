//! The rules of the house that a machine can keep: arrows between rooms, headers, words.
//!
//! Holds: what this file forbids cannot be on main. Why here: the root package is the only room
//! that knows every other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// A room, what it may depend on among ours, and what it must never depend on at all.
struct Room {
    manifest: &'static str,
    siblings: &'static [&'static str],
    never: &'static [&'static str],
}

const OURS: [&str; 6] = [
    "formspool",
    "storage",
    "raft",
    "bridge",
    "jepsen",
    "benches",
];

const ROOMS: [Room; 6] = [
    Room {
        manifest: "storage/Cargo.toml",
        siblings: &[],
        never: &["tokio", "axum", "hyper", "openraft", "jiff"],
    },
    Room {
        manifest: "raft/Cargo.toml",
        siblings: &["storage"],
        never: &["axum", "hyper", "fjall"],
    },
    Room {
        manifest: "bridge/Cargo.toml",
        siblings: &[],
        never: &["axum", "openraft", "fjall"],
    },
    Room {
        manifest: "Cargo.toml",
        siblings: &["storage", "raft", "bridge"],
        never: &["openraft", "fjall", "bincode"],
    },
    Room {
        manifest: "jepsen/Cargo.toml",
        siblings: &[],
        never: &["openraft", "fjall", "axum"],
    },
    Room {
        manifest: "benches/Cargo.toml",
        siblings: &["formspool", "storage"],
        never: &["openraft", "fjall"],
    },
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &Path) -> String {
    fs::read_to_string(path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()))
}

/// Every `.rs` file of the rooms, as (path from the root, text).
fn sources() -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open: Vec<PathBuf> = [
        "src", "storage", "raft", "bridge", "jepsen", "benches", "tests",
    ]
    .iter()
    .map(|room| root().join(room))
    .filter(|room| room.is_dir())
    .collect();
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                if !path.ends_with("target") && !path.ends_with("node_modules") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root()).unwrap().display().to_string();
                found.push((name, text(&path)));
            }
        }
    }
    assert!(
        found.len() > 50,
        "the walk found only {} files",
        found.len()
    );
    found.sort();
    found
}

fn dependencies(manifest: &str) -> BTreeSet<String> {
    let table: toml::Table = text(&root().join(manifest)).parse().unwrap();
    let dependencies = table.get("dependencies").and_then(toml::Value::as_table);
    dependencies
        .into_iter()
        .flat_map(|table| table.keys().cloned())
        .collect()
}

/// Those of `sources` that `is_wrong` names, as one readable list.
fn assert_none(rule: &str, is_wrong: impl Fn(&str, &str) -> bool) {
    let wrong: Vec<String> = sources()
        .into_iter()
        .filter(|(name, text)| name != "src/tidy.rs" && is_wrong(name, text))
        .map(|(name, _)| name)
        .collect();
    assert!(wrong.is_empty(), "{rule}: {wrong:#?}");
}

/// The part of a file above its unit tests.
fn product(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests").next().unwrap_or(text)
}

#[test]
fn arrows_between_rooms_are_those_drawn() {
    for room in &ROOMS {
        let found = dependencies(room.manifest);
        let siblings: BTreeSet<&str> = OURS
            .iter()
            .copied()
            .filter(|ours| found.contains(*ours))
            .collect();
        let drawn: BTreeSet<&str> = room.siblings.iter().copied().collect();
        assert_eq!(siblings, drawn, "{}: its siblings", room.manifest);
        for never in room.never {
            assert!(
                !found.contains(*never),
                "{} must not depend on {never}",
                room.manifest
            );
        }
    }
}

#[test]
fn every_file_says_first_what_lives_in_it() {
    assert_none("line 1 is a //! header", |_, text| {
        !text.starts_with("//! ") && !text.starts_with("#![doc = include_str!")
    });
}

#[test]
fn the_doors_see_neither_agreement_nor_delivery() {
    assert_none("src/http names no raft and no bridge", |name, text| {
        name.starts_with("src/http/") && (text.contains("raft::") || text.contains("bridge::"))
    });
    assert_none("src/ingest and src/forms know no HTTP", |name, text| {
        (name.starts_with("src/ingest/") || name.starts_with("src/forms/"))
            && (product(text).contains("axum::") || product(text).contains("hyper::"))
    });
}

#[test]
fn only_the_pump_moves_cursors() {
    assert_none("a sink knows no Feed", |name, text| {
        name.starts_with("bridge/src/sinks/") && product(text).contains("Feed")
    });
}

#[test]
fn raft_never_reads_a_command() {
    assert_none("raft names no command", |name, text| {
        name.starts_with("raft/src/")
            && (product(text).contains("Command::") || product(text).contains("decode_command"))
    });
}

#[test]
fn bincode_stays_inside_codec() {
    assert_none("bincode outside the codec module", |name, text| {
        !name.ends_with("/codec.rs") && !name.contains("/codec/") && text.contains("bincode::")
    });
}

#[test]
fn files_are_opened_in_few_places() {
    let allowed = [
        "storage/src/disk/os.rs",
        "raft/src/peer/keys.rs", // certificates: they are no part of the data
        "bridge/src/files/os.rs",
        "bridge/src/files.rs",
    ];
    assert_none(
        "std::fs or std::env outside the rooms that own them",
        |name, text| {
            let is_room = ["storage/src/", "raft/src/", "bridge/src/"];
            is_room.iter().any(|room| name.starts_with(room))
                && !allowed.contains(&name)
                && (product(text).contains("std::fs") || product(text).contains("std::env"))
        },
    );
}

#[test]
fn nothing_waits_by_the_clock_and_nothing_is_skipped() {
    let skipped = concat!("#[", "ignore");
    assert_none("a test is skipped", |_, text| text.contains(skipped));
    assert_none("a test sleeps", |name, text| {
        let is_test = name.contains("/tests/") || name.ends_with("tests.rs");
        is_test && !name.starts_with("jepsen/") && text.contains("thread::sleep")
    });
}

#[test]
fn the_changelog_knows_this_version() {
    let changelog = text(&root().join("CHANGELOG.md"));
    assert!(changelog.contains(concat!("## ", env!("CARGO_PKG_VERSION"))));
}
