//! kms

use super::api::operations;

operations! { "kms": }
