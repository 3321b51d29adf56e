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
//! A key is text and never a path: bytes are kept under their SHA-256, so `../x` is an ordinary
//! key. Bytes are received into a temporary file and hashed once, off the async threads; one
//! transaction then decides on conditions (`If-Match`, `If-None-Match`) and writes the version, so
//! that of many racing writers exactly one wins.
// Clippy leaves imports alone where it builds the tests.
#![cfg_attr(
    not(test),
    expect(
        clippy::wildcard_imports,
        reason = "an operation needs a dozen of s3s's two thousand types"
    )
)]
#![expect(
    clippy::unused_async,
    reason = "s3s's operations are async, also those that only read a record"
)]

use axum::body::Body;
use http::{Request, Response};
use s3s::service::{S3Service, S3ServiceBuilder};

use super::Cloud;
use super::admission::{Credentials, Keys};
use super::cloud::service::{Protocol, Route, Service};

mod answer;
mod bucket_api;
mod bucket_policy;
pub(crate) mod buckets;
mod checksums;
mod chunked;
mod completion;
mod form;
mod lifecycle;
mod listing;
mod multipart;
mod multipart_api;
mod multipart_list;
mod notifications;
pub(crate) mod objects;
mod pages;
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
pub(crate) use multipart::remove_orphaned_parts;
pub(crate) use versions::mark;

/// The tables of this service. `sequence` orders the versions of a key: the highest is the newest.
/// The version id `null` is that of objects written while versioning was off or suspended.
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
    http_operations: service::OPERATIONS,
    routes: &[Route {
        // Forms are authenticated by the signature of their policy.
        matches: |parts, _| is_form(parts),
        handle: |cloud, request| Box::pin(handle(cloud, request)),
    }],
    tables: TABLES,
    ..Service::new(
        "s3",
        "S3",
        Protocol::Streaming(|cloud, request| Box::pin(handle(cloud, request))),
        &[],
    )
};

/// The operations over s3s, with or without its check of signatures.
fn operations(cloud: &Cloud, checks_signatures: bool) -> S3Service {
    let mut builder = S3ServiceBuilder::new(service::Operations::new(cloud));
    builder.set_host(wire::Hosts);
    if checks_signatures && matches!(cloud.credentials(), Credentials::Required { .. }) {
        builder.set_auth(Keys::new(cloud));
    }
    builder.build()
}

/// Serves one request.
async fn handle(cloud: &Cloud, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let mut about = answer::About::of(&parts);
    let form = is_form(&parts);
    let request = Request::from_parts(parts, body);
    let selected = selectors::check(
        request.method(),
        request.uri().query().unwrap_or_default(),
        !about.key.is_empty(),
    );
    let answered = if let (false, false, Err(refusal)) = (form, about.bucket.is_empty(), &selected)
    {
        about.argument.clone_from(&refusal.argument);
        about.resource.clone_from(&refusal.resource);
        refusal.error().to_http_response().map_err(Into::into)
    } else if form {
        let place = (about.bucket.clone(), about.key.clone());
        form::upload(cloud, &operations(cloud, false), place, request).await
    } else {
        match wire::admit(request, cloud.credentials()) {
            Ok(request) => operations(cloud, true)
                .call(request)
                .await
                .map_err(Into::into),
            Err(error) => error.to_http_response().map_err(Into::into),
        }
    };
    // Of a copy, either bucket may be missing.
    if about.source.is_some()
        && matches!(&answered, Ok(response) if response.status() == http::StatusCode::NOT_FOUND)
    {
        about.target_missing = !buckets::exists(cloud, &about.bucket).unwrap_or(true);
    }
    answer::finish(answered, &about).await
}
