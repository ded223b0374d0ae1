//! `fake-sheets`: a Google Sheets that tests can reach, break, and read.
//!
//! It shares no code with the product's sink: what a request may look like it reads from Google's
//! published description, and what a request does is written here from Google's documentation. See
//! `README.md` beside this file, also for what is inferred and not documented.
//!
//! The rooms, in the order in which a call passes them: `serve` has the doors, `api` admits and
//! answers, `schema` checks, `batch` applies, `book` is the spreadsheet, `shelf` its past, `journal` what
//! happened; `control` is the other door.

mod api;
mod args;
mod batch;
mod book;
mod clock;
mod control;
mod dice;
mod error;
mod faults;
mod journal;
mod json;
mod keys;
mod quota;
mod schema;
mod serve;
mod settings;
mod shelf;
mod token;
mod world;

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use clap::Parser as _;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use args::Cli;
use keys::Account;
use schema::Schema;
use world::Fake;

const ACCOUNT: &str = "formspool";
pub(crate) const PROJECT: &str = "fake-project";

fn main() -> ExitCode {
    let cli = Cli::parse();
    let made = tokio::runtime::Runtime::new().context("no runtime");
    match made.and_then(|runtime| runtime.block_on(run(&cli))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            writeln!(std::io::stderr().lock(), "fake-sheets: {error:#}").ok();
            ExitCode::FAILURE
        }
    }
}

async fn run(cli: &Cli) -> anyhow::Result<()> {
    let schema = Schema::open(&cli.discovery)?;
    let api = TcpListener::bind(cli.listen).await;
    let api = api.with_context(|| format!("cannot listen on {}", cli.listen))?;
    let control = TcpListener::bind(cli.control).await;
    let control = control.with_context(|| format!("cannot listen on {}", cli.control))?;
    let (listen, watch) = (api.local_addr()?, control.local_addr()?);
    let token_uri = format!("http://{listen}/token");
    let (account, credentials) = Account::make(ACCOUNT, PROJECT, &token_uri)?;
    if let Some(path) = &cli.write_credentials {
        let text = serde_json::to_string_pretty(&credentials)?;
        std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let revision = schema.revision.clone();
    let fake = Fake::new(schema, account.email.clone(), token_uri.clone(), cli.seed);
    {
        let mut world = fake.world();
        world.tokens.add(account);
        if let Some(settings) = &cli.settings {
            let changes = serde_json::from_str(settings).context("--settings is not JSON")?;
            world.settings = world.settings.with(&changes).context("--settings")?;
        }
    }
    for id in &cli.spreadsheet {
        control::make(&fake, &json!({ "id": id }))?;
    }
    let told = json!({
        "api": format!("http://{listen}"),
        "control": format!("http://{watch}"),
        "token_uri": token_uri,
        "email": fake.email,
        "discovery_revision": revision,
    });
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    writeln!(std::io::stdout().lock(), "{told}")?;
    let stop = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
    };
    serve::run(Arc::new(fake), (api, control), stop).await
}
