//! What this node proves itself with, and whose word it takes: files, read again when they change.
//!
//! Holds: what is in use was whole and fitted together when it was read. Files that do not are named,
//! once, and the last good ones stay. A certificate that only its dates speak against is used: the
//! clock may be what is wrong, and the other end judges anyway.
//!
//! Why nothing is resumed: a session of yesterday would let in whoever had a certificate yesterday.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;
use tokio_rustls::rustls;
use tokio_rustls::rustls::CertificateError;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;
use tokio_rustls::rustls::client::{Resumption, WebPkiServerVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use tokio_rustls::rustls::version::TLS13;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, ServerConfig};
use tracing::{info, warn};

use crate::config::TlsConfig;

/// New connections look at the files no more often.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Both ends of a connection, ready to use.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) client: Arc<ClientConfig>,
    pub(crate) server: Arc<ServerConfig>,
}

/// The files and what was last read from them.
pub(crate) struct Keys {
    files: TlsConfig,
    /// By which the others dial this node: its certificate must say it.
    name: ServerName<'static>,
    held: Mutex<Held>,
}

struct Held {
    pair: Pair,
    seen: Stamps,
    looked: Instant,
}

/// When each file was changed, and its length; `None`: it cannot be looked at.
type Stamps = [Option<(SystemTime, u64)>; 3];

impl Keys {
    /// Reads the files of a node that is dialled as `address`; all that is wrong with them, in words.
    pub(crate) fn open(files: &TlsConfig, address: &str) -> Result<Self, Vec<String>> {
        let name = host(address).map_err(|why| vec![why])?;
        // Before they are read: what is written while they are is seen as a change.
        let seen = stamps(files);
        let pair = read(files, &name)?;
        Ok(Self {
            files: files.clone(),
            name,
            held: Mutex::new(Held {
                pair,
                seen,
                looked: Instant::now(),
            }),
        })
    }

    /// What a new connection uses.
    pub(crate) async fn current(self: &Arc<Self>) -> Pair {
        if self.is_due() {
            let keys = Arc::clone(self);
            // Whatever becomes of it, there is a pair that was good.
            drop(crate::blocking::blocking(move || keys.look()).await);
        }
        self.held().pair.clone()
    }

    fn is_due(&self) -> bool {
        let mut held = self.held();
        let is_due = held.looked.elapsed() >= LOOK_AGAIN;
        if is_due {
            held.looked = Instant::now();
        }
        is_due
    }

    fn look(&self) {
        let seen = stamps(&self.files);
        if seen == self.held().seen {
            return;
        }
        let read = read(&self.files, &self.name);
        let mut held = self.held();
        held.seen = seen;
        match read {
            Ok(pair) => {
                held.pair = pair;
                info!("new certificates are used for new connections to members");
            }
            Err(problems) => {
                let error = problems.join("; ");
                warn!(error, "new certificates cannot be used: the old ones stay");
            }
        }
    }

    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The host of an address, as a certificate says it.
pub(crate) fn host(address: &str) -> Result<ServerName<'static>, String> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(host.to_owned())
        .map_err(|_| format!("{host:?} is no name that a certificate can be for"))
}

fn stamps(files: &TlsConfig) -> Stamps {
    [&files.cert_file, &files.key_file, &files.ca_file].map(|file| {
        let about = fs::metadata(file).ok()?;
        Some((about.modified().ok()?, about.len()))
    })
}

fn read(files: &TlsConfig, name: &ServerName<'_>) -> Result<Pair, Vec<String>> {
    let chain = certificates("cert_file", &files.cert_file);
    let key = key(&files.key_file);
    let roots = certificates("ca_file", &files.ca_file)
        .and_then(|certificates| roots(&files.ca_file, certificates));
    match (chain, key, roots) {
        (Ok(chain), Ok(key), Ok(roots)) => fit(files, chain, &key, Arc::new(roots), name),
        (chain, key, roots) => Err([chain.err(), key.err(), roots.err()]
            .into_iter()
            .flatten()
            .collect()),
    }
}

fn bytes(what: &str, path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|error| problem(what, path, error))
}

fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let pem = bytes(what, path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        Ok(found) if found.is_empty() => Err(problem(what, path, "no certificate in it")),
        Ok(found) => Ok(found),
        Err(error) => Err(problem(what, path, format!("not PEM: {error}"))),
    }
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>, String> {
    let pem = bytes("key_file", path)?;
    PrivateKeyDer::from_pem_slice(&pem)
        .map_err(|error| problem("key_file", path, format!("no private key: {error}")))
}

fn roots(path: &Path, found: Vec<CertificateDer<'static>>) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in found {
        let added = roots.add(certificate);
        added.map_err(|error| problem("ca_file", path, error))?;
    }
    Ok(roots)
}

/// Three readable files that may not belong together.
fn fit(
    files: &TlsConfig,
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
    roots: Arc<RootCertStore>,
    name: &ServerName<'_>,
) -> Result<Pair, Vec<String>> {
    let provider = Arc::new(ring::default_provider());
    let one =
        |what: &str, path: &Path, error: &dyn std::fmt::Display| vec![problem(what, path, error)];
    let ca = |error| one("ca_file", &files.ca_file, &error);
    let members =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider));
    let members = members.build().map_err(|error| ca(error.to_string()))?;
    let servers = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider));
    let servers = servers.build().map_err(|error| ca(error.to_string()))?;
    let mut problems = Vec::new();
    if let Some((end, between)) = chain.split_first() {
        let now = UnixTime::now();
        let asks = members.verify_client_cert(end, between, now).map(drop);
        let answers = servers.verify_server_cert(end, between, name, &[], now);
        for judged in [asks, answers.map(drop)] {
            problems.extend(against(judged.err()).map(|why| own(files, &why)));
        }
        problems.dedup();
    }
    let pair = pair(&provider, chain, key, members, servers);
    match pair {
        Ok(pair) if problems.is_empty() => Ok(pair),
        Ok(_) => Err(problems),
        Err(error) => {
            let words = format!("does not fit cert_file: {error}");
            problems.push(problem("key_file", &files.key_file, words));
            Err(problems)
        }
    }
}

/// What a verifier has against this node's own certificate; its dates are told, no more.
fn against(error: Option<rustls::Error>) -> Option<String> {
    let error = error?;
    if let rustls::Error::InvalidCertificate(
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. },
    ) = &error
    {
        warn!(%error, "no member will talk to this node");
        return None;
    }
    Some(error.to_string())
}

fn own(files: &TlsConfig, why: &str) -> String {
    let words = format!("the other members would refuse it: {why}");
    problem("cert_file", &files.cert_file, words)
}

fn pair(
    provider: &Arc<CryptoProvider>,
    chain: Vec<CertificateDer<'static>>,
    key: &PrivateKeyDer<'static>,
    members: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    servers: Arc<WebPkiServerVerifier>,
) -> Result<Pair, rustls::Error> {
    let server = ServerConfig::builder_with_provider(Arc::clone(provider));
    let mut server = server
        .with_protocol_versions(&[&TLS13])?
        .with_client_cert_verifier(members)
        .with_single_cert(chain.clone(), key.clone_key())?;
    server.session_storage = Arc::new(NoServerSessionStorage {});
    server.send_tls13_tickets = 0;
    let client = ClientConfig::builder_with_provider(Arc::clone(provider));
    let mut client = client
        .with_protocol_versions(&[&TLS13])?
        .with_webpki_verifier(servers)
        .with_client_auth_cert(chain, key.clone_key())?;
    client.resumption = Resumption::disabled();
    Ok(Pair {
        client: Arc::new(client),
        server: Arc::new(server),
    })
}

fn problem(what: &str, path: &Path, why: impl std::fmt::Display) -> String {
    format!("peer.tls.{what} {}: {why}", path.display())
}
