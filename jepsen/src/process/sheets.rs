//! The Google Sheets of the tests, as a process: see `sheets/README.md` in this crate.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use hyper::Method;
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::client::api::JSON;
use crate::client::{Call, Client};
use crate::process::memory::{self, Memory};

const START_TIME: Duration = Duration::from_secs(30);

#[derive(Debug, Deserialize)]
struct Told {
    api: String,
    control: String,
}

/// Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Google {
    child: Child,
    folder: TempDir,
    client: Client,
    pub(crate) api: String,
}

impl Google {
    /// The binary lies beside this one.
    pub(crate) async fn start(
        (binary, discovery): (Option<&Path>, &Path),
        parent: &Path,
        seed: u64,
    ) -> anyhow::Result<Self> {
        let beside = std::env::current_exe()?.with_file_name("fake-sheets");
        let binary = binary.unwrap_or(&beside);
        let folder = tempfile::Builder::new()
            .prefix("jepsen-sheets-")
            .tempdir_in(parent)?;
        let mut command = Command::new(binary);
        command.arg("--discovery").arg(discovery);
        command.arg("--write-credentials").arg(key(folder.path()));
        command.arg("--seed").arg(seed.to_string());
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        let child = command.kill_on_drop(true).spawn();
        let mut child = child.with_context(|| format!("cannot start {}", binary.display()))?;
        let out = child.stdout.take().context("no standard output")?;
        let mut line = String::new();
        let mut out = BufReader::new(out);
        let read = timeout(START_TIME, out.read_line(&mut line));
        read.await.context("fake-sheets says nothing")??;
        let told: Told = serde_json::from_str(&line).context("fake-sheets did not start")?;
        let control = told.control.strip_prefix("http://");
        let control: SocketAddr = control.context("no address")?.parse()?;
        Ok(Self {
            child,
            folder,
            client: Client::new(control),
            api: told.api,
        })
    }

    /// Of the service account.
    pub(crate) fn key_file(&self) -> PathBuf {
        key(self.folder.path())
    }

    pub(crate) fn memory(&self) -> anyhow::Result<Memory> {
        let pid = self.child.id().context("fake-sheets has ended")?;
        memory::of(i32::try_from(pid)?)
    }

    pub(crate) async fn get(&mut self, path: &str) -> anyhow::Result<Value> {
        self.ask(Method::GET, path, &Value::Null).await
    }

    pub(crate) async fn post(&mut self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.ask(Method::POST, path, body).await
    }

    pub(crate) async fn ask(
        &mut self,
        method: Method,
        path: &str,
        body: &Value,
    ) -> anyhow::Result<Value> {
        let call = Call::new(method, path).header("content-type", JSON);
        let call = if body.is_null() {
            call
        } else {
            call.body(body.to_string())
        };
        let answer = self.client.call(&call).await?;
        let (status, text) = (answer.status, answer.text());
        ensure!(status == 200, "{path}: {status} {text}");
        serde_json::from_slice(&answer.body).with_context(|| format!("{path}: {text}"))
    }
}

fn key(folder: &Path) -> PathBuf {
    folder.join("key.json")
}
