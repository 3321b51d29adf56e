//! logs

use super::api::operations;

operations! { "logs": }
