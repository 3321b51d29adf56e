//! Definition of a service of the local cloud: one value with its name, protocol, operations and
//! tables.
//!
//! A service is one file or folder that publishes `SERVICE`, and one line in `crate::services`. The
//! smallest complete service is services/smallest.rs, which the tests compile and call.

use std::path::PathBuf;

use axum::body::Body;
use bytes::Bytes;
use futures::future::BoxFuture;
use http::request::Parts;
use http::{Request, Response};
use serde_json::Value;

use super::Cloud;
use super::caller::Caller;
use crate::api::{ApiError, ApiResult};
use crate::limits::MAX_JSON;
use crate::policy::Call;

/// The message that most services return for a tag whose key begins with `aws:`.
pub(crate) const RESERVED_TAG: &str =
    "aws: prefixed tag key names are not allowed for external use.";

/// An operation of a service, on the JSON form of its request and response.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Operation {
    /// The name, such as `CreateKey`.
    pub(crate) name: &'static str,
    /// Parses the input, runs the handler, and serializes its output.
    pub(crate) run: for<'a> fn(&'a Cloud, Value) -> BoxFuture<'a, ApiResult<Value>>,
}

/// Answers an HTTP request whose body it reads itself.
pub(crate) type Handle = for<'a> fn(&'a Cloud, Request<Body>) -> BoxFuture<'a, Response<Body>>;

/// The protocol of a service, and who decodes it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Protocol {
    /// awsJson, decoded by the dispatcher. `X-Amz-Target` is `PREFIX.Operation`.
    Json {
        /// The prefix of `X-Amz-Target` (botocore: `targetPrefix`).
        target_prefix: &'static str,
    },
    /// The query protocol, decoded by the dispatcher. Every scalar arrives as text.
    Query {
        /// The XML namespace of responses (botocore: `xmlNamespace`).
        xml_namespace: &'static str,
    },
    /// EC2's variant of the query protocol, decoded by the dispatcher.
    Ec2Query {
        /// The XML namespace of responses.
        xml_namespace: &'static str,
    },
    /// A REST protocol: the service maps methods, paths and headers to its operations.
    Rest(Rest),
    /// A REST protocol with bodies too large for memory: the service reads the body as it arrives.
    Streaming(Handle),
}

/// The functions of a service that decodes its own REST protocol. The dispatcher first reads the
/// body and verifies the signature.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rest {
    /// Returns the size limit for the body of a request, from its head.
    pub(crate) limit: fn(&Parts) -> ApiResult<BodyLimit>,
    /// Answers a request.
    pub(crate) handle: for<'a> fn(&'a Cloud, &'a Parts, Bytes) -> BoxFuture<'a, Response<Body>>,
    /// Writes an error.
    pub(crate) refuse: fn(&ApiError) -> Response<Body>,
}

/// A size limit for the body of a request.
#[derive(Debug, Clone)]
pub(crate) struct BodyLimit {
    /// In bytes.
    pub(crate) bytes: usize,
    /// The error for a longer body.
    pub(crate) error: ApiError,
}

/// Requests without SigV4 in their headers, which carry a different authorization: a token, a
/// signed policy in a form, or a signature in the URL. The service checks it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Route {
    /// True for a request of this kind. The second argument is true if the headers contain a SigV4
    /// credential scope.
    pub(crate) matches: fn(&Parts, bool) -> bool,
    /// Checks the authorization and answers the request.
    pub(crate) handle: Handle,
}

/// Checks and completes the state of a service before the server accepts requests.
type Recover = fn(&Cloud) -> anyhow::Result<()>;

/// Ends the processes of a service.
type ShutDown = for<'a> fn(&'a Cloud) -> BoxFuture<'a, ()>;

/// Looks up the session with an access key; fails with `InvalidClientTokenId` for a key that has the form of
/// a session's and is none.
type FindSession = fn(&Cloud, &str) -> ApiResult<Option<SessionCredentials>>;

/// Fails if the current caller may not run an operation of a service with this input.
type Authorize = fn(&Cloud, &'static Service, &str, &Value) -> ApiResult<()>;

/// Looks up the policy of the resource of a call: of a bucket, a key, a repository, a role.
type ResourcePolicy = fn(&Cloud, &Call) -> ApiResult<Option<String>>;

/// The credentials of a session that a service has issued.
#[derive(Debug)]
pub(crate) struct SessionCredentials {
    /// The secret access key.
    pub(crate) secret_key: String,
    /// The session token.
    pub(crate) token: String,
    /// When they expire, in seconds since the epoch.
    pub(crate) expires: i64,
    /// On whose behalf their requests are.
    pub(crate) caller: Caller,
}

impl SessionCredentials {
    /// True if they are no longer valid.
    pub(crate) fn has_expired(&self) -> bool {
        self.expires <= jiff::Timestamp::now().as_second()
    }
}

/// Lists something that a service needs.
type Listing<T> = fn(&Cloud) -> ApiResult<Vec<T>>;

/// What the garbage collector must know about data that a service keeps outside of collections of
/// records.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Housekeeping {
    /// Columns of the service's own tables that name blobs: table and column.
    pub(crate) blob_columns: &'static [(&'static str, &'static str)],
    /// Temporary files that are still needed after a restart, such as those of unfinished uploads.
    pub(crate) temporary_files: Option<Listing<PathBuf>>,
    /// Digests of the images whose unpacked files may be needed again.
    pub(crate) images: Option<Listing<String>>,
    /// Removes what an earlier server left behind. Runs before the server accepts requests, so
    /// nothing is in progress.
    pub(crate) remove_orphans: Option<fn(&Cloud) -> ApiResult<()>>,
    /// Removes what is no longer kept. Runs before each collection.
    pub(crate) remove_expired: Option<fn(&Cloud) -> ApiResult<()>>,
}

impl Housekeeping {
    /// For a service that keeps collections of records only.
    pub(crate) const NONE: Self = Self {
        blob_columns: &[],
        temporary_files: None,
        images: None,
        remove_orphans: None,
        remove_expired: None,
    };
}

/// A service of the local cloud.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Service {
    /// The name for [`Cloud::call`].
    pub(crate) name: &'static str,
    /// The name in ARNs and SigV4 credential scopes; several services can share it.
    pub(crate) signing_name: &'static str,
    /// The service id of the SDKs (botocore: `serviceId`).
    pub(crate) sdk_id: &'static str,
    /// The encoding of requests.
    pub(crate) protocol: Protocol,
    /// For a service that also speaks Smithy RPC v2 CBOR: the members of its responses that are times.
    pub(crate) cbor_times: Option<&'static [&'static str]>,
    /// For a service that once used the query protocol: the error codes of that protocol, by the name of the
    /// error's shape, where they differ. SDKs request these codes.
    pub(crate) query_codes: &'static [(&'static str, &'static str)],
    /// Maximum size of a JSON or CBOR request body, in bytes.
    pub(crate) max_body: usize,
    /// Operations that clients and other services can call.
    pub(crate) operations: &'static [&'static [Operation]],
    /// Operations that only the service's own protocol can reach.
    pub(crate) http_operations: &'static [&'static str],
    /// Operations whose requests carry a token instead of a signature.
    pub(crate) unsigned_operations: &'static [&'static str],
    /// Requests that are authenticated by means other than SigV4.
    pub(crate) routes: &'static [Route],
    /// SQL that creates the service's own tables, for data other than collections of records.
    pub(crate) tables: &'static str,
    /// True if requests are checked against the limits of the service model in addition to its
    /// types.
    pub(crate) checks_limits: bool,
    /// Looks up the credentials of a session by access key, if the service issues sessions.
    pub(crate) find_session: Option<FindSession>,
    /// Decides what the sessions that the service issues may do.
    pub(crate) authorize: Option<Authorize>,
    /// The policy of the resource of a call, if the resource has one.
    pub(crate) resource_policy: Option<ResourcePolicy>,
    /// Data outside of collections of records, for the garbage collector.
    pub(crate) housekeeping: Housekeeping,
    /// Error code and message for a tag whose key begins with `aws:`; `{key}` is that key.
    pub(crate) reserved_tag: (&'static str, &'static str),
    /// Runs before the server accepts requests. Services recover in the order of the list.
    pub(crate) recover: Option<Recover>,
    /// Runs before the server exits. Services shut down concurrently.
    pub(crate) shut_down: Option<ShutDown>,
}

impl Service {
    /// Creates a service with defaults for everything optional.
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
            cbor_times: None,
            query_codes: &[],
            max_body: MAX_JSON,
            operations,
            http_operations: &[],
            unsigned_operations: &[],
            routes: &[],
            tables: "",
            checks_limits: false,
            find_session: None,
            authorize: None,
            resource_policy: None,
            housekeeping: Housekeeping::NONE,
            reserved_tag: ("ValidationException", RESERVED_TAG),
            recover: None,
            shut_down: None,
        }
    }

    /// Creates a service that uses awsJson.
    pub(crate) const fn json(
        name: &'static str,
        sdk_id: &'static str,
        target_prefix: &'static str,
        operations: &'static [&'static [Operation]],
    ) -> Self {
        Self::new(name, sdk_id, Protocol::Json { target_prefix }, operations)
    }

    /// Creates a service that uses the query protocol.
    pub(crate) const fn query(
        name: &'static str,
        sdk_id: &'static str,
        xml_namespace: &'static str,
        operations: &'static [&'static [Operation]],
    ) -> Self {
        Self::new(name, sdk_id, Protocol::Query { xml_namespace }, operations)
    }

    /// Finds an operation that [`Cloud::call`] can reach.
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

    /// True if requests are forms, in which every scalar is text.
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
    /// Creates the services of a list.
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
            .rsplit_once('.')
            .ok_or_else(|| ApiError::new("UnknownOperationException", "X-Amz-Target has no dot"))?;
        Ok((self.of_target_prefix(prefix)?, operation))
    }

    /// The service with this prefix of `X-Amz-Target`, which is also its name in the paths of CBOR requests.
    pub(crate) fn of_target_prefix(self, prefix: &str) -> ApiResult<&'static Service> {
        self.iter()
            .find(|service| {
                matches!(service.protocol, Protocol::Json { target_prefix } if target_prefix == prefix)
            })
            .ok_or_else(|| ApiError::not_implemented(format_args!("the service {prefix}")))
    }

    /// SQL that creates the tables of every service.
    pub(crate) fn tables(self) -> impl Iterator<Item = &'static str> {
        self.iter().map(|service| service.tables)
    }
}

/// Declares operations once, for the dispatcher and for the list in docs/local-cloud.md. A handler
/// is `async fn(&Cloud, Input) -> ApiResult<Output>` with any `Input` that deserializes from the
/// JSON form of the request and any `Output` that serializes to that of the response.
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
