//! Wire protocols: codecs of awsJson and the two query protocols, and the error format of every AWS
//! protocol, so that each client can read errors.

pub(crate) mod body;
pub(crate) mod dialect;
pub(crate) mod json;
pub(crate) mod query;
pub(crate) mod services;

pub(crate) use dialect::Dialect;
