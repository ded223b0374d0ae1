//! A network of our own: one namespace a node, one for the clients (ours), and between them a
//! switch in this process that can cut, delay and lose on each link and in each direction.
//!
//! ```text
//!   node 1      node 2      node 3      clients: this process
//!     │ eth0      │           │            │
//!    TAP         TAP         TAP          TAP
//!     └───────────┴──── switch ────────────┘      a link = (from, to)
//! ```
//! Holds: no namespace has a name and no interface outlives its file. So there is nothing to tear
//! down: what is left when this process ends, also by `kill -9`, goes with its last user.
//! Why a switch of ours: a fault is a lock away, counts what it drops, and needs neither netem nor
//! nft; and neighbours are fixed, so a link that is cut one way is cut one way (a lost answer to
//! ARP would cut both).

mod kernel;
mod link;
mod space;
mod switch;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

pub(crate) use link::Link;
pub(crate) use space::Space;
use switch::Switch;

const PLACES: [&str; 4] = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"];
const TUN: &str = "/dev/net/tun";
pub(crate) const NODES_MAX: usize = 9;

/// Dropped, its interfaces go.
#[derive(Debug)]
pub(crate) struct Net {
    /// Of the nodes.
    spaces: Vec<Space>,
    switch: Switch,
}

/// This process has left the machine's network: its sockets are in one of its own. Only from the
/// first thread, before there are others.
pub(crate) fn leave() -> anyhow::Result<()> {
    must_be_possible()?;
    kernel::new_network().context("networks cannot be made here")?;
    ip(&["link", "set", "lo", "up"])
}

/// Says what is missing where no network can be made here.
fn must_be_possible() -> anyhow::Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "networks cannot be made here: that needs root"
    );
    ensure!(
        Path::new(TUN).exists(),
        "networks cannot be made here: there is no {TUN} (`modprobe tun`)"
    );
    tool().map(drop)
}

impl Net {
    /// Of `nodes` nodes. `leave` must have been called: the clients' interface is made here.
    pub(crate) fn new(nodes: usize, seed: u64) -> anyhow::Result<Self> {
        ensure!(nodes <= NODES_MAX, "at most {NODES_MAX} nodes");
        let spaces = (0..nodes).map(|_| Space::fresh());
        let spaces = spaces.collect::<anyhow::Result<Vec<_>>>()?;
        let own = Space::own()?;
        let all = spaces.iter().chain([&own]);
        let taps = all.enumerate().map(|(port, space)| {
            let made = space.within(|| {
                let tap = kernel::tap("eth0").context("cannot make a TAP")?;
                configure(port, nodes + 1)?;
                anyhow::Ok(tap)
            });
            made.and_then(|tap| tap)
        });
        let taps = taps.collect::<anyhow::Result<Vec<_>>>()?;
        let switch = Switch::start(taps, seed)?;
        Ok(Self { spaces, switch })
    }

    pub(crate) fn space(&self, node: usize) -> anyhow::Result<Space> {
        self.spaces.get(node).cloned().context("no such node")
    }

    /// The port of the clients.
    pub(crate) fn clients(&self) -> usize {
        self.spaces.len()
    }

    /// From now on, in that direction alone.
    pub(crate) fn set(&self, from: usize, to: usize, link: Link) {
        self.switch.set(from, to, link);
    }

    /// All links are well; answers how many frames were dropped since it was last called.
    pub(crate) fn heal(&self) -> u64 {
        self.switch.heal()
    }
}

/// Of a node, or of the clients.
pub(crate) fn address(port: usize) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, octet(port))
}

fn hardware(port: usize) -> String {
    format!("02:00:00:00:00:{:02x}", octet(port))
}

/// 1 is the first.
fn octet(port: usize) -> u8 {
    u8::try_from(port + 1).unwrap_or(u8::MAX)
}

/// Addresses and neighbours of the namespace that this thread is in.
fn configure(port: usize, ports: usize) -> anyhow::Result<()> {
    let (own, mac) = (format!("{}/24", address(port)), hardware(port));
    ip(&["link", "set", "lo", "up"])?;
    ip(&["link", "set", "eth0", "address", &mac])?;
    ip(&["addr", "add", &own, "dev", "eth0"])?;
    ip(&["link", "set", "eth0", "txqueuelen", "10000", "up"])?;
    for other in (0..ports).filter(|other| *other != port) {
        let (address, mac) = (address(other).to_string(), hardware(other));
        ip(&[
            "neigh",
            "replace",
            &address,
            "lladdr",
            &mac,
            "dev",
            "eth0",
            "nud",
            "permanent",
        ])?;
    }
    Ok(())
}

fn ip(args: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(tool()?).args(args).output()?;
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "ip {} fails: {}",
        args.join(" "),
        words.trim()
    );
    Ok(())
}

fn tool() -> anyhow::Result<PathBuf> {
    let mut places = PLACES.iter().map(|place| Path::new(place).join("ip"));
    let found = places.find(|path| path.is_file());
    found.context("networks cannot be made here: no ip; Debian has it in iproute2")
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::time::Duration;

    use super::{Link, Net, address, kernel, must_be_possible};

    const PORT: u16 = 9;
    const COUNT: u64 = 50;

    /// Each in its own namespace.
    fn sockets(net: &Net) -> Vec<UdpSocket> {
        let socket = |node| {
            let socket = UdpSocket::bind((address(node), PORT)).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(300)))
                .unwrap();
            socket
        };
        (0..3)
            .map(|node| net.space(node).unwrap().within(|| socket(node)).unwrap())
            .collect()
    }

    /// How many of 50 arrive.
    fn arrive(sockets: &[UdpSocket], from: usize, to: usize) -> u64 {
        for _ in 0..COUNT {
            sockets[from].send_to(b"x", (address(to), PORT)).unwrap();
        }
        let mut buffer = [0; 8];
        (0..COUNT)
            .take_while(|_| sockets[to].recv(&mut buffer).is_ok())
            .map(|_| 1)
            .sum()
    }

    #[test]
    fn a_link_that_is_cut_one_way_is_cut_one_way_and_heals() {
        if must_be_possible().is_err() {
            return; // said by the commands that need it
        }
        // A thread of its own: the namespace that it leaves is the test's.
        let seen = std::thread::spawn(|| {
            kernel::new_network().unwrap();
            let net = Net::new(3, 1).unwrap();
            let sockets = sockets(&net);
            assert_eq!(arrive(&sockets, 0, 1), COUNT);
            net.set(0, 1, Link::CUT);
            let cut = [arrive(&sockets, 0, 1), arrive(&sockets, 1, 0)];
            let others = [arrive(&sockets, 0, 2), arrive(&sockets, 2, 1)];
            let dropped = net.heal();
            (cut, others, dropped, arrive(&sockets, 0, 1), net.heal())
        });
        let (cut, others, dropped, healed, after) = seen.join().unwrap();
        assert_eq!((cut, others), ([0, COUNT], [COUNT, COUNT]));
        assert!(dropped >= COUNT, "{dropped}");
        assert_eq!((healed, after), (COUNT, 0));
    }
}
