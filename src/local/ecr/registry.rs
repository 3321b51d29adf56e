//! The OCI registry at /v2/.

use axum::body::Body;
use http::{Request, Response};

use crate::local::Cloud;

/// Serves one request of the distribution protocol.
pub(crate) async fn handle(_cloud: &Cloud, _request: Request<Body>) -> Response<Body> {
    let mut response = Response::new(Body::from("NotImplemented: registry"));
    *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
    response
}
