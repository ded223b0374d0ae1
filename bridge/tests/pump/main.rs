//! The pump's promises: in order, once, without waiting for each other, and telling what is wrong.
//!
//! Time is paused: a wait of hours costs nothing, and a test that waits for what never comes fails
//! at once.

mod delivery;
mod lanes;
mod lives;
mod local;
mod parking;
mod seams;
mod world;
