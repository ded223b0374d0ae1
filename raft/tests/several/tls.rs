//! Mutual TLS between members: who is let in, who is not, and what a renewal does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::site::{LIMIT, Site, close_all, define, has_form_everywhere, propose, until};
use crate::wire::start_each;
use raft::{Error, Node, Standing, TlsConfig};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, SignatureScheme};

/// Somebody who signs.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate and its key.
    fn sign(&self, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.pem(), key.serialize_pem())
    }
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let path = folder.join(name);
    fs::write(&path, text).unwrap();
    path
}

/// Files of one node for 127.0.0.1.
fn files(folder: &Path, authority: &Authority) -> TlsConfig {
    let (cert, key) = authority.sign("127.0.0.1");
    TlsConfig {
        cert_file: write(folder, "cert.pem", &cert),
        key_file: write(folder, "key.pem", &key),
        ca_file: write(folder, "ca.pem", &authority.pem),
    }
}

fn folders(count: usize) -> Vec<TempDir> {
    (0..count).map(|_| tempfile::tempdir().unwrap()).collect()
}

async fn all_are_well(nodes: &[Node]) {
    until("all see all well", || {
        nodes.iter().all(|node| {
            let roster = node.roster();
            roster.len() == nodes.len() && roster.iter().all(|seat| seat.state == Standing::Ok)
        })
    })
    .await;
}

/// Takes any certificate: what is tried here is how the other side judges.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::Error::General("not spoken here".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Dials with this certificate and key, or with none.
async fn dial(
    address: &str,
    own: Option<&(String, String)>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = ring::default_provider();
    let config = ClientConfig::builder_with_provider(Arc::new(provider.clone()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)));
    let config = match own {
        Some((cert, key)) => {
            let chain = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            config.with_client_auth_cert(vec![chain], key).unwrap()
        }
        None => config.with_no_client_auth(),
    };
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

/// What is answered to a hello; empty where the connection is closed instead.
async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> Vec<u8> {
    crate::wire::say(&mut stream, &crate::wire::stranger())
        .await
        .unwrap_or_default()
}

/// The first bytes that come back on a connection without TLS.
async fn plain_answer(address: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut bytes = Vec::new();
    if stream.write_all(&crate::wire::stranger()).await.is_ok() {
        let end = tokio::time::timeout(LIMIT, stream.read_to_end(&mut bytes));
        drop(end.await.unwrap());
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_with_certificates_found_a_cluster_and_nobody_else_is_heard() {
    let (site, folders) = (Site::new(3), folders(3));
    let authority = Authority::new();
    let configs: Vec<_> = folders
        .iter()
        .map(|folder| files(folder.path(), &authority))
        .collect();
    let nodes = start_each(&site, |at, setup| setup.peer.tls = configs[at].clone()).await;
    propose(&nodes[0], &define("a")).await;
    has_form_everywhere(&nodes, "a").await;
    all_are_well(&nodes).await;

    let address = site.addresses[1].to_string();
    let good = authority.sign("somebody");
    let welcome = answer(dial(&address, Some(&good)).await.unwrap()).await;
    assert!(!welcome.is_empty(), "the test itself cannot speak");
    let other = Authority::new().sign("127.0.0.1");
    for own in [Some(&other), None] {
        // In TLS 1.3 the caller is done before it is judged: it hears so when it reads.
        let heard = match dial(&address, own).await {
            Ok(stream) => answer(stream).await,
            Err(_) => Vec::new(),
        };
        assert_eq!(heard, [0_u8; 0], "certificate: {}", own.is_some());
    }
    let plain = plain_answer(&address).await;
    assert!(
        plain.is_empty() || plain.first() == Some(&21),
        "an alert at most: {plain:?}"
    );

    // Nor is a whole node let in that has another authority, or none.
    let folder = tempfile::tempdir().unwrap();
    for tls in [
        files(folder.path(), &Authority::new()),
        TlsConfig::default(),
    ] {
        let mut setup = Site::new(1).setup(0);
        setup.cluster.peers = site.addresses.iter().map(ToString::to_string).collect();
        setup.peer.tls = tls;
        let (told, mut waits) = tokio::sync::mpsc::channel(8);
        let start = tokio::task::spawn(Node::start(setup, move |progress| {
            drop(told.try_send(format!("{progress:?}")));
        }));
        let words = tokio::time::timeout(LIMIT, waits.recv()).await.unwrap();
        let words = words.unwrap();
        assert_eq!(words.matches("cannot be reached").count(), 3, "{words}");
        start.abort();
    }
    assert_eq!(nodes[0].roster().len(), 3);
    all_are_well(&nodes).await;
    close_all(nodes).await;
}

async fn certificate_of(address: &str, own: &(String, String)) -> Vec<u8> {
    let stream = dial(address, Some(own)).await.unwrap();
    let (_, session) = stream.get_ref();
    session.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewed_files_are_used_by_new_connections_and_broken_ones_are_not() {
    let (site, folders) = (Site::new(3), folders(3));
    let (old, new) = (Authority::new(), Authority::new());
    let configs: Vec<_> = folders
        .iter()
        .map(|folder| files(folder.path(), &old))
        .collect();
    let nodes = start_each(&site, |at, setup| setup.peer.tls = configs[at].clone()).await;
    propose(&nodes[0], &define("a")).await;
    let address = site.addresses[0].to_string();
    let own = old.sign("somebody");
    let first = certificate_of(&address, &own).await;

    // Half of a renewal: the key does not fit yet.
    let folder = folders[0].path();
    let (cert, key) = old.sign("127.0.0.1");
    write(folder, "cert.pem", &cert);
    for _ in 0..15 {
        assert_eq!(certificate_of(&address, &own).await, first);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    write(folder, "key.pem", &key);
    let renewed = CertificateDer::from_pem_slice(cert.as_bytes()).unwrap();
    let seen = async {
        while certificate_of(&address, &own).await != renewed.as_ref() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, seen).await.unwrap();

    // Another authority comes in beside the old one, signs all anew, and the old one goes.
    let both = format!("{}{}", old.pem, new.pem);
    let steps: [&dyn Fn(&Path); 3] = [
        &|folder| drop(write(folder, "ca.pem", &both)),
        &|folder| {
            let (cert, key) = new.sign("127.0.0.1");
            write(folder, "cert.pem", &cert);
            write(folder, "key.pem", &key);
        },
        &|folder| drop(write(folder, "ca.pem", &new.pem)),
    ];
    for step in steps {
        for folder in &folders {
            step(folder.path());
        }
        // Longer than the files may go unseen; connections of all ages are in between.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        drop(dial(&address, Some(&own)).await);
        all_are_well(&nodes).await;
    }
    let refused = async {
        loop {
            let heard = match dial(&address, Some(&own)).await {
                Ok(stream) => answer(stream).await,
                Err(_) => return,
            };
            if heard.is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(LIMIT, refused).await.unwrap();
    let welcome = dial(&address, Some(&new.sign("somebody"))).await.unwrap();
    assert!(!answer(welcome).await.is_empty());
    close_all(nodes).await;
}

async fn problems(tls: TlsConfig) -> Vec<String> {
    let mut setup = Site::new(1).setup(0);
    setup.peer.tls = tls;
    setup.raft.heartbeat_ms = 0;
    match Node::start(setup, |_| {}).await {
        Err(Error::Config { problems }) => problems,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn everything_that_is_wrong_with_the_files_is_named_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let authority = Authority::new();
    let good = files(folder, &authority);
    let with = |cert: &str, key: &str, ca: &str| TlsConfig {
        cert_file: folder.join(cert),
        key_file: folder.join(key),
        ca_file: folder.join(ca),
    };
    write(folder, "empty.pem", "");
    write(
        folder,
        "broken.pem",
        "-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
    );
    let (elsewhere, its_key) = authority.sign("elsewhere.example");
    write(folder, "elsewhere.pem", &elsewhere);
    write(folder, "elsewhere-key.pem", &its_key);
    write(folder, "other-ca.pem", &Authority::new().pem);

    let said = problems(with("missing.pem", "empty.pem", "broken.pem")).await;
    assert_eq!(said.len(), 4, "with heartbeat_ms: {said:#?}");
    for (at, words) in [
        (1, "peer.tls.cert_file"),
        (1, "missing.pem: No such file"),
        (2, "peer.tls.key_file"),
        (2, "empty.pem: no private key"),
        (3, "peer.tls.ca_file"),
        (3, "broken.pem: not PEM"),
    ] {
        assert!(said[at].contains(words), "{words}: {said:#?}");
    }
    let said = problems(with("elsewhere.pem", "key.pem", "ca.pem")).await;
    assert_eq!(said.len(), 3, "{said:#?}");
    assert!(said[1].contains("would refuse it"), "{said:#?}");
    assert!(said[2].contains("does not fit cert_file"), "{said:#?}");
    let said = problems(with("cert.pem", "key.pem", "other-ca.pem")).await;
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[1].contains("would refuse it"), "{said:#?}");
    let mut half = good;
    half.ca_file = PathBuf::new();
    let said = problems(half).await;
    assert_eq!(said.len(), 2, "{said:#?}");
    assert!(said[1].contains("all three or none"), "{said:#?}");
}
