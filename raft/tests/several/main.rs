//! Several nodes over TCP on loopback with disks in memory, from the outside.
//!
//! One program, because each that holds openraft takes half a minute to build.
#![expect(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::large_futures,
    clippy::large_stack_arrays,
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
