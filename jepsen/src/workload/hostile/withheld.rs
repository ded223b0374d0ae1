//! The honeypot: a robot gets a receipt, and nobody sees its submission until a person lets it go.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::client::api::{self, JSON};
use crate::client::{Call, Client};
use crate::form::Form;
use crate::history::{Receipt, What};
use crate::reader::http::Reader;
use crate::workload::Run;
use crate::workload::hostile::{Door, brief, page};

const PATH: &str = "/v1/forms/jepsen-door";

pub(super) async fn run(run: &mut Run, door: &mut Door) -> anyhow::Result<()> {
    door.cases += 2;
    let tried = tries(run, &mut door.client).await;
    run.note(tried);
    Ok(())
}

async fn tries(run: &Run, client: &mut Client) -> anyhow::Result<()> {
    // One stays withheld: it must be in no reader's sight.
    let kept = run.submission(Form::Door, None);
    run.history.invoke(0, &kept);
    let receipt = post(run, client, kept.marker).await?;
    run.history.push(kept.marker, What::Ok(receipt));

    // One is released: it must get a seq, once, and keep its id and time.
    let freed = run.submission(Form::Door, None);
    let receipt = post(run, client, freed.marker).await?;
    let token = run.site.token()?;
    let position = position(client, &token, receipt.id).await?;
    let release = json!({ "positions": [position] }).to_string();
    let release = Call::post(format!("{PATH}/withheld/release"), JSON, release).bearer(&token);
    for count in [1, 0] {
        let answer = client.call(&release).await?;
        ensure!(answer.status == 200, "releasing: {}", brief(&answer));
        let value: Value = serde_json::from_slice(&answer.body)?;
        let released = value.get("released").and_then(Value::as_u64);
        ensure!(
            released == Some(count),
            "released {released:?}, expected {count}"
        );
    }
    let client = Client::new(run.site.http);
    let mut reader = Reader::new(client, token, run.bodies);
    let sight = reader.whole(Form::Door).await;
    let row = sight
        .find(freed.marker)
        .context("what was released is not shown")?;
    run.history.invoke(0, &freed);
    let index = row.index.context("no index")?;
    let receipt = Receipt {
        seq: Some(row.seq),
        index,
        ..receipt
    };
    run.history.push(freed.marker, What::Ok(receipt));
    Ok(())
}

async fn post(run: &Run, client: &mut Client, marker: u64) -> anyhow::Result<Receipt> {
    let body = page::with_honeypot(&run.bodies.marker_text(Form::Door, marker));
    let call = Call::post(format!("{PATH}/submissions"), JSON, body).header("accept", JSON);
    let outcome = api::outcome(Form::Door, client.call(&call).await)?;
    let receipt = outcome.receipt("a filled honeypot")?;
    ensure!(
        receipt.seq.is_none(),
        "a filled honeypot got a seq: {receipt:?}"
    );
    Ok(receipt)
}

/// Where the withheld submission of that id lies.
async fn position(client: &mut Client, token: &str, id: u128) -> anyhow::Result<String> {
    let answer = client
        .call(&Call::get(format!("{PATH}/withheld?limit=100")).bearer(token))
        .await?;
    ensure!(
        answer.status == 200,
        "listing what is withheld: {}",
        brief(&answer)
    );
    let list: Value = serde_json::from_slice(&answer.body)?;
    let list = list
        .get("withheld")
        .and_then(Value::as_array)
        .context("no list")?;
    for withheld in list {
        let text = |name| {
            withheld
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        if api::id(text("id"))? == id {
            return Ok(text("position").to_owned());
        }
    }
    anyhow::bail!("what was withheld is not listed")
}
