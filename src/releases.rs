//! Releases: the recorded, verifiable set of everything that an endpoint serves. docs/releases.md describes
//! them for users.
//!
//! ```text
//! mlops.toml, flags ── settings ─┐
//! registry, ECR, S3 ── content ──┴─ manifest ── plan (one screen) ── deploy ── proof ── outcome
//!                                    └── handover ── files ── CodePipeline ──┘
//! releases/ in S3 ──── store ── history ── candidate, gate
//! ```
//!
//! A release is a manifest with a number. The manifest is written once, between the reservation of the stack
//! and its deployment; its number and checksum are parameters and outputs of the stack, and part of the names
//! of model and endpoint configuration. So the live endpoint names the document that it should match, and
//! [`proof`] compares the two. What became of a release is a second document, a list of events.
//!
//! `settings`, `candidate`, `gate`, `plan`, `race` and the comparison in `proof` decide without calling AWS.

pub mod candidate;
pub mod content;
pub mod deploy;
pub mod draft;
mod failure;
pub mod gate;
pub mod handover;
pub mod manifest;
pub mod plan;
pub mod proof;
pub mod prune;
mod race;
pub mod restore;
pub mod rollback;
pub mod sample;
pub mod settings;
pub mod situation;
pub mod store;
pub mod verify;

/// Maximum number of releases that decide what may be promoted, and whose checksums are reused.
pub const RECENT: usize = 100;
