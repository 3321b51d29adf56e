//! The real `mlops` in a sandbox, against the local cloud that it carries.
#![expect(clippy::unwrap_used, reason = "tests")]

mod cli;
mod generated;
mod local;
mod monitor;
mod rooms;
mod sandbox;
mod validate;
