//! A server as a process of its own: started here, ended here by its own id.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

/// Killed when dropped.
pub(crate) struct Server {
    child: Child,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// The product, with `always`, in `data_dir`.
    pub(crate) async fn product(binary: &Path, data_dir: &Path) -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(binary);
        command
            .arg("serve")
            .env("FORMSPOOL_DATA_DIR", data_dir)
            .env("FORMSPOOL_WAL__FSYNC", "always")
            .env("FORMSPOOL_HTTP__LISTEN", address.to_string())
            .env("FORMSPOOL_OPS__LISTEN", free_address()?.to_string());
        Self::start(command, address).await
    }

    /// The server that stores nothing: this binary again.
    pub(crate) async fn no_store() -> Result<Self> {
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("no-store").arg(address.to_string());
        Self::start(command, address).await
    }

    async fn start(mut command: Command, address: SocketAddr) -> Result<Self> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut server = Self {
            child: child.context("start the server")?,
            address,
        };
        let deadline = Instant::now() + Duration::from_secs(30);
        while tokio::net::TcpStream::connect(address).await.is_err() {
            if let Some(status) = server.child.try_wait()? {
                bail!("the server ended: {status}");
            }
            ensure!(Instant::now() < deadline, "the server does not listen");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}
