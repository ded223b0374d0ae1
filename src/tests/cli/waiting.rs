//! One of several that is alone so far.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;

use crate::process::{Place, ask, eventually};

/// An address that nobody listens on, as of now.
fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

#[test]
fn a_node_that_waits_for_its_peers_says_for_whom_and_ends_when_told() {
    let place = Place::new();
    let (ops, own, other, third) = (free(), free(), free(), free());
    let mut child = place
        .command(&["--json"])
        .env("FORMSPOOL_OPS__LISTEN", ops.to_string())
        .env("FORMSPOOL_PEER__LISTEN", own.to_string())
        .env("FORMSPOOL_CLUSTER__PEERS", format!("{own},{other},{third}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let url = format!("http://{ops}");
    let words = eventually("words at /readyz", || {
        TcpStream::connect(ops).ok()?;
        let (status, words) = ask(&url, "GET", "/readyz", "", "");
        assert_eq!(status, 503, "{words}");
        words.contains(&other.to_string()).then_some(words)
    });
    assert!(words.contains(&third.to_string()), "{words}");
    assert_eq!(ask(&url, "GET", "/livez", "", "").0, 200);
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0), "as it was told");
}
