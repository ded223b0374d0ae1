//! Ports that nobody listens on, each given out once on this machine while this process lives.
//!
//! A port is free again the moment it was tried, and a product that was killed leaves its own: so
//! each is claimed under a name that the kernel lets one process have, and takes back when that
//! ends. Two testers at once have ports of their own then.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr as Name, UnixDatagram};
use std::sync::Mutex;

use anyhow::Context as _;

use crate::dice::Dice;

/// Below the range from which the kernel takes the client's end of a connection: else a client
/// that connects while the product is down may sit on its port, or even meet itself.
const RANGE: Range<u64> = 10_000..30_000;
const TRIALS: u32 = 1000;

/// Addresses on loopback.
pub(crate) fn free<const COUNT: usize>() -> anyhow::Result<[SocketAddr; COUNT]> {
    let mut dice = Dice::new(getrandom::u64().context("no dice")?);
    let addresses = (0..COUNT).map(|_| one(&mut dice));
    let addresses = addresses.collect::<anyhow::Result<Vec<_>>>()?;
    addresses.try_into().map_err(|_| anyhow::anyhow!("ports"))
}

fn one(dice: &mut Dice) -> anyhow::Result<SocketAddr> {
    /// Held until this process ends.
    static CLAIMS: Mutex<Vec<UnixDatagram>> = Mutex::new(Vec::new());
    for _ in 0..TRIALS {
        let port = u16::try_from(RANGE.start + dice.below(RANGE.end - RANGE.start))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let Ok(claim) = claim(port) else { continue };
        if TcpListener::bind(address).is_ok() {
            let claims = CLAIMS.lock();
            claims.map_err(|_| anyhow::anyhow!("ports"))?.push(claim);
            return Ok(address);
        }
    }
    anyhow::bail!("no free port in {TRIALS} trials")
}

/// Fails where it is another's.
fn claim(port: u16) -> io::Result<UnixDatagram> {
    let name = Name::from_abstract_name(format!("formspool-jepsen-port-{port}"))?;
    UnixDatagram::bind_addr(&name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::ErrorKind;

    use super::{claim, free};

    #[test]
    fn a_port_is_given_out_once_and_stays_claimed() -> anyhow::Result<()> {
        let mut given = BTreeSet::new();
        for _ in 0..200 {
            for address in free::<4>()? {
                assert!(given.insert(address), "{address} twice");
            }
        }
        for address in given {
            let again = claim(address.port()).map_err(|error| error.kind());
            assert_eq!(again.err(), Some(ErrorKind::AddrInUse), "{address}");
        }
        Ok(())
    }
}
