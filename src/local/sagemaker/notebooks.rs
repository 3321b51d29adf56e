//! notebooks

use crate::local::api::operations;

operations! { "sagemaker": }
