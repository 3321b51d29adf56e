//! Shared foundations of `mlops`: errors with hints and exit codes, validated names, S3 addresses,
//! text formatting, polling and back-off, certificates and proxies.

#![warn(missing_docs)]

pub mod directory;
pub mod error;
pub mod names;
pub mod network;
pub mod quote;
pub mod s3;
pub mod text;
pub mod wait;
