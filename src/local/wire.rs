//! The wire codecs: awsJson and the two query protocols, apart from what the operations do.

pub(crate) mod json;
pub(crate) mod query;
