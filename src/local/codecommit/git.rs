//! git clone and push over HTTP at /v1/repos/NAME.

use axum::body::Body;
use http::{Request, Response};

use crate::local::Cloud;

/// Serves one request of git's smart HTTP protocol.
pub(crate) async fn handle(_cloud: &Cloud, _request: Request<Body>) -> Response<Body> {
    let mut response = Response::new(Body::from("NotImplemented: git"));
    *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
    response
}
