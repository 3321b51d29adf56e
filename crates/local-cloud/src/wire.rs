//! The wire codecs: awsJson and the two query protocols, apart from what the operations do; and for
//! every protocol of AWS how an error is written, so that each client can read it.

pub(crate) mod body;
pub(crate) mod dialect;
pub(crate) mod json;
pub(crate) mod query;
pub(crate) mod services;

pub(crate) use dialect::Dialect;
