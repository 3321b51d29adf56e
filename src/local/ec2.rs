//! ec2

use super::api::operations;

operations! { "ec2": }
