//! Several nodes over TCP on loopback with disks in memory, from the outside.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test"
)]

mod cluster;
mod damage;
mod floors;
mod members;
mod protocol;
mod sick;
mod site;
mod snapshots;
mod tap;
mod tls;
mod wire;
