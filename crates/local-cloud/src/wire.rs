//! Wire protocols: codecs of awsJson, Smithy RPC v2 CBOR and the two query protocols, and the error format of every AWS
//! protocol, so that each client can read errors.

pub(crate) mod body;
pub(crate) mod cbor;
pub(crate) mod dialect;
pub(crate) mod json;
pub(crate) mod query;
pub(crate) mod rest;
pub(crate) mod rpc;
pub(crate) mod services;

pub(crate) use dialect::Dialect;
