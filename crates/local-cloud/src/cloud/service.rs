//! What a service of the local cloud is: one value with its name, protocol, operations and tables.
//!
//! A service lives in one file or folder, publishes `SERVICE`, and has one line in `crate::services`. The
//! smallest complete service is services/smallest.rs, which the tests compile and call.

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use serde_json::Value;

use super::Cloud;
use crate::api::{ApiError, ApiResult};

/// The message of most services for a tag whose key begins with `aws:`.
pub(crate) const RESERVED_TAG: &str =
    "aws: prefixed tag key names are not allowed for external use.";

/// An operation of a service, over the JSON form of its request and response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// The name, such as `CreateKey`.
    pub(crate) name: &'static str,
    /// Parses the input, runs the handler, and serializes its output.
    pub(crate) run: for<'a> fn(&'a Cloud, Value) -> BoxFuture<'a, ApiResult<Value>>,
}

/// Answers an HTTP request whose body it reads itself.
pub(crate) type Handle = for<'a> fn(&'a Cloud, Request<Body>) -> BoxFuture<'a, Response<Body>>;

/// How a service's requests and responses are encoded, and who decodes them.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    /// awsJson: the dispatcher decodes it. `X-Amz-Target` is `PREFIX.Operation`.
    Json {
        /// The prefix of `X-Amz-Target` (botocore: `targetPrefix`).
        target_prefix: &'static str,
    },
    /// The query protocol: the dispatcher decodes it. Every scalar arrives as text.
    Query {
        /// The XML name space of responses (botocore: `xmlNamespace`).
        xml_namespace: &'static str,
    },
    /// EC2's variant of the query protocol: the dispatcher decodes it.
    Ec2Query {
        /// The XML name space of responses.
        xml_namespace: &'static str,
    },
    /// A REST protocol: the service maps methods, paths and headers to its operations.
    Rest(Rest),
    /// A REST protocol with bodies too large for memory: the service reads the body as it arrives.
    Streaming(Handle),
}

/// A service that decodes its own REST protocol. The dispatcher reads the body and checks the
/// signature first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// The largest body of a request, by its head.
    pub(crate) limit: fn(&Parts) -> ApiResult<BodyLimit>,
    /// Answers a request.
    pub(crate) handle: for<'a> fn(&'a Cloud, &'a Parts, Bytes) -> BoxFuture<'a, Response<Body>>,
    /// Writes an error.
    pub(crate) refuse: fn(&ApiError) -> Response<Body>,
}

/// The largest body that a request may have.
#[derive(Debug, Clone)]
pub(crate) struct BodyLimit {
    /// In bytes.
    pub(crate) bytes: usize,
    /// The error for a longer body.
    pub(crate) error: ApiError,
}

/// Requests without SigV4 in their head, which carry some other permission: a token, a policy in a
/// form, a signature in the URL. The service checks it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    /// True for a request of this kind. The second argument is true when the head has a SigV4
    /// credential scope.
    pub(crate) matches: fn(&Parts, bool) -> bool,
    /// Checks the permission and answers the request.
    pub(crate) handle: Handle,
}

/// Checks and completes a service's state before the server accepts requests.
type Recover = fn(&Cloud) -> anyhow::Result<()>;

/// Ends a service's processes.
type ShutDown = for<'a> fn(&'a Cloud) -> BoxFuture<'a, ()>;

/// A service of the local cloud.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    /// The name that [`Cloud::call`] takes.
    pub(crate) name: &'static str,
    /// The name in ARNs and SigV4 credential scopes; two services can share it.
    pub(crate) signing_name: &'static str,
    /// The service id of the SDKs (botocore: `serviceId`).
    pub(crate) sdk_id: &'static str,
    /// How requests are encoded.
    pub(crate) protocol: Protocol,
    /// Tables of operations that other services can call, too.
    pub(crate) operations: &'static [&'static [Operation]],
    /// Operations that only the service's own protocol reaches.
    pub(crate) http_operations: &'static [&'static str],
    /// Operations whose requests need no signature, because a token in them replaces it.
    pub(crate) unsigned_operations: &'static [&'static str],
    /// Requests that are authenticated by other means than SigV4.
    pub(crate) routes: &'static [Route],
    /// SQL that creates the service's own tables, if it needs more than collections of records.
    pub(crate) tables: &'static str,
    /// True if requests are checked against the limits of the service model, not only its types.
    pub(crate) checks_limits: bool,
    /// Error code and message for a tag whose key begins with `aws:`; `{key}` is that key.
    pub(crate) reserved_tag: (&'static str, &'static str),
    /// Runs before the server accepts requests. Services recover in the order of the list.
    pub(crate) recover: Option<Recover>,
    /// Runs before the server exits. Services shut down concurrently.
    pub(crate) shut_down: Option<ShutDown>,
}

impl Service {
    /// A service over `protocol` with defaults for everything optional.
    pub(crate) const fn new(
        name: &'static str,
        sdk_id: &'static str,
        protocol: Protocol,
        operations: &'static [&'static [Operation]],
    ) -> Self {
        Self {
            name,
            signing_name: name,
            sdk_id,
            protocol,
            operations,
            http_operations: &[],
            unsigned_operations: &[],
            routes: &[],
            tables: "",
            checks_limits: false,
            reserved_tag: ("ValidationException", RESERVED_TAG),
            recover: None,
            shut_down: None,
        }
    }

    /// A service that speaks awsJson.
    pub(crate) const fn json(
        name: &'static str,
        sdk_id: &'static str,
        target_prefix: &'static str,
        operations: &'static [&'static [Operation]],
    ) -> Self {
        Self::new(name, sdk_id, Protocol::Json { target_prefix }, operations)
    }

    /// A service that speaks the query protocol.
    pub(crate) const fn query(
        name: &'static str,
        sdk_id: &'static str,
        xml_namespace: &'static str,
        operations: &'static [&'static [Operation]],
    ) -> Self {
        Self::new(name, sdk_id, Protocol::Query { xml_namespace }, operations)
    }

    /// The operation with this name, if [`Cloud::call`] reaches it.
    pub(crate) fn operation(&self, name: &str) -> Option<&'static Operation> {
        let mut operations = self.operations.iter().copied().flatten();
        operations.find(|operation| operation.name == name)
    }

    /// The names of all operations.
    pub(crate) fn operation_names(&self) -> Vec<&'static str> {
        let called = self.operations.iter().copied().flatten();
        let names = called.map(|operation| operation.name);
        names.chain(self.http_operations.iter().copied()).collect()
    }

    /// True for a form, which writes every scalar as text.
    pub(crate) fn is_form(&self) -> bool {
        matches!(
            self.protocol,
            Protocol::Query { .. } | Protocol::Ec2Query { .. }
        )
    }
}

/// The services of a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Services(&'static [&'static Service]);

impl Services {
    /// The services of a list.
    pub(crate) const fn new(list: &'static [&'static Service]) -> Self {
        Self(list)
    }

    /// Every service, in the order of the list.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'static Service> {
        self.0.iter().copied()
    }

    /// The service with this name.
    pub(crate) fn named(self, name: &str) -> ApiResult<&'static Service> {
        self.iter()
            .find(|service| service.name == name)
            .ok_or_else(|| ApiError::not_implemented(format_args!("the service {name}")))
    }

    /// The services with this name in a credential scope.
    pub(crate) fn signed(self, signing_name: &str) -> impl Iterator<Item = &'static Service> {
        self.iter()
            .filter(move |service| service.signing_name == signing_name)
    }

    /// The service that decodes forms signed with this name.
    pub(crate) fn of_form(self, signing_name: &str) -> Option<&'static Service> {
        self.signed(signing_name).find(|service| service.is_form())
    }

    /// The service and the operation of an `X-Amz-Target` header.
    pub(crate) fn of_target(self, header: &str) -> ApiResult<(&'static Service, &str)> {
        let (prefix, operation) = header
            .split_once('.')
            .ok_or_else(|| ApiError::new("UnknownOperationException", "X-Amz-Target has no dot"))?;
        self.iter()
            .find(|service| {
                matches!(service.protocol, Protocol::Json { target_prefix } if target_prefix == prefix)
            })
            .map(|service| (service, operation))
            .ok_or_else(|| ApiError::not_implemented(format_args!("the service {prefix}")))
    }

    /// SQL that creates the tables of every service.
    pub(crate) fn tables(self) -> impl Iterator<Item = &'static str> {
        self.iter().map(|service| service.tables)
    }
}

/// Lists operations once: the dispatcher and the table in docs/local-cloud.md both read the list. A
/// handler is `async fn(&Cloud, Input) -> ApiResult<Output>` with any `Input` that deserializes from
/// the request's JSON form and any `Output` that serializes to the response's.
macro_rules! operations {
    ($($name:literal => $handler:path),* $(,)?) => {
        /// The operations, each with its handler.
        pub(crate) const OPERATIONS: &[$crate::cloud::service::Operation] = &[
            $($crate::cloud::service::Operation {
                name: $name,
                run: |cloud, input| Box::pin(async move {
                    let input = $crate::api::parse(input)?;
                    $crate::api::reply($handler(cloud, input).await?)
                }),
            },)*
        ];
    };
}
pub(crate) use operations;
