//! What a node says about its cluster, and about its own state.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::client::api::JSON;
use crate::client::{Call, Client};

/// Longer than any answer of a healthy node, shorter than a fault.
const TIME: Duration = Duration::from_secs(3);

/// The answer of `GET /v1/cluster`, as far as it is looked at.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct View {
    pub(crate) cluster: String,
    pub(crate) node: u64,
    pub(crate) role: String,
    pub(crate) leader: Option<u64>,
    pub(crate) voters: Voters,
    #[serde(default)]
    pub(crate) members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(crate) struct Voters {
    pub(crate) voters: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Member {
    pub(crate) node: u64,
    pub(crate) state: String,
    #[serde(default)]
    pub(crate) words: String,
}

/// A node's own state at one index.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) applied: u64,
    pub(crate) rows_digest: String,
    pub(crate) log_digest: String,
}

#[derive(Debug, Deserialize)]
struct Status {
    state: State,
}

pub(crate) async fn view(client: &mut Client, token: &str) -> anyhow::Result<View> {
    get(client, token, "/v1/cluster").await
}

pub(crate) async fn state(client: &mut Client, token: &str) -> anyhow::Result<State> {
    let status = get::<Status>(client, token, "/v1/status").await?;
    Ok(status.state)
}

/// Something that an operator asks for; answers what was answered.
pub(crate) async fn ask(
    client: &mut Client,
    token: &str,
    what: &str,
    body: &serde_json::Value,
) -> anyhow::Result<String> {
    let path = format!("/v1/cluster/{what}");
    let call = Call::post(path, JSON, body.to_string()).bearer(token);
    let answer = client.call(&call).await?;
    let (status, text) = (answer.status, answer.text());
    ensure!(answer.is_success(), "{what}: {status} {text}");
    Ok(text)
}

pub(crate) async fn get<T: DeserializeOwned>(
    client: &mut Client,
    token: &str,
    path: &str,
) -> anyhow::Result<T> {
    let call = Call::get(path).bearer(token).header("accept", JSON);
    let answer = client.call_within(&call, TIME).await?;
    let (status, text) = (answer.status, answer.text());
    ensure!(status == 200, "{path}: {status} {text}");
    serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))
}

#[cfg(test)]
mod tests {
    use super::{Status, View};

    #[test]
    fn a_view_of_the_cluster_and_a_state_are_read() {
        let text = r#"{"cluster":"c","node":1,"role":"leader","term":3,"leader":1,"last":9,
            "committed":9,"applied":9,"policy":"fsync","contact_ms":0,
            "voters":{"quorum":2,"voters":3},"members":[{"node":1,"address":"127.0.0.1:7081",
            "is_voter":true,"is_self":true,"state":"ok","since_ms":0,"words":""}]}"#;
        let view = serde_json::from_str::<View>(text).unwrap();
        assert_eq!((view.leader, view.voters.voters), (Some(1), 3));
        assert_eq!(view.members[0].state, "ok");
        let text = r#"{"state":{"applied":9,"rows":1,"rows_digest":"a","log_digest":"b"}}"#;
        assert_eq!(
            serde_json::from_str::<Status>(text).unwrap().state.applied,
            9
        );
    }
}
