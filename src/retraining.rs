//! The gate of retraining: decides whether an event starts the ML pipeline.
//!
//! ```text
//! alarm, data version or schedule ── rule or schedule ─┐
//! mlops retrain now ───────────────────────────────────┴─ Lambda ── message ── state::decide ── state object (If-Match)
//!                                                                                  └── ML pipeline, with the reason
//! end of the pipeline ── rule ─┬─ Lambda ── lock released; if a run may start: refused data again, alarms re-armed
//! every hour ──── schedule ────┘
//! ```
//!
//! Its state is one JSON object in the artifact bucket. A write succeeds only if the object has not changed since it was
//! read: of 50 simultaneous events, one gets the lock. Its clock is that of the Runtime API's answers, so that
//! it follows the clock of a local cloud, and no message can lie about the time.

mod gate;
mod message;
mod reason;
mod state;

pub use gate::{Gate, Settings, object, read};
pub use message::{Message, Request};
pub use reason::{Reason, ReasonKind, plain};
pub use state::{Decision, Limits, Outcome, Refusal, Start, State, Why};

/// The name of the ML pipeline's variable with the reason of an execution.
pub const REASON: &str = "Reason";

/// The beginning of the names of the alarms that start a retraining, after the project's name.
pub const ALARMS: &str = "-drift-";
