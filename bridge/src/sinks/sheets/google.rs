//! Calls to Google: with `google/` the only place that knows its own description of its API.
//!
//! Holds: every call asks for the scope `spreadsheets` and nothing more. A batch is sent once, at once,
//! under the token that was fetched before; only a read whose token is refused is sent again, once. A body that breaks off is not
//! an answer. Zeros that Google leaves out are read as zeros.

mod answer;
mod batch;
mod wire;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use google_sheets4::api::{
    BatchUpdateSpreadsheetResponse, DataFilter, DeveloperMetadataLookup,
    SearchDeveloperMetadataRequest,
};
use google_sheets4::hyper_util::client::legacy::Client;
use google_sheets4::hyper_util::client::legacy::connect::HttpConnector;
use google_sheets4::hyper_util::rt::TokioExecutor;
use google_sheets4::yup_oauth2::authenticator::Authenticator;
use google_sheets4::yup_oauth2::client::CustomHyperClientBuilder;
use google_sheets4::yup_oauth2::{ServiceAccountAuthenticator, ServiceAccountKey};
use google_sheets4::{Error, Sheets, common, hyper_rustls};
use serde_json::Value;

use self::answer::{Headers, of_error, of_token};
use self::wire::{done, item, tabs};
use super::api::{Api, Done, Edit, Fault, Item, Tab};
use crate::config::SheetsConfig;

const GOOGLE: &str = "https://sheets.googleapis.com/";
/// All that is asked for.
const SCOPE: &str = "https://www.googleapis.com/auth/spreadsheets";
/// What an answer to a batch carries.
const BATCH_FIELDS: &str = "replies,updatedSpreadsheet(sheets(properties(sheetId,title,\
                            gridProperties(rowCount,columnCount,frozenRowCount))))";
const TAB_FIELDS: &str =
    "sheets(properties(sheetId,title,gridProperties(rowCount,columnCount,frozenRowCount)))";

/// A connection for `account`; the node's own if it has no name.
pub(super) async fn connect(config: &SheetsConfig, account: &str) -> Result<Arc<dyn Api>, Fault> {
    let key = key_of(config, account).await.map_err(Fault::Unknown)?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_connect_timeout(Some(Duration::from_millis(config.connect_ms)));
    if config.endpoint.starts_with("http://") {
        return over(http, key, config).await;
    }
    let tls = hyper_rustls::HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(|error| Fault::Unknown(format!("no certificates to trust: {error}")))?;
    let https = tls.https_or_http().enable_http2().wrap_connector(http);
    over(https, key, config).await
}

/// Why this node cannot ask for `account`, if it cannot.
pub(super) async fn lacks(config: &SheetsConfig, account: &str) -> Option<String> {
    key_of(config, account).await.err()
}

async fn key_of(config: &SheetsConfig, account: &str) -> Result<ServiceAccountKey, String> {
    let file = &config.credentials_file;
    if file.as_os_str().is_empty() {
        let words = "this node holds no Google credential: sheets.credentials_file is not set";
        return Err(words.to_owned());
    }
    let path = if account.is_empty() {
        file.to_owned()
    } else {
        file.with_file_name(format!("{account}.json"))
    };
    let text = tokio::fs::read_to_string(&path)
        .await
        .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    serde_json::from_str(&text).map_err(|error| {
        // The text is secret: only where it fails is told.
        let (line, column) = (error.line(), error.column());
        let path = path.display();
        format!("{path} is not a service account's key: line {line}, column {column}")
    })
}

async fn over<C: common::Connector>(
    connector: C,
    key: ServiceAccountKey,
    config: &SheetsConfig,
) -> Result<Arc<dyn Api>, Fault> {
    let mail = key.client_email.clone();
    let for_tokens = Client::builder(TokioExecutor::new()).build(connector.clone());
    let for_tokens = CustomHyperClientBuilder::from(for_tokens);
    let auth = ServiceAccountAuthenticator::with_client(key, for_tokens)
        .build()
        .await
        .map_err(|error| Fault::Unknown(format!("cannot use the key of {mail}: {error}")))?;
    let token = Held::default();
    let client = Client::builder(TokioExecutor::new()).build(connector);
    let mut hub = Sheets::new(client, token.clone());
    let mut base = GOOGLE.to_owned();
    if !config.endpoint.is_empty() {
        base = format!("{}/", config.endpoint.trim_end_matches('/'));
        hub.base_url(base.clone());
        hub.root_url(base.clone());
    }
    Ok(Arc::new(Google {
        hub,
        base,
        auth,
        token,
        is_refused: AtomicBool::new(false),
        mail,
    }))
}

/// The token that the next call goes out under.
#[derive(Clone, Debug, Default)]
struct Held(Arc<Mutex<Option<String>>>);

impl Held {
    fn get(&self) -> Option<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, token: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = token;
    }
}

type TokenOrNot = Result<Option<String>, Box<dyn std::error::Error + Send + Sync>>;

impl common::GetToken for Held {
    fn get_token<'a>(&'a self, _scopes: &'a [&str]) -> BoxFuture<'a, TokenOrNot> {
        let token = self.get();
        Box::pin(std::future::ready(Ok(token)))
    }
}

struct Google<C: common::Connector> {
    hub: Sheets<C>,
    /// Where the API is, with a slash at its end.
    base: String,
    auth: Authenticator<C>,
    token: Held,
    /// Google does not take the token, whatever its time says.
    is_refused: AtomicBool,
    mail: String,
}

impl<C: common::Connector> Google<C> {
    /// Fetches a token where the last one has run out, or is not taken.
    async fn fetch(&self) -> Result<(), Fault> {
        let scopes = [SCOPE];
        let token = if self.is_refused.load(Ordering::Relaxed) {
            self.auth.force_refreshed_token(&scopes).await
        } else {
            self.auth.token(&scopes).await
        };
        let token = token.map_err(|error| of_token(&error))?;
        self.is_refused.store(false, Ordering::Relaxed);
        self.token.set(token.token().map(str::to_owned));
        Ok(())
    }

    /// One call that reads; if its token is refused, once more under a new one.
    async fn call<'a, T, F>(&'a self, send: F) -> Result<T, Fault>
    where
        F: Fn() -> BoxFuture<'a, (Result<T, Error>, Headers)> + Send,
        T: Send,
    {
        self.fetch().await?;
        let (answer, headers) = send().await;
        match answer {
            Ok(answer) => return Ok(answer),
            Err(error) => match of_error(&error, &headers) {
                Fault::Refused(problem) if problem.status == 401 => {}
                fault @ (Fault::Refused(_)
                | Fault::Unsent(_)
                | Fault::Unknown(_)
                | Fault::Unclear(_)) => return Err(fault),
            },
        }
        self.is_refused.store(true, Ordering::Relaxed);
        self.fetch().await?;
        let (answer, headers) = send().await;
        answer.map_err(|error| of_error(&error, &headers))
    }
}

impl<C: common::Connector> Api for Google<C> {
    fn ready(&self) -> BoxFuture<'_, Result<(), Fault>> {
        self.fetch().boxed()
    }

    fn batch_update<'a>(
        &'a self,
        spreadsheet: &'a str,
        edits: Vec<Edit>,
    ) -> BoxFuture<'a, Result<Done, Fault>> {
        async move {
            let body = batch::body(edits);
            let url = format!(
                "{}v4/spreadsheets/{spreadsheet}:batchUpdate?fields={BATCH_FIELDS}&alt=json",
                self.base
            );
            // Under the token that `ready` has fetched: nothing comes between it and the write.
            let token = self.token.get().unwrap_or_default();
            let answer = batch::post(&self.hub.client, &url, (&token, body)).await;
            if let Err(Fault::Refused(problem)) = &answer
                && problem.status == 401
            {
                self.is_refused.store(true, Ordering::Relaxed);
            }
            let answer: BatchUpdateSpreadsheetResponse = answer?;
            Ok(done(answer))
        }
        .boxed()
    }

    fn search<'a>(
        &'a self,
        spreadsheet: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Item>, Fault>> {
        async move {
            let filter = DataFilter {
                developer_metadata_lookup: Some(DeveloperMetadataLookup {
                    metadata_key: Some(key.to_owned()),
                    ..Default::default()
                }),
                ..Default::default()
            };
            let request = SearchDeveloperMetadataRequest {
                data_filters: Some(vec![filter]),
            };
            let answer = self
                .call(|| {
                    let request = request.clone();
                    async move {
                        let mut headers = Headers::default();
                        let hub = self.hub.spreadsheets();
                        let call = hub.developer_metadata_search(request, spreadsheet);
                        let call = call.add_scope(SCOPE).delegate(&mut headers);
                        let answer = call.doit().await;
                        (answer.map(|(_, answer)| answer), headers)
                    }
                    .boxed()
                })
                .await?;
            let found = answer.matched_developer_metadata.unwrap_or_default();
            let items = found.into_iter().filter_map(|one| one.developer_metadata);
            Ok(items.filter_map(item).collect())
        }
        .boxed()
    }

    fn tabs<'a>(&'a self, spreadsheet: &'a str) -> BoxFuture<'a, Result<Vec<Tab>, Fault>> {
        async move {
            let answer = self
                .call(|| {
                    async move {
                        let mut headers = Headers::default();
                        let call = self.hub.spreadsheets().get(spreadsheet);
                        let call = call.add_scope(SCOPE).param("fields", TAB_FIELDS);
                        let answer = call.delegate(&mut headers).doit().await;
                        (answer.map(|(_, answer)| answer), headers)
                    }
                    .boxed()
                })
                .await?;
            Ok(tabs(answer.sheets))
        }
        .boxed()
    }

    fn values<'a>(
        &'a self,
        spreadsheet: &'a str,
        range: &'a str,
    ) -> BoxFuture<'a, Result<Vec<Vec<Value>>, Fault>> {
        async move {
            let answer = self
                .call(|| {
                    async move {
                        let mut headers = Headers::default();
                        let call = self.hub.spreadsheets().values_get(spreadsheet, range);
                        let call = call.value_render_option("UNFORMATTED_VALUE");
                        let call = call.add_scope(SCOPE).delegate(&mut headers);
                        let answer = call.doit().await;
                        (answer.map(|(_, answer)| answer), headers)
                    }
                    .boxed()
                })
                .await?;
            Ok(answer.values.unwrap_or_default())
        }
        .boxed()
    }

    fn mail(&self) -> &str {
        &self.mail
    }
}
