//! codecommit

use super::api::operations;

operations! { "codecommit": }

pub(crate) mod git;
