//! What every part of `mlops` shares: errors with hints and exit codes, names that were checked once,
//! text for people, the loop that waits, and the way to other machines.

#![warn(missing_docs)]

pub mod directory;
pub mod error;
pub mod names;
pub mod network;
pub mod quote;
pub mod text;
pub mod wait;
