//! formspool: arguments in, exit code out.
//!
//! Holds: nothing but this file ends the process with a code. A panic in any thread ends it at
//! once, also in a build for tests: a node that is wrong must stop, its peers go on.

use std::process::ExitCode;

use clap::Parser;
use formspool::cli;

/// Something went wrong, and one message says what. (2 is clap's: the command line is wrong.)
const FAILED: u8 = 1;

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
    match cli::run(cli::Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is_reader_gone() => ExitCode::SUCCESS,
        Err(error) => {
            cli::complain(&error);
            ExitCode::from(FAILED)
        }
    }
}
