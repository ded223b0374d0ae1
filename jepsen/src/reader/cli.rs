//! Reading as a person at a terminal: `formspool submissions export` and `formspool tail`.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::time::timeout;

use crate::checker::sight::{Shape, Sight};
use crate::form::{Bodies, Form};
use crate::process::site::Site;
use crate::reader::http::lines;

const EXPORT_TIME: Duration = Duration::from_mins(2);
const TAIL_TIME: Duration = Duration::from_secs(10);

/// All that `export` prints.
pub(crate) async fn export(site: &Site, bodies: Bodies, form: Form) -> Sight {
    let mut sight = Sight::new("export", form, Shape::Document);
    let read = export_into(&mut sight, site, bodies).await;
    sight.end(read);
    sight
}

/// What `tail` prints from the beginning to `head`, or until it is silent for too long.
pub(crate) async fn tail(site: &Site, bodies: Bodies, form: Form, head: u64) -> Sight {
    let mut sight = Sight::new("tail", form, Shape::Document);
    let read = tail_into(&mut sight, site, bodies, head).await;
    sight.end(read);
    sight
}

async fn export_into(sight: &mut Sight, site: &Site, bodies: Bodies) -> anyhow::Result<()> {
    let mut command = site.command();
    let form = sight.form.name();
    command.args(["submissions", "export", form, "--format", "ndjson"]);
    command.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(EXPORT_TIME, command.output()).await;
    let output = output.context("export does not end")??;
    lines(&output.stdout, bodies, sight);
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{} {errors}", output.status);
    Ok(())
}

async fn tail_into(
    sight: &mut Sight,
    site: &Site,
    bodies: Bodies,
    head: u64,
) -> anyhow::Result<()> {
    let mut command = site.command();
    command.args(["tail", sight.form.name(), "--after", "0", "--json"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    command.stderr(Stdio::null()).kill_on_drop(true);
    let mut child = command.spawn().context("cannot start tail")?;
    let out = child.stdout.take().context("tail has no output")?;
    let mut printed = BufReader::new(out).lines();
    while sight.last_seq() < head {
        let line = timeout(TAIL_TIME, printed.next_line()).await;
        let line = line.context("tail is silent")??;
        lines(line.context("tail has ended")?.as_bytes(), bodies, sight);
    }
    child.start_kill().context("cannot stop tail")?;
    timeout(TAIL_TIME, child.wait())
        .await
        .context("tail does not end")??;
    Ok(())
}
