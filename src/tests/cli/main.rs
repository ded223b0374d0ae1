//! The program from outside: real processes, signals, files and sockets.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test"
)]

mod process;
mod waiting;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use process::{Place, eventually, text_with_lines};
use serde_json::{Value, json};

const STUDENT: &str = r#"{"name":"Saurabh raj","roll":"99999","university":"BCE","cgpa":"8.04","gender":"F","age":"10.11","email":"someone@example.com","mobile":"7004465984"}"#;

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

fn stderr(output: &Output) -> &str {
    std::str::from_utf8(&output.stderr).unwrap()
}

#[test]
fn what_was_acknowledged_survives_kill_minus_nine_once_and_in_order() {
    let place = Place::new();
    let node = place.serve();
    assert_eq!(node.banner["is_created"], true);
    assert!(node.banner["token"].as_str().unwrap().starts_with("fsp_"));
    assert!(
        node.banner["durability"]
            .as_str()
            .unwrap()
            .contains("before it is acknowledged")
    );
    let sheet = place.path("data/sheets/student-data.csv");
    for seq in 1..=3 {
        let (status, receipt) = node.submit("student-data", STUDENT);
        assert_eq!((status, &receipt["seq"]), (201, &json!(seq)), "{receipt}");
        assert_eq!(receipt["durability"], "fsync");
    }
    let rows = text_with_lines(&sheet, 4);
    node.kill();

    let node = place.serve();
    assert_eq!(node.banner["is_created"], false);
    assert_eq!(node.banner["records"], 3);
    assert_eq!(node.banner["token"], Value::Null, "shown once");
    let (status, receipt) = node.submit("student-data", STUDENT);
    assert_eq!((status, &receipt["seq"]), (201, &json!(4)), "{receipt}");
    let later = text_with_lines(&sheet, 5);
    assert!(later.starts_with(&rows), "rows stay as they are:\n{later}");
    let url = ["--url", node.url()];
    let export = place.run(&[&url[..], &["submissions", "export", "student-data"]].concat());
    let seqs: Vec<Value> = stdout(&export)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].clone())
        .collect();
    assert_eq!(seqs, [1, 2, 3, 4], "{}", stderr(&export));
    assert_eq!(node.terminate(), Some(0));
}

#[test]
fn a_person_reads_status_tail_export_and_inspect() {
    let place = Place::new();
    let node = place.serve();
    for _ in 0..2 {
        assert_eq!(node.submit("student-data", STUDENT).0, 201);
    }
    let run = |args: &[&str]| {
        let output = place.run(&[&["--url", node.url()], args].concat());
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output).to_owned()
    };
    let status: Value = serde_json::from_str(&run(&["status", "--json"])).unwrap();
    let forms = status["forms"].as_array().unwrap();
    let form = forms
        .iter()
        .find(|form| form["name"] == "student-data")
        .unwrap();
    assert_eq!(form["head"], 2, "{status}");
    assert!(run(&["status"]).contains("student-data"));
    assert!(run(&["tasks", "list"]).contains("student-sheet"));
    let csv = run(&["submissions", "export", "student-data", "--format", "csv"]);
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.starts_with("_seq,_id,_received_at,name,"), "{csv}");
    let all: Value = serde_json::from_str(&run(&[
        "submissions",
        "export",
        "student-data",
        "--format",
        "json",
    ]))
    .unwrap();
    assert_eq!(all.as_array().unwrap().len(), 2);
    let inspected = run(&["inspect"]);
    assert!(inspected.contains("pack 1 of node 1 boot 1"), "{inspected}");
    assert!(!inspected.contains("Saurabh"), "payloads only on request");
    assert!(run(&["inspect", "--payloads"]).contains("Saurabh"));
    for line in run(&["inspect", "--json"]).lines() {
        serde_json::from_str::<Value>(line).unwrap();
    }
    // Beside a running node the state is what a crash would leave; after its end, the last word.
    assert_eq!(node.terminate(), Some(0));
    let inspected = place.run(&["inspect"]);
    let inspected = stdout(&inspected);
    assert!(
        inspected.contains("student-data: version 1, 2 records, 0 withheld"),
        "{inspected}"
    );
    assert!(
        inspected.contains("task student-sheet: version 1"),
        "{inspected}"
    );
}

#[test]
fn what_the_banner_says_can_be_pasted() {
    let place = Place::new();
    place.write("formspool.toml", "[admin]\ntoken_file = \"bare.token\"\n");
    let node = place.serve();
    assert!(place.path("bare.token").exists());
    let line = format!("{} status", node.banner["command"].as_str().unwrap());
    let mut shell = Command::new("/bin/sh");
    let shell = shell.args(["-c", &line]).current_dir(place.path(""));
    let output = shell.env_clear().output().unwrap();
    assert!(
        stdout(&output).contains("student-data"),
        "{line}: {}",
        stderr(&output)
    );
}

#[test]
fn tail_shows_what_is_there_and_what_arrives() {
    let place = Place::new();
    let node = place.serve();
    assert_eq!(node.submit("student-data", STUDENT).0, 201);
    let args = [
        "--url",
        node.url(),
        "--json",
        "tail",
        "student-data",
        "--after",
        "0",
    ];
    let mut tail = place.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(next()["seq"], 1);
    assert_eq!(node.submit("student-data", STUDENT).0, 201);
    let record = next();
    assert_eq!(record["seq"], 2);
    assert_eq!(
        record["data"],
        serde_json::from_str::<Value>(STUDENT).unwrap()
    );
    tail.kill().unwrap();
    tail.wait().unwrap();
}

#[test]
fn check_tells_every_problem_at_once() {
    let place = Place::new();
    let fine = place.run(&["check"]);
    assert!(fine.status.success(), "{}", stderr(&fine));
    assert!(stdout(&fine).contains("form student-data"));
    place.write(
        "formspool.toml",
        "data_dri = 'x'\ndefinitions = ['d']\n[http]\nlisten = 'here'\n",
    );
    let check = place.run(&["check"]);
    assert_eq!(check.status.code(), Some(1));
    for part in ["data_dri", "http.listen"] {
        assert!(stderr(&check).contains(part), "{}", stderr(&check));
    }
    let serve = place.run(&["serve"]);
    assert_eq!(serve.status.code(), Some(1));
    assert!(!place.path("data").exists(), "nothing is touched");
    let file = place.write("d/form.toml", "name = 'No Name'\ntitel = 'x'\n");
    let json = place.run(&["check", "--json", file.to_str().unwrap()]);
    let problems: Value = serde_json::from_str(stdout(&json)).unwrap();
    assert!(
        problems["problems"].as_array().unwrap().len() >= 4,
        "{problems}"
    );
}

#[test]
fn a_second_process_on_one_data_directory_is_told_who_has_it() {
    let place = Place::new();
    let node = place.serve();
    let second = place.run(&[]);
    assert_eq!(second.status.code(), Some(1));
    let told = stderr(&second);
    assert!(told.contains(&format!("process {}", node.pid())), "{told}");
}

#[test]
fn apply_changes_only_what_differs() {
    let place = Place::new();
    let node = place.serve();
    let form = "name = 'poll'\n[schema]\ntype = 'object'\n";
    let file = place.write("poll.toml", form);
    let apply = || {
        let args = [
            "--url",
            node.url(),
            "--json",
            "apply",
            file.to_str().unwrap(),
        ];
        let output = place.run(&args);
        assert!(output.status.success(), "{}", stderr(&output));
        serde_json::from_str::<Value>(stdout(&output)).unwrap()[0]["outcome"].clone()
    };
    assert_eq!(apply(), "created");
    assert_eq!(apply(), "unchanged");
    place.write(
        "poll.toml",
        &form.replace("[schema]", "title = 'A poll'\n[schema]"),
    );
    assert_eq!(apply(), "changed");
    assert_eq!(node.submit("poll", "{}").0, 201);
    let task = place.write("t.toml", "name = 'polls'\nforms = ['poll']\nsink = 'csv'\n");
    let url = ["--url", node.url(), "apply"];
    let defined = place.run(&[&url[..], &[task.to_str().unwrap()]].concat());
    assert!(
        stdout(&defined).starts_with("task polls: created, version 1"),
        "{}",
        stderr(&defined)
    );
    text_with_lines(&place.path("data/sheets/poll.csv"), 2);
}

#[test]
fn a_person_pauses_sends_back_and_deletes_a_task_on_a_running_node() {
    let place = Place::new();
    let node = place.serve();
    let file = place.write(
        "polls.toml",
        "name = 'polls'\nforms = ['student-data']\nsink = 'csv'\n[csv]\npath = 'polls.csv'\n",
    );
    let run = |args: &[&str]| place.run(&[&["--url", node.url(), "tasks"], args].concat());
    let good = |args: &[&str]| {
        let output = run(args);
        assert!(output.status.success(), "{args:?}: {}", stderr(&output));
        stdout(&output).to_owned()
    };
    let lane = || {
        let shown = good(&["show", "polls", "--json"]);
        let shown: Value = serde_json::from_str(&shown).unwrap();
        shown["status"]["lanes"][0].clone()
    };
    let sheet = place.path("data/sheets/polls.csv");
    assert!(good(&["create", file.to_str().unwrap()]).contains("created"));
    assert_eq!(node.submit("student-data", STUDENT).0, 201);
    text_with_lines(&sheet, 2);

    good(&["pause", "polls"]);
    assert_eq!(node.submit("student-data", STUDENT).0, 201);
    eventually("it is paused and behind", || {
        let lane = lane();
        (lane["state"] == "paused" && lane["lag_records"] == 1).then_some(())
    });
    assert!(good(&["list"]).contains("formspool tasks resume polls"));
    let refused = run(&["delete", "polls"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(
        stderr(&refused).contains("--abandon"),
        "{}",
        stderr(&refused)
    );
    text_with_lines(&sheet, 2);
    good(&["resume", "polls"]);
    text_with_lines(&sheet, 3);

    // A place without a form: the task has only one.
    eventually("this node knows how to seek", || {
        let said = run(&["seek", "polls", "--to", "2"]);
        said.status.success().then_some(())
    });
    let anew = eventually("the second record alone", || {
        let text = std::fs::read_to_string(&sheet).ok()?;
        (text.lines().filter(|line| line.contains("Saurabh")).count() == 1).then_some(text)
    });
    assert!(anew.lines().any(|line| line.starts_with("2,")), "{anew}");
    let wrong = run(&["replay", "polls", "--from", "yesterday"]);
    assert!(stderr(&wrong).contains("is no place"), "{}", stderr(&wrong));
    assert!(good(&["parked", "polls"]).contains("nothing is set aside"));
    assert!(good(&["replay-parked", "polls", "--all"]).starts_with("0 on their way"));

    eventually("all is delivered", || {
        run(&["delete", "polls"]).status.success().then_some(())
    });
    eventually("it is gone", || {
        (!good(&["list"]).contains("polls")).then_some(())
    });
    assert!(sheet.exists(), "what it has delivered stays");
}

#[test]
fn a_rotated_token_ends_the_old_one() {
    let place = Place::new();
    let node = place.serve();
    let old = node.banner["token"].as_str().unwrap();
    let rotate = place.run(&["--url", node.url(), "token", "rotate"]);
    assert!(rotate.status.success(), "{}", stderr(&rotate));
    let status = |token: &str| {
        node.request(
            "GET",
            "/v1/status",
            &format!("Authorization: Bearer {token}\r\n"),
            "",
        )
        .0
    };
    let new = std::fs::read_to_string(place.path("data/admin.token")).unwrap();
    assert_eq!((status(old), status(new.trim())), (401, 200));
}

#[test]
fn operators_see_health_and_numbers() {
    let place = Place::new();
    let node = place.serve();
    assert_eq!(node.operators("/livez").0, 200);
    assert_eq!(node.operators("/readyz").0, 200);
    assert_eq!(node.submit("student-data", STUDENT).0, 201);
    let (status, text) = node.operators("/metrics");
    assert_eq!(status, 200);
    for name in [
        "formspool_build_info",
        "formspool_http_requests_total",
        "formspool_raft_applied_index",
        "formspool_process_resident_bytes",
    ] {
        assert!(text.contains(name), "{name} is missing:\n{text}");
    }
}

#[test]
fn the_settings_of_config_default_change_nothing() {
    let place = Place::new();
    let text = place.run(&["config", "default"]);
    place.write("all.toml", stdout(&text));
    let shown = |args: &[&str]| place.run(args).stdout;
    let plain = shown(&["config", "show", "--json", "-c", "all.toml"]);
    let with_file: Value = serde_json::from_slice(&plain).unwrap();
    let without: Value = serde_json::from_slice(&shown(&["config", "show", "--json"])).unwrap();
    assert_eq!(with_file["settings"], without["settings"]);
}
