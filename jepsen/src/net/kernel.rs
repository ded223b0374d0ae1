//! The two calls to the kernel that no safe function of a library makes: a new network namespace
//! for this thread, and a TAP in the one that it is in.
//!
//! Holds: the only `unsafe` of the tester.
#![expect(
    unsafe_code,
    reason = "a namespace and a TAP are asked for by calls that rustix cannot make safe"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::ioctl::{Opcode, Updater, ioctl};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// `TUNSETIFF`, as `linux/if_tun.h` says: written with the size of an `int`.
const SET_INTERFACE: Opcode = rustix::ioctl::opcode::write::<i32>(b'T', 202);
const TAP: i16 = 0x0002;
/// Frames as they are, without a header of the driver's.
const NO_HEADER: i16 = 0x1000;
const NAME_LEN: usize = 16;

/// `struct ifreq`, as far as it is used: 40 bytes on 64 bits.
#[repr(C)]
struct Request {
    name: [u8; NAME_LEN],
    flags: i16,
    rest: [u8; 22],
}

/// This thread, and those that it starts from now on, are in a fresh one.
pub(super) fn new_network() -> rustix::io::Result<()> {
    // SAFETY: a new network namespace shares neither memory nor the table of open files away from
    // other threads; that is what the call is unsafe for.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }
}

/// In this thread's namespace. The interface goes when the file is closed.
pub(super) fn tap(name: &str) -> std::io::Result<File> {
    let mut open = OpenOptions::new();
    open.read(true).write(true);
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits());
    open.custom_flags(nonblock.map_err(std::io::Error::other)?);
    let file = open.open(super::TUN)?;
    let mut request = Request {
        name: [0; NAME_LEN],
        flags: TAP | NO_HEADER,
        rest: [0; 22],
    };
    // The last byte stays 0.
    for (to, from) in request
        .name
        .iter_mut()
        .take(NAME_LEN - 1)
        .zip(name.as_bytes())
    {
        *to = *from;
    }
    // SAFETY: the opcode reads and writes one `struct ifreq`, which `Request` is as long as.
    let call = unsafe { Updater::<SET_INTERFACE, Request>::new(&mut request) };
    // SAFETY: the file is a tun device, for which this opcode is made.
    unsafe { ioctl(&file, call) }?;
    Ok(file)
}
