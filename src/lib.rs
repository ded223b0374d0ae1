#![doc = include_str!("ARCHITECTURE.md")]

pub mod cli;
pub mod clock;
pub mod config;
pub mod definitions;
pub mod feed;
pub mod forms;
pub mod http;
pub mod ingest;
pub mod inspect;
pub mod level;
pub mod metrics;
pub mod node;
pub mod retention;
pub mod stage;
pub mod telemetry;
pub mod ticker;
#[cfg(test)]
mod tidy;
pub mod token;
