//! A thread on which nothing happens by itself: what a simulation switches on.
//!
//! Holds: without the feature `testing` no simulation is compiled in: [`is_on`] is the constant
//! `false`. While one is on, what is called on its thread starts no thread and throws no dice of the
//! system's: writers of logs are handed to whoever drives them, all other work beside is done where
//! it was begun. Why a thread's own and not a setting: what runs in simulation is the very code that
//! runs elsewhere, down to its settings.

use std::io;

#[cfg(feature = "testing")]
mod on {
    use std::cell::RefCell;

    use crate::wal::Stepper;

    thread_local! {
        static NOW: RefCell<Option<Now>> = const { RefCell::new(None) };
    }

    struct Now {
        dice: u64,
        drive: Box<dyn FnMut(Stepper)>,
    }

    /// Keeps the simulation on. It ends when this is dropped.
    #[derive(Debug)]
    pub struct Simulation(());

    /// Begins a simulation on this thread: `drive` gets the writer of every log that is opened.
    ///
    /// # Panics
    /// Where one is on already.
    #[must_use]
    pub fn simulate(seed: u64, drive: Box<dyn FnMut(Stepper)>) -> Simulation {
        NOW.with_borrow_mut(|now| {
            assert!(now.is_none(), "one simulation a thread");
            *now = Some(Now { dice: seed, drive });
        });
        Simulation(())
    }

    impl Drop for Simulation {
        fn drop(&mut self) {
            drop(NOW.with_borrow_mut(Option::take));
        }
    }

    /// Whether this thread simulates.
    pub fn is_on() -> bool {
        NOW.with_borrow(Option::is_some)
    }

    pub(crate) fn drive(stepper: Stepper) {
        // Taken out meanwhile: the driver may ask for dice.
        let Some(mut now) = NOW.with_borrow_mut(Option::take) else {
            return;
        };
        (now.drive)(stepper);
        NOW.with_borrow_mut(|held| *held = Some(now));
    }

    /// The simulation's next throw; `None`: there is none.
    pub fn dice() -> Option<u64> {
        NOW.with_borrow_mut(|now| {
            let state = &mut now.as_mut()?.dice;
            *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            Some(mixed ^ (mixed >> 31))
        })
    }
}

#[cfg(not(feature = "testing"))]
mod on {
    /// Never: this build has no simulation.
    pub const fn is_on() -> bool {
        false
    }

    /// Never: this build has no simulation.
    pub const fn dice() -> Option<u64> {
        None
    }
}

#[cfg(feature = "testing")]
pub(crate) use on::drive;
#[cfg(feature = "testing")]
pub use on::{Simulation, simulate};
pub use on::{dice, is_on};

/// Fills `bytes` with dice: the operating system's, or the simulation's.
pub fn fill(bytes: &mut [u8]) -> io::Result<()> {
    if !is_on() {
        return getrandom::fill(bytes).map_err(io::Error::other);
    }
    for chunk in bytes.chunks_mut(8) {
        let thrown = dice().unwrap_or_default().to_le_bytes();
        let len = chunk.len();
        chunk.copy_from_slice(thrown.get(..len).unwrap_or_default());
    }
    Ok(())
}
