//! Mutual TLS around another transport.
//!
//! ```text
//!  Link ── greet ──► Tls ── TLS 1.3 ──► TCP      both ends show a certificate that `ca_file` signed;
//!  serve ◄── hear ── Guest ◄───────────          the one that is dialled, one for that host
//! ```
//! Holds: not one byte of a caller is heard before its certificate was found good. A handshake is
//! driven by whoever first reads, so a caller that is slow at it holds up nobody, and costs its seat
//! no longer than the hello may take.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tracing::warn;

use super::keys::{Keys, host};
use super::transport::{Listener, Pipe, Transport};
use crate::config::TlsConfig;

/// Connections of another transport, encrypted, between nodes that know each other.
pub(crate) struct Tls {
    under: Arc<dyn Transport>,
    keys: Arc<Keys>,
}

impl Tls {
    /// For a node that the others dial as `address`; all that is wrong with its files, in words.
    pub(crate) fn open(
        files: &TlsConfig,
        address: &str,
        under: Arc<dyn Transport>,
    ) -> Result<Self, Vec<String>> {
        let keys = Arc::new(Keys::open(files, address)?);
        Ok(Self { under, keys })
    }
}

impl Transport for Tls {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            let name = host(address).map_err(io::Error::other)?;
            let pipe = self.under.dial(address).await?;
            let connector = TlsConnector::from(self.keys.current().await.client);
            let shaken = connector.connect(name, pipe).await;
            let stream = shaken.map_err(|error| in_words(&error))?;
            Ok(Box::new(stream) as Box<dyn Pipe>)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let door = Door {
                under: self.under.listen(address).await?,
                keys: Arc::clone(&self.keys),
                told: Arc::default(),
            };
            Ok(Box::new(door) as Box<dyn Listener>)
        })
    }
}

struct Door {
    under: Box<dyn Listener>,
    keys: Arc<Keys>,
    /// Why the last one was refused.
    told: Arc<Mutex<String>>,
}

impl Listener for Door {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            let pipe = self.under.accept().await?;
            let (keys, told) = (Arc::clone(&self.keys), Arc::clone(&self.told));
            let shaking = Box::pin(async move {
                let acceptor = TlsAcceptor::from(keys.current().await.server);
                let shaken = acceptor.accept(pipe).await;
                shaken.map_err(|error| refused(&told, &error))
            });
            Ok(Box::new(Guest::Shaking(shaking)) as Box<dyn Pipe>)
        })
    }
}

/// Told once a reason, like a refused hello: whoever set up a member must be able to find out.
fn refused(told: &Mutex<String>, error: &io::Error) -> io::Error {
    // Anything else is a connection that broke, or somebody who only looked whether the port is open.
    if error.kind() == io::ErrorKind::InvalidData {
        let words = error.to_string();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told != words {
            warn!(
                error = words,
                "a caller could not show that it is a member: refused"
            );
            *told = words;
        }
    }
    in_words(error)
}

fn in_words(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("TLS: {error}"))
}

type Stream = TlsStream<Box<dyn Pipe>>;

/// A connection that came in.
enum Guest {
    /// It has not shown who it is.
    Shaking(BoxFuture<'static, io::Result<Stream>>),
    /// It has.
    Known(Box<Stream>),
    /// It could not.
    Refused,
}

impl Guest {
    fn known(&mut self, context: &mut Context<'_>) -> Poll<io::Result<Pin<&mut Stream>>> {
        if let Self::Shaking(shaking) = self {
            match ready!(shaking.as_mut().poll(context)) {
                Ok(stream) => *self = Self::Known(Box::new(stream)),
                Err(error) => {
                    *self = Self::Refused;
                    return Poll::Ready(Err(error));
                }
            }
        }
        match self {
            Self::Known(stream) => Poll::Ready(Ok(Pin::new(stream))),
            Self::Shaking(_) | Self::Refused => {
                Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }
}

impl AsyncRead for Guest {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.known(context))?.poll_read(context, into)
    }
}

impl AsyncWrite for Guest {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.known(context))?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.known(context))?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.known(context))?.poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
    use tokio::sync::mpsc;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::peer::desk::Desk;
    use crate::peer::hello::Lane;
    use crate::peer::link::{Dialer, Link};
    use crate::peer::serve::serve;
    use crate::peer::wire::{Reply, Request};

    /// Pipes that hold so few bytes that every write is cut somewhere.
    struct Narrow {
        calls: mpsc::Sender<Box<dyn Pipe>>,
        answers: tokio::sync::Mutex<Option<mpsc::Receiver<Box<dyn Pipe>>>>,
    }

    impl Transport for Narrow {
        fn dial<'a>(&'a self, _: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
            Box::pin(async move {
                let (near, far) = tokio::io::duplex(61);
                let sent = self.calls.send(Box::new(far)).await;
                sent.map_err(|_| io::ErrorKind::ConnectionRefused)?;
                Ok(Box::new(near) as Box<dyn Pipe>)
            })
        }

        fn listen(&self, _: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
            Box::pin(async move {
                let calls = self.answers.lock().await.take().unwrap();
                Ok(Box::new(NarrowDoor(calls)) as Box<dyn Listener>)
            })
        }
    }

    struct NarrowDoor(mpsc::Receiver<Box<dyn Pipe>>);

    impl Listener for NarrowDoor {
        fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Pipe>>> {
            Box::pin(async move { Ok(self.0.recv().await.unwrap()) })
        }
    }

    fn files(folder: &std::path::Path) -> TlsConfig {
        let ca_key = KeyPair::generate().unwrap();
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca_pem = ca.self_signed(&ca_key).unwrap().pem();
        let issuer = Issuer::new(ca, ca_key);
        let key = KeyPair::generate().unwrap();
        let own = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let own = own.signed_by(&key, &issuer).unwrap();
        let write = |name: &str, text: String| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        TlsConfig {
            cert_file: write("cert.pem", own.pem()),
            key_file: write("key.pem", key.serialize_pem()),
            ca_file: write("ca.pem", ca_pem),
        }
    }

    #[tokio::test]
    async fn what_was_written_goes_out_without_another_write_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let (calls, answers) = mpsc::channel(1);
        let answers = tokio::sync::Mutex::new(Some(answers));
        let narrow = Arc::new(Narrow { calls, answers });
        let tls = Tls::open(&files(folder.path()), "127.0.0.1:1", narrow).unwrap();
        let door = tls.listen(SocketAddr::from(([127, 0, 0, 1], 1)));
        let door = door.await.unwrap();
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let desk = Arc::new(Desk::default());
        tasks.spawn(serve(door, desk, stop.clone(), tasks.clone()));
        let dialer = Dialer {
            transport: Arc::new(tls),
            stop: stop.clone(),
            tasks: tasks.clone(),
            me: None,
        };
        let link = Link::new(dialer, Lane::Talk, None, "127.0.0.1:1");
        for bytes in [1, 1000, 60_000] {
            let request = Request::Propose(Bytes::from(vec![7; bytes]));
            let answer = link.call(&request, Duration::from_mins(1)).await.unwrap();
            assert!(matches!(answer, Reply::Cannot(_)), "{answer:?}");
        }
        stop.cancel();
        tasks.close();
        tasks.wait().await;
    }
}
