//! S3, over the protocol of the s3s crate.
//!
//! ```text
//! admission ── wire (who signed, aws-chunked, host) ── s3s (routing, XML) ── service ── answer
//!            │                                                            │
//!          form (POST with a policy)                                      │
//!        buckets, settings ── transfer, reading, listing, removal, tags, multipart
//!                                                                         │
//!                                  versions (SQLite) and stored (verified bytes by SHA-256)
//! ```
//!
//! A key is text and never a path: bytes are stored under their SHA-256, so `../x` is an ordinary
//! key. A body is written to a temporary file and hashed once, off the async threads; one
//! transaction then checks the conditions (`If-Match`, `If-None-Match`) and writes the version, so
//! of several concurrent writers exactly one wins.
// Clippy does not check imports in test builds.
#![cfg_attr(
    not(test),
    expect(
        clippy::wildcard_imports,
        reason = "each operation uses a dozen of s3s's two thousand types"
    )
)]
#![expect(
    clippy::unused_async,
    reason = "s3s declares every operation async, even one that only reads a record"
)]

use axum::body::Body;
use http::{Request, Response};
use s3s::service::{S3Service, S3ServiceBuilder};

use super::Cloud;
use super::admission::{self, SecretKeys};
use super::cloud::service::{Housekeeping, Protocol, Route, Service};

mod announce;
mod answer;
mod bucket_api;
mod bucket_policy;
pub(crate) mod buckets;
mod checksums;
mod chunked;
mod completion;
mod encryption;
mod form;
mod form_fields;
mod lifecycle;
mod listing;
mod multipart;
mod multipart_api;
mod multipart_list;
mod notifications;
pub(crate) mod objects;
mod pages;
mod permissions;
mod policy;
mod reading;
mod receive;
mod removal;
mod selectors;
mod service;
mod settings;
mod stored;
mod tags;
mod transfer;
mod versions;
mod wire;

use form::is_form;
pub(crate) use wire::bucket_of_host;

/// The tables of this service. `sequence` orders the versions of a key: the highest is the newest.
/// Objects that were written while versioning was off or suspended have the version id `null`.
const TABLES: &str = "
CREATE TABLE IF NOT EXISTS s3_buckets (
    name TEXT PRIMARY KEY, created INTEGER NOT NULL, region TEXT NOT NULL,
    versioning TEXT NOT NULL, sse TEXT NOT NULL, kms_key TEXT, settings TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS s3_versions (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT, bucket TEXT NOT NULL, key TEXT NOT NULL,
    version TEXT NOT NULL, latest INTEGER NOT NULL, marker INTEGER NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, sha256 TEXT NOT NULL, modified INTEGER NOT NULL, details TEXT NOT NULL
);
CREATE UNIQUE INDEX IF NOT EXISTS s3_version_ids ON s3_versions (bucket, key, version);
CREATE INDEX IF NOT EXISTS s3_version_order ON s3_versions (bucket, key, sequence DESC);
CREATE UNIQUE INDEX IF NOT EXISTS s3_latest ON s3_versions (bucket, key) WHERE latest = 1;
CREATE TABLE IF NOT EXISTS s3_uploads (
    id TEXT PRIMARY KEY, bucket TEXT NOT NULL, key TEXT NOT NULL, initiated INTEGER NOT NULL,
    algorithm TEXT NOT NULL, composite INTEGER NOT NULL, details TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS s3_parts (
    upload TEXT NOT NULL, number INTEGER NOT NULL, file TEXT NOT NULL, size INTEGER NOT NULL,
    etag TEXT NOT NULL, checksums TEXT NOT NULL, modified INTEGER NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
";

/// The service.
pub(crate) const SERVICE: Service = Service {
    resource_policy: Some(buckets::policy_of),
    http_operations: service::OPERATIONS,
    routes: &[Route {
        // Forms are authenticated by their signed policy.
        matches: |parts, _| is_form(parts),
        handle: |cloud, request| Box::pin(handle(cloud, request)),
    }],
    tables: TABLES,
    housekeeping: Housekeeping {
        blob_columns: &[("s3_versions", "sha256")],
        remove_orphans: Some(multipart::remove_orphaned_parts),
        ..Housekeeping::NONE
    },
    ..Service::new(
        "s3",
        "S3",
        Protocol::Streaming(|cloud, request| Box::pin(handle(cloud, request))),
        &[],
    )
};

/// The operations over s3s, with or without signature verification. Built for each request, in 0.25
/// microseconds even without optimization; one that lived longer would need a handle on the cloud
/// that keeps the cloud open.
fn operations(cloud: &Cloud, checks_signatures: bool) -> S3Service {
    let mut builder = S3ServiceBuilder::new(service::Operations::new(cloud));
    builder.set_host(wire::Hosts);
    if checks_signatures {
        builder.set_auth(SecretKeys::new(cloud));
    }
    builder.build()
}

/// Serves a request.
async fn handle(cloud: &Cloud, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut info = answer::RequestInfo::of(&parts);
    let form = is_form(&parts);
    let misplaced = !form && form::has_form_type(&parts);
    let verified = admission::is_verified(cloud, &parts);
    let request = Request::from_parts(parts, body);
    let selected = selectors::check(
        request.method(),
        request.uri().query().unwrap_or_default(),
        !info.key.is_empty(),
    );
    let answered = if let (false, false, Err(refusal)) = (form, info.bucket.is_empty(), &selected) {
        info.argument.clone_from(&refusal.argument);
        info.resource.clone_from(&refusal.resource);
        refusal.error().to_http_response().map_err(Into::into)
    } else if misplaced {
        // s3s would verify the credentials in the form, not those in the header.
        let message = "a form has its credentials in its fields, not in a header";
        s3s::S3Error::with_message(s3s::S3ErrorCode::InvalidRequest, message)
            .to_http_response()
            .map_err(Into::into)
    } else if form {
        let bucket_and_key = (info.bucket.clone(), info.key.clone());
        form::upload(cloud, &operations(cloud, false), bucket_and_key, request).await
    } else {
        let prepared = verified.map_err(s3s::S3Error::from).and_then(|verified| {
            let request = wire::prepare(request, verified)?;
            Ok((verified, request))
        });
        match prepared {
            Ok((verified, request)) => operations(cloud, verified)
                .call(request)
                .await
                .map_err(Into::into),
            Err(error) => error.to_http_response().map_err(Into::into),
        }
    };
    // For a copy, either the source or the target bucket may be missing.
    if info.source.is_some()
        && matches!(&answered, Ok(response) if response.status() == http::StatusCode::NOT_FOUND)
    {
        info.target_missing = !buckets::exists(cloud, &info.bucket).unwrap_or(true);
    }
    answer::complete(answered, &info).await
}
