//! ecr

use super::api::operations;

operations! { "ecr": }

pub(crate) mod registry;
