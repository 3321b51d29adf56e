//! What every part of `mlops` shares: errors with hints and exit codes, validated names, addresses in
//! S3, text for people, polling and back-off, certificates and proxies.

#![warn(missing_docs)]

pub mod directory;
pub mod error;
pub mod names;
pub mod network;
pub mod quote;
pub mod s3;
pub mod text;
pub mod wait;
