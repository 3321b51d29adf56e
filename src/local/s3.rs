//! S3, over the protocol of the s3s crate.

use axum::body::Body;
use http::{Request, Response};

use super::Cloud;

pub(crate) mod buckets;
pub(crate) mod objects;

/// The tables of this service.
pub(crate) const SCHEMA: &str = "";

/// The operations that this service has.
pub(crate) const OPERATIONS: &[&str] = &[];

/// Serves S3 requests.
#[derive(Clone)]
pub(crate) struct Server {
    _cloud: Cloud,
}

impl Server {
    pub(crate) fn new(cloud: &Cloud) -> Self {
        Self {
            _cloud: cloud.clone(),
        }
    }

    /// Serves one request.
    pub(crate) async fn handle(&self, _request: Request<Body>) -> Response<Body> {
        let mut response = Response::new(Body::from("NotImplemented: s3"));
        *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
        response
    }
}
