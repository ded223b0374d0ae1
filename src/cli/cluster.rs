//! `formspool cluster`: how everybody stands, and what an operator asks of the cluster.
//!
//! Holds: any node may be asked; what only the leader can do is forwarded to it. A status ends with
//! what to do, where there is something to do.

use bytes::Bytes;
use hyper::Method;
use serde_json::{Value, json};

use super::args::Cluster;
use super::client::Client;
use super::error::Error;
use super::out::{Out, plain, span_in_words, table};

/// Asks, and tells what came of it.
pub(super) async fn run(out: Out, client: &Client, asked: Cluster) -> Result<(), Error> {
    let post = async |path: &str, body: Value| {
        let body = Bytes::from(body.to_string());
        client.send(Method::POST, path, body).await
    };
    let (answer, words) = match asked {
        Cluster::Status => {
            let cluster = client.get("/v1/cluster").await?;
            let words = in_words(&cluster);
            (cluster, words)
        }
        Cluster::Transfer { to } => {
            let body = to.map_or_else(|| json!({}), |to| json!({ "to": to }));
            let answer = post("/v1/cluster/transfer", body).await?;
            let words = format!("node {} leads", text_at(&answer, "leader"));
            (answer, words)
        }
        Cluster::Remove { node } => {
            let answer = post("/v1/cluster/remove", json!({ "node": node })).await?;
            let words = format!(
                "node {node} is no member any more; stop it, and empty its data directory before it \
                 is to join again"
            );
            (answer, words)
        }
        Cluster::AcceptTailLoss => {
            let answer = post("/v1/cluster/accept-tail-loss", json!({})).await?;
            let words = text_at(&answer, "words");
            (answer, words)
        }
        Cluster::Policy { policy } => {
            let body = Bytes::from(json!({ "policy": policy }).to_string());
            let answer = client.send(Method::PUT, "/v1/cluster/policy", body).await?;
            let words = format!(
                "from now on every receipt says: {}",
                text_at(&answer, "policy")
            );
            (answer, words)
        }
    };
    Ok(out.either(&answer, &words)?)
}

/// A member of an object as people read it.
fn text_at(value: &Value, name: &str) -> String {
    match value.get(name) {
        Some(Value::String(text)) => plain(text),
        Some(Value::Null) | None => "-".to_owned(),
        Some(other) => other.to_string(),
    }
}

fn in_words(cluster: &Value) -> String {
    let members: Vec<&Value> = cluster
        .get("members")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .collect();
    let last = members
        .iter()
        .filter_map(|member| member.get("last").and_then(Value::as_u64))
        .max()
        .unwrap_or_default();
    let leader = cluster.get("leader").and_then(Value::as_u64);
    let heading = [
        "node", "address", "role", "state", "since", "applied", "lag", "room",
    ];
    let mut rows = vec![heading.map(str::to_owned).to_vec()];
    rows.extend(members.iter().map(|member| row(member, leader, last)));
    let voters = cluster.get("voters").cloned().unwrap_or_default();
    let todo: Vec<String> = members.iter().filter_map(|member| to_do(member)).collect();
    let is_gone = |leader: u64| {
        let seat = members
            .iter()
            .find(|one| one.get("node").and_then(Value::as_u64) == Some(leader));
        seat.is_some_and(|seat| text_at(seat, "state") == "unreachable")
    };
    let is_led = leader.is_some_and(|leader| !is_gone(leader));
    let head = match leader {
        Some(leader) if is_led => {
            format!("node {leader} leads in term {}", text_at(cluster, "term"))
        }
        Some(leader) => format!("NOBODY LEADS (node {leader} did)"),
        None => "NOBODY LEADS".to_owned(),
    };
    let mut text = format!(
        "cluster {}, {head}, as node {} sees it\n{} of {} voters make a majority; durability {}\n\n{}",
        text_at(cluster, "cluster"),
        text_at(cluster, "node"),
        text_at(&voters, "quorum"),
        text_at(&voters, "voters"),
        text_at(cluster, "policy"),
        table(&rows),
    );
    if !is_led {
        text.push_str(
            "\nSubmissions are answered 503 until a majority of the voters is there and elects one \
             of them: start those that are down.\n",
        );
    }
    for line in &todo {
        text.extend(["\n", line, "\n"]);
    }
    text
}

fn row(member: &Value, leader: Option<u64>, last: u64) -> Vec<String> {
    let number = |name: &str| member.get(name).and_then(Value::as_u64);
    let is = |name: &str| member.get(name).and_then(Value::as_bool) == Some(true);
    let role = match number("node") {
        node if node.is_some() && node == leader => "leader",
        _ if is("is_voter") => "voter",
        _ => "catching up",
    };
    let applied = number("applied");
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    vec![
        format!(
            "{}{}",
            text_at(member, "node"),
            if is("is_self") { " (this)" } else { "" }
        ),
        text_at(member, "address"),
        role.to_owned(),
        text_at(member, "state"),
        or_dash(number("since_ms").map(span_in_words)),
        or_dash(applied.map(|applied| applied.to_string())),
        or_dash(applied.map(|applied| last.saturating_sub(applied).to_string())),
        or_dash(number("free_bytes").map(|bytes| format!("{} MiB", bytes >> 20))),
    ]
}

/// What is the matter with a member and what to do about it; nothing where all is well.
fn to_do(member: &Value) -> Option<String> {
    let state = text_at(member, "state");
    if state == "ok" {
        return None;
    }
    let node = text_at(member, "node");
    let words = text_at(member, "words");
    if words.is_empty() || words == "-" {
        return Some(format!("node {node} is {state}"));
    }
    Some(format!("node {node} is {state}: {words}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Value {
        let member = |node: u32, state: &str, words: &str| {
            json!({
                "node": node, "address": format!("127.0.0.1:708{node}"), "is_voter": node < 3,
                "is_self": node == 1, "state": state, "since_ms": 61_000, "words": words,
                "last": 100, "applied": 100 - node, "free_bytes": 5_u64 << 30,
            })
        };
        json!({
            "cluster": "c", "node": 1, "term": 3, "leader": 2, "policy": "fsync",
            "voters": { "quorum": 2, "voters": 3 },
            "members": [
                member(1, "ok", ""),
                member(2, "ok", ""),
                member(3, "unreachable", "start it\u{1b}[31m"),
            ],
        })
    }

    #[test]
    fn a_status_has_a_line_a_member_and_says_what_to_do() {
        let text = in_words(&three());
        for part in [
            "node 2 leads in term 3, as node 1 sees it",
            "2 of 3 voters make a majority; durability fsync",
            "1 (this)  127.0.0.1:7081  voter        ok           1 min  99       1    5120 MiB",
            "2         127.0.0.1:7082  leader       ok ",
            "3         127.0.0.1:7083  catching up  unreachable  1 min  97       3 ",
            "node 3 is unreachable: start it\u{fffd}[31m",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
        assert!(!text.contains("node 1 is"), "{text}");
    }

    #[test]
    fn a_cluster_without_a_leader_is_shouted_about() {
        for leader in [Value::Null, json!(3)] {
            let mut cluster = three();
            cluster["leader"] = leader;
            let text = in_words(&cluster);
            assert!(text.contains("NOBODY LEADS"), "{text}");
            assert!(text.contains("503"), "{text}");
        }
    }
}
