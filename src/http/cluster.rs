//! The cluster over HTTP: how everybody stands, and what an operator asks of it.
//!
//! Holds: nothing is decided here; whoever leads does it, through whichever node was asked. What
//! cannot be done as things are is a 409 with the reason in words.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use storage::{Command, NodeId, Policy, SetPolicy};

use super::body;
use super::error::{MALFORMED, Problem};
use super::{Hall, Operation, json};

/// `GET /v1/cluster`
pub(super) async fn show(State(doors): State<Arc<Hall>>) -> Response {
    json(StatusCode::OK, &(doors.cluster)())
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Heir {
    to: Option<u32>,
}

/// `POST /v1/cluster/transfer`
pub(super) async fn transfer(
    State(doors): State<Arc<Hall>>,
    request: Request,
) -> Result<Response, Problem> {
    let heir: Heir = body::small(&doors, request, "{\"to\":<number of a node>} or {}").await?;
    let to = heir.to.map(NodeId);
    operate(&doors, Operation::Transfer { to }).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Member {
    node: u32,
}

/// `POST /v1/cluster/remove`
pub(super) async fn remove(
    State(doors): State<Arc<Hall>>,
    request: Request,
) -> Result<Response, Problem> {
    let member: Member = body::small(&doors, request, "{\"node\":<number of a node>}").await?;
    let node = NodeId(member.node);
    operate(&doors, Operation::Remove { node }).await
}

/// `POST /v1/cluster/accept-tail-loss`
pub(super) async fn accept_tail_loss(State(doors): State<Arc<Hall>>) -> Result<Response, Problem> {
    operate(&doors, Operation::AcceptTailLoss).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wanted {
    policy: String,
}

/// `PUT /v1/cluster/policy`
pub(super) async fn set_policy(
    State(doors): State<Arc<Hall>>,
    request: Request,
) -> Result<Response, Problem> {
    let shape = "{\"policy\":\"always\"}, \"interval:<milliseconds>ms\" or \"never\"";
    let wanted: Wanted = body::small(&doors, request, shape).await?;
    let policy = parse_policy(&wanted.policy).ok_or_else(|| {
        Problem::new(
            MALFORMED,
            format!("no policy is called {:?}", wanted.policy),
        )
    })?;
    (doors.admin)(Command::SetPolicy(SetPolicy { policy })).await?;
    let shape = json!({ "policy": crate::ingest::durability_text(policy) });
    Ok(json(StatusCode::OK, &shape))
}

/// As the settings name it, or as receipts do.
fn parse_policy(text: &str) -> Option<Policy> {
    match text {
        "always" | "fsync" => Some(Policy::Always),
        "never" => Some(Policy::Never),
        _ => {
            let ms = text.strip_prefix("interval:")?.strip_suffix("ms")?;
            let ms = ms.parse().ok()?;
            (ms > 0).then_some(Policy::IntervalMs(ms))
        }
    }
}

async fn operate(doors: &Hall, operation: Operation) -> Result<Response, Problem> {
    let done = (doors.operate)(operation).await?;
    Ok(json(StatusCode::OK, &done))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_known_by_both_of_its_names() {
        assert_eq!(parse_policy("always"), Some(Policy::Always));
        assert_eq!(parse_policy("fsync"), Some(Policy::Always));
        assert_eq!(parse_policy("never"), Some(Policy::Never));
        assert_eq!(parse_policy("interval:50ms"), Some(Policy::IntervalMs(50)));
        for bad in [
            "",
            "sometimes",
            "interval:50",
            "interval:0ms",
            "interval:-1ms",
        ] {
            assert_eq!(parse_policy(bad), None, "{bad}");
        }
    }
}
