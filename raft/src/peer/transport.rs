//! Streams of bytes between members: TCP, or whatever a simulation puts in its place.
//!
//! Holds: a stream that stops without a word is the caller's to notice; every wait above this has
//! its limit. Whoever listens waits for nothing: the kernel asks whether the caller is still there, so
//! that a peer whose power was cut leaves no connection behind.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use futures::future::BoxFuture;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};

/// A silent connection is asked after so long,
const ASK_AFTER: Duration = Duration::from_secs(10);
/// and again after so long,
const ASK_AGAIN: Duration = Duration::from_secs(5);
/// so many times.
const ASKS_MAX: u32 = 4;
/// What was sent and not taken for so long ends it too: while it is, nobody is asked.
const TAKEN_MAX: Duration = Duration::from_secs(30);

/// Both directions of one connection.
pub trait Pipe: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Pipe for T {}

/// The way to other nodes.
pub trait Transport: Send + Sync + 'static {
    /// Opens a connection to a host and port.
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>>;

    /// Begins to take connections.
    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>>;
}

/// Where connections come in.
pub trait Listener: Send + 'static {
    /// The next one. An error concerns that one alone.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Pipe>>>;
}

/// TCP without encryption.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Transport for Tcp {
    fn dial<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            prepare(&stream)?;
            Ok(Box::new(stream) as Box<dyn Pipe>)
        })
    }

    fn listen(&self, address: SocketAddr) -> BoxFuture<'_, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind(address).await?;
            Ok(Box::new(TcpDoor(listener)) as Box<dyn Listener>)
        })
    }
}

struct TcpDoor(TcpListener);

impl Listener for TcpDoor {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<Box<dyn Pipe>>> {
        Box::pin(async move {
            let (stream, _) = self.0.accept().await?;
            prepare(&stream)?;
            Ok(Box::new(stream) as Box<dyn Pipe>)
        })
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?; // a vote of forty bytes must not wait for company
    let keepalive = TcpKeepalive::new()
        .with_time(ASK_AFTER)
        .with_interval(ASK_AGAIN)
        .with_retries(ASKS_MAX);
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(TAKEN_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn both_ends_of_a_connection_are_asked_whether_they_are_there() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stream = TcpStream::connect(address).await.unwrap();
        prepare(&stream).unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), ASK_AFTER);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), ASK_AGAIN);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), ASKS_MAX);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(TAKEN_MAX));
    }
}
