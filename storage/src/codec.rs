//! Commands and rows as bytes: the only file of this crate that knows bincode.
//!
//! ```text
//! 0      1         2
//! ├ kind ┼ version ┼ body (bincode 2, standard configuration: little-endian, variable-length)
//! ```
//! Holds: a kind's number is never reused, and a changed body gets a new version, so a log written
//! years ago still says what it said. Decoding takes exactly all bytes, never more memory than
//! [`BYTES_MAX`] claims, and refuses what it does not know: a node that guesses at a command would
//! part ways with its peers.

mod pack;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::command::Command;
use crate::error::Error;

pub(crate) use pack::{WireKey, WirePack, WireSubmission, read_pack, sender};

/// The most that one decoded command may claim: a full pack needs about 3 MiB in memory.
const BYTES_MAX: usize = 16 << 20;
/// Every kind stands at its first version.
const VERSION: u8 = 1;

const SUBMIT: u8 = 1;
const DEFINE_FORM: u8 = 2;
const RETIRE_FORM: u8 = 3;
const DEFINE_TASK: u8 = 4;
const RETIRE_TASK: u8 = 5;
const ADVANCE: u8 = 6;
const SEND_STARTED: u8 = 7;
const PARK: u8 = 8;
const UNPARK: u8 = 9;
const RELEASE: u8 = 10;
const SET_TASK_STATE: u8 = 11;
const TICK: u8 = 12;
const HORIZON: u8 = 13;
const SET_LEVEL: u8 = 14;
const SET_POLICY: u8 = 15;
const SET_TOKEN: u8 = 16;
const END_SESSION: u8 = 17;
const SEEK_TASK: u8 = 18;

type Format = bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<BYTES_MAX>,
>;

const fn format() -> Format {
    bincode::config::standard().with_limit::<BYTES_MAX>()
}

/// The command as the log carries it.
pub fn encode_command(command: &Command) -> Bytes {
    let mut bytes = vec![kind_of(command), VERSION];
    match command {
        Command::Submit(body) => pack::write_pack(body, &mut bytes),
        Command::DefineForm(body) => write(body, &mut bytes),
        Command::RetireForm(body) => write(body, &mut bytes),
        Command::DefineTask(body) => write(body, &mut bytes),
        Command::RetireTask(body) => write(body, &mut bytes),
        Command::Advance(body) => write(body, &mut bytes),
        Command::SendStarted(body) => write(body, &mut bytes),
        Command::Park(body) => write(body, &mut bytes),
        Command::Unpark(body) => write(body, &mut bytes),
        Command::Release(body) => write(body, &mut bytes),
        Command::SetTaskState(body) => write(body, &mut bytes),
        Command::Tick(body) => write(body, &mut bytes),
        Command::Horizon(body) => write(body, &mut bytes),
        Command::SetLevel(body) => write(body, &mut bytes),
        Command::SetPolicy(body) => write(body, &mut bytes),
        Command::SetToken(body) => write(body, &mut bytes),
        Command::EndSession(body) => write(body, &mut bytes),
        Command::SeekTask(body) => write(body, &mut bytes),
    }
    bytes.into()
}

/// A payload, with the bodies of a pack left where they lie.
pub(crate) enum Decoded<'a> {
    /// `Submit`.
    Pack(WirePack<'a>),
    /// Any other command.
    Other(Command),
}

/// The command that `payload` carries.
pub fn decode_command(payload: &[u8]) -> Result<Command, Error> {
    Ok(match decode_borrowed(payload)? {
        Decoded::Pack(pack) => Command::Submit(pack.to_owned()),
        Decoded::Other(command) => command,
    })
}

/// As [`decode_command`], without copying bodies.
pub(crate) fn decode_borrowed(payload: &[u8]) -> Result<Decoded<'_>, Error> {
    let &[kind, version, ref body @ ..] = payload else {
        return Err(Error::Decode {
            what: "a command: shorter than its head",
        });
    };
    if version != VERSION {
        return Err(Error::UnknownCommand { kind, version });
    }
    Ok(Decoded::Other(match kind {
        SUBMIT => return read_pack(payload).map(Decoded::Pack),
        DEFINE_FORM => Command::DefineForm(read(body)?),
        RETIRE_FORM => Command::RetireForm(read(body)?),
        DEFINE_TASK => Command::DefineTask(read(body)?),
        RETIRE_TASK => Command::RetireTask(read(body)?),
        ADVANCE => Command::Advance(read(body)?),
        SEND_STARTED => Command::SendStarted(read(body)?),
        PARK => Command::Park(read(body)?),
        UNPARK => Command::Unpark(read(body)?),
        RELEASE => Command::Release(read(body)?),
        SET_TASK_STATE => Command::SetTaskState(read(body)?),
        TICK => Command::Tick(read(body)?),
        HORIZON => Command::Horizon(read(body)?),
        SET_LEVEL => Command::SetLevel(read(body)?),
        SET_POLICY => Command::SetPolicy(read(body)?),
        SET_TOKEN => Command::SetToken(read(body)?),
        END_SESSION => Command::EndSession(read(body)?),
        SEEK_TASK => Command::SeekTask(read(body)?),
        _ => return Err(Error::UnknownCommand { kind, version }),
    }))
}

const fn kind_of(command: &Command) -> u8 {
    match command {
        Command::Submit(_) => SUBMIT,
        Command::DefineForm(_) => DEFINE_FORM,
        Command::RetireForm(_) => RETIRE_FORM,
        Command::DefineTask(_) => DEFINE_TASK,
        Command::RetireTask(_) => RETIRE_TASK,
        Command::Advance(_) => ADVANCE,
        Command::SendStarted(_) => SEND_STARTED,
        Command::Park(_) => PARK,
        Command::Unpark(_) => UNPARK,
        Command::Release(_) => RELEASE,
        Command::SetTaskState(_) => SET_TASK_STATE,
        Command::Tick(_) => TICK,
        Command::Horizon(_) => HORIZON,
        Command::SetLevel(_) => SET_LEVEL,
        Command::SetPolicy(_) => SET_POLICY,
        Command::SetToken(_) => SET_TOKEN,
        Command::EndSession(_) => END_SESSION,
        Command::SeekTask(_) => SEEK_TASK,
    }
}

fn write<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    let body = encode_row(value);
    bytes.extend_from_slice(&body);
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    match bincode::serde::decode_from_slice(body, format()) {
        Ok((value, taken)) if taken == body.len() => Ok(value),
        Ok(_) => Err(Error::Decode {
            what: "a command: bytes after its end",
        }),
        Err(_) => Err(Error::Decode {
            what: "a command: its body",
        }),
    }
}

/// A row's value as the state keeps it.
pub(crate) fn encode_row<T: Serialize>(value: &T) -> Vec<u8> {
    match bincode::serde::encode_to_vec(value, format()) {
        Ok(bytes) => bytes,
        Err(error) => unreachable!("a value of ours always encodes into memory: {error}"),
    }
}

/// The value of a row; `what` names it. A row that does not decode is damage: nothing else writes there.
pub(crate) fn decode_row<T: DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, Error> {
    match bincode::serde::decode_from_slice(bytes, format()) {
        Ok((value, taken)) if taken == bytes.len() => Ok(value),
        Ok(_) | Err(_) => Err(Error::Decode { what }),
    }
}
