//! The log held: a file lies where the directory of sheets should be, so no sheet can be written and
//! no record is delivered.
//!
//! Why a file: a directory that may not be written to stops everybody but root.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::checker::findings::Kind;
use crate::client::Client;
use crate::client::api::{self, FULL};
use crate::form::Form;
use crate::history::What;
use crate::process::site::Site;
use crate::workload::Run;

const NAMED_TIME: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);
/// Those of the forms that the fleet posts to, as the definitions call them.
const TASKS: [&str; 2] = ["student-sheet", "jepsen-sheet"];
/// Not one of the fleet's.
const PROCESS: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Held {
    obstacle: PathBuf,
    named: u64,
}

impl Held {
    /// Before the first start.
    pub(crate) fn lay(site: &Site) -> anyhow::Result<Self> {
        let obstacle = site.sheets();
        if let Some(data) = obstacle.parent() {
            std::fs::create_dir_all(data)?;
        }
        std::fs::write(&obstacle, "in the way\n")?;
        Ok(Self { obstacle, named: 0 })
    }

    /// Posts until a 507 names a task.
    pub(crate) async fn must_be_named(
        &mut self,
        run: &mut Run,
        address: SocketAddr,
    ) -> anyhow::Result<()> {
        let (mut client, end) = (Client::new(address), Instant::now() + NAMED_TIME);
        let mut said = "nothing".to_owned();
        while Instant::now() < end {
            let submission = run.submission(Form::Free, None);
            run.history.invoke(PROCESS, &submission);
            let answer = client.call(&api::submit_call(&submission)).await;
            if let Ok(answer) = &answer
                && answer.status == FULL
            {
                said = answer.text();
            }
            let outcome = api::outcome(submission.form, answer);
            let meant = *outcome.as_ref().unwrap_or(&What::Unknown);
            run.history.push(submission.marker, meant);
            run.note(outcome.map(drop));
            if TASKS.iter().any(|task| said.contains(task)) {
                self.named += 1;
                run.progress(format!("the log is held, and 507 says so: {said}"));
                return Ok(());
            }
            sleep(PAUSE).await;
        }
        run.report.findings.add(Kind::Full, || {
            format!("no 507 names a task that holds the log: {said}")
        });
        Ok(())
    }

    /// From now on sheets can be written.
    pub(crate) fn clear(self, run: &mut Run) -> anyhow::Result<()> {
        std::fs::remove_file(&self.obstacle)?;
        run.progress("the sheets can be written");
        run.report
            .fact("spells in which 507 names a task", self.named);
        Ok(())
    }
}
