//! SageMaker Runtime: invoking endpoints.

use axum::body::Body;
use http::{Request, Response};

use crate::local::Cloud;

/// The operations that this service has.
pub(crate) const OPERATIONS: &[&str] = &[];

/// Serves one request.
pub(crate) async fn handle(_cloud: &Cloud, _request: Request<Body>) -> Response<Body> {
    let mut response = Response::new(Body::from("NotImplemented: sagemaker-runtime"));
    *response.status_mut() = http::StatusCode::NOT_IMPLEMENTED;
    response
}
