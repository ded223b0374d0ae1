//! The command line: one file a command.
//!
//! Holds: everything that prints goes through `out`; everything that asks a running node goes
//! through `client`; no command but `serve` and `config` changes a file.

mod apply;
mod args;
mod check;
mod client;
mod cluster;
#[cfg(feature = "kafka")]
mod doctor;
mod error;
mod inspect;
#[cfg(feature = "kafka")]
mod mirrors;
mod out;
mod serve;
mod settings;
#[cfg(feature = "sheets")]
mod sheets;
mod status;
mod submissions;
mod tail;
mod tasks;
mod token;
#[cfg(feature = "kafka")]
mod verify;

use std::path::PathBuf;

use crate::config::{self, Config, Loaded, Sources};
use client::Client;

pub use args::Cli;
pub use error::Error;
use out::Out;

use args::{Command, ConfigCommand, Doctor, Global, Submissions, Token, Verify};

/// Does what the command line says.
pub fn run(cli: Cli) -> Result<(), Error> {
    let Cli { command, global } = cli;
    let out = Out {
        is_json: global.json,
    };
    match command.unwrap_or(Command::Serve) {
        Command::Serve => serve::run(out, &load(&global)?),
        Command::Check { paths } => check::run(out, load(&global), &paths),
        Command::Apply { paths } => {
            let found = crate::definitions::read(&paths).map_err(Error::Problems)?;
            ask(&global, async |client| {
                apply::run(out, &client, &found).await
            })
        }
        Command::Status => ask(&global, async |client| status::run(out, &client).await),
        Command::Tail { form, after } => ask(&global, async |client| {
            tail::run(out, &client, &form, after).await
        }),
        Command::Submissions(Submissions::Export {
            form,
            format,
            after,
        }) => {
            let export = submissions::Export {
                form,
                format,
                after,
            };
            ask(&global, async |client| export.run(&client).await)
        }
        Command::Tasks(asked) => ask(&global, async |client| {
            tasks::run(out, &client, asked).await
        }),
        Command::Verify(asked) => verify(out, &global, asked),
        Command::Doctor(asked) => doctor(out, &global, asked),
        Command::Inspect { dir, payloads } => {
            let dir = match dir {
                Some(dir) => dir,
                None => load(&global)?.config.data_dir,
            };
            inspect::run(out, &dir, payloads)
        }
        Command::Cluster(asked) => ask(&global, async |client| {
            cluster::run(out, &client, asked).await
        }),
        Command::Token(Token::Rotate) => {
            let file = load(&global)?.config.token_file();
            ask(&global, async |client| {
                token::rotate(out, &client, &file).await
            })
        }
        Command::Config(ConfigCommand::Default) => settings::default(out),
        Command::Config(ConfigCommand::Show) => settings::show(out, &load(&global)?),
    }
}

fn verify(out: Out, global: &Global, asked: Verify) -> Result<(), Error> {
    // A build without destinations asks nobody.
    let _ = (out, global);
    match asked {
        #[cfg(feature = "kafka")]
        Verify::Kafka { task, findings_max } => {
            let config = load(global)?.config.kafka;
            ask(global, async |client| {
                verify::run(out, &client, &config, (task.as_deref(), findings_max)).await
            })
        }
        #[cfg(not(feature = "kafka"))]
        Verify::Kafka { .. } => Err(missing("Kafka (feature kafka)")),
        #[cfg(feature = "sheets")]
        Verify::Sheets {
            task,
            form,
            repair,
            findings_max,
        } => {
            let config = load(global)?.config.sheets;
            let asked = sheets::Asked {
                task,
                form,
                repairs: repair,
                findings_max,
            };
            ask(global, async |client| {
                sheets::verify(out, &client, &config, &asked).await
            })
        }
        #[cfg(not(feature = "sheets"))]
        Verify::Sheets { .. } => Err(missing("Google Sheets (feature sheets)")),
    }
}

fn doctor(out: Out, global: &Global, asked: Doctor) -> Result<(), Error> {
    // A build without destinations asks nobody.
    let _ = (out, global);
    match asked {
        #[cfg(feature = "kafka")]
        Doctor::Kafka { task } => {
            let config = load(global)?.config.kafka;
            ask(global, async |client| {
                doctor::run(out, &client, &config, task.as_deref()).await
            })
        }
        #[cfg(not(feature = "kafka"))]
        Doctor::Kafka { .. } => Err(missing("Kafka (feature kafka)")),
        #[cfg(feature = "sheets")]
        Doctor::Sheets {
            spreadsheet,
            account,
        } => {
            let config = load(global)?.config.sheets;
            // No node is asked, but what asks Google needs the same kind of runtime.
            ask(global, async |_| {
                sheets::doctor(out, &config, &spreadsheet, &account).await
            })
        }
        #[cfg(not(feature = "sheets"))]
        Doctor::Sheets { .. } => Err(missing("Google Sheets (feature sheets)")),
    }
}

/// Of a build without one of them.
#[cfg(not(all(feature = "kafka", feature = "sheets")))]
fn missing(what: &str) -> Error {
    Error::Problems(vec![format!("this build has no {what}")])
}

/// Settings from the file, the environment and the command line.
fn load(global: &Global) -> Result<Loaded, Error> {
    let data_dir = global.data_dir.as_ref();
    config::load(&Sources {
        file: global.config.clone(),
        file_if_present: Some(PathBuf::from("formspool.toml")),
        environment: config::environment(),
        overrides: data_dir
            .map(|dir| ("data_dir".to_owned(), dir.display().to_string()))
            .into_iter()
            .collect(),
    })
    .map_err(Error::Problems)
}

/// Asks the node that the settings or `--url` name.
fn ask<F>(global: &Global, question: F) -> Result<(), Error>
where
    F: AsyncFnOnce(Client) -> Result<(), Error>,
{
    let Loaded { config, .. } = load(global)?;
    let url = global.url.clone().unwrap_or_else(|| url_of(&config));
    let token = global
        .token
        .clone()
        .or_else(|| token::read(&config.token_file()));
    let client = Client::new(&url, token)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(question(client))
}

/// Tells an error on standard error: one line, its causes behind it.
pub fn complain(error: &Error) {
    let mut text = format!("formspool: {error}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        text.extend([": ", &inner.to_string()]);
        cause = inner.source();
    }
    out::complain(&text);
}

/// Where this machine reaches the node of these settings.
fn url_of(config: &Config) -> String {
    format!("http://{}", crate::node::reachable(config.http.listen))
}
