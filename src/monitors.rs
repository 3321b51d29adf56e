//! Monitors: compare captured traffic with a baseline, here or in a job on a schedule.
//!
//! ```text
//! captured traffic ── run::compare ── report ── files of the run in the artifact bucket
//! job of the schedule ── job::run ── run::compare ── publish ── metrics of the alarms
//! ```

pub mod job;
mod publish;
pub mod run;
