//! What the layers promise: the last one wins, and no problem hides another.

use super::*;

fn from_text(text: &str, environment: &[(&str, &str)]) -> Result<Loaded, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("formspool.toml");
    std::fs::write(&file, text).unwrap();
    load(&Sources {
        file: Some(file),
        environment: environment
            .iter()
            .map(|&(k, v)| (k.to_owned(), v.to_owned()))
            .collect(),
        ..Sources::default()
    })
}

#[test]
fn nothing_set_is_the_defaults() {
    let loaded = load(&Sources::default()).unwrap();
    assert!(loaded.set.is_empty());
    assert_eq!(loaded.config.data_dir, Path::new("./data"));
}

#[test]
fn the_environment_wins_over_the_file_and_the_command_line_over_both() {
    let text = "data_dir = \"a\"\n[stop]\ngrace_ms = 1\n";
    let loaded = from_text(text, &[("FORMSPOOL_STOP__GRACE_MS", "2")]).unwrap();
    assert_eq!(loaded.config.stop.grace_ms, 2);
    assert_eq!(loaded.config.data_dir, Path::new("a"));
    let sources = Sources {
        environment: vec![("FORMSPOOL_DATA_DIR".to_owned(), "b".to_owned())],
        overrides: vec![("data_dir".to_owned(), "c".to_owned())],
        ..Sources::default()
    };
    let loaded = load(&sources).unwrap();
    assert_eq!(loaded.config.data_dir, Path::new("c"));
    assert_eq!(loaded.set.get("data_dir").unwrap(), "command line");
}

#[test]
fn every_problem_is_told_at_once_with_its_place() {
    let text = "dta_dir = \"x\"\n[stop]\ngrace_ms = \"soon\"\n[htp]\nlisten = 1\nagain = 2\n";
    let environment = [
        ("FORMSPOOL_LOG__FORMAT", "xml"),
        ("FORMSPOOL_LOG__LEVEL", "raft=loud"),
    ];
    let problems = from_text(text, &environment).unwrap_err();
    let told = problems.join("\n");
    for part in [
        "`dta_dir`",
        "`stop.grace_ms`",
        "`htp`",
        "FORMSPOOL_LOG__FORMAT",
        "log.level: ",
    ] {
        assert!(told.contains(part), "{part} is missing in:\n{told}");
    }
    assert_eq!(problems.len(), 5, "{told}");
    assert!(told.contains("formspool.toml"), "the file is named: {told}");
}

#[test]
fn a_list_in_the_environment_is_split_at_commas_or_read_as_toml() {
    for text in ["x, y", "[\"x\", \"y\"]"] {
        let loaded = from_text("", &[("FORMSPOOL_DEFINITIONS", text)]).unwrap();
        assert_eq!(loaded.config.definitions, [Path::new("x"), Path::new("y")]);
    }
}

#[test]
fn what_kubernetes_says_about_a_service_of_our_name_is_no_setting() {
    let links = [
        ("FORMSPOOL_SERVICE_HOST", "10.0.0.1"),
        ("FORMSPOOL_SERVICE_PORT_HTTP", "8080"),
        ("FORMSPOOL_PORT", "tcp://10.0.0.1:8080"),
        ("FORMSPOOL_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("FORMSPOOL_PEERS_PORT", "tcp://10.0.0.1:7080"),
        ("FORMSPOOL_TOKEN", "secret"),
    ];
    assert!(from_text("", &links).unwrap().set.is_empty());
    assert!(from_text("", &[("FORMSPOOL_PORT", "8080")]).is_err());
}

#[test]
fn a_file_that_was_named_must_be_there_the_usual_one_need_not() {
    let missing = PathBuf::from("/nonexistent/formspool.toml");
    let named = Sources {
        file: Some(missing.clone()),
        ..Sources::default()
    };
    assert!(load(&named).is_err());
    let usual = Sources {
        file_if_present: Some(missing),
        ..Sources::default()
    };
    assert!(load(&usual).unwrap().file.is_none());
}

#[cfg(not(feature = "mutants"))]
#[test]
fn a_normal_build_refuses_to_be_wrong_on_purpose() {
    let told = from_text("", &[("FORMSPOOL_MUTANT", "skip-sync")])
        .unwrap_err()
        .join("\n");
    assert!(told.contains("FORMSPOOL_MUTANT"), "{told}");
}
