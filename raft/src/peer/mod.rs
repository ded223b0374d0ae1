//! The way between members: one TCP protocol for everything that they say to each other.
//!
//! ```text
//!  transport ─ a stream of bytes to an address          (TCP, TLS; in a simulation: pipes)
//!  hello     ─ who speaks to whom, about what            once a connection
//!  frame     ─ length, crc, number, body                 for everything after it
//!  wire      ─ what a body says
//!  link      ─ the asking end: dials, numbers, waits     desk ─ the answering end
//! ```
//! Holds: nothing is answered before the hello was accepted, so a node that is not the one that was
//! meant never hears a request; a peer is waited for no longer than the caller says; what a peer may
//! make this node hold in memory is bounded.

pub(crate) mod desk;
pub(crate) mod frame;
pub(crate) mod hello;
pub(crate) mod keys;
pub(crate) mod link;
pub(crate) mod serve;
pub(crate) mod tls;
pub(crate) mod transport;
pub(crate) mod wire;
