//! iam

use super::api::operations;

operations! { "iam": }
