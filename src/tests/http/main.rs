//! The doors as a whole: the real router over a real log and state in memory, and the real accept
//! loop on a socket.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a test"
)]

mod admin;
mod browser;
mod cluster;
mod house;
mod lists;
mod ndjson;
mod refused;
mod sockets;
mod submit;
mod tasks;
