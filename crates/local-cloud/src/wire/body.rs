//! Reads a body into memory, up to a limit.

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;

use crate::api::ApiError;
use crate::limits::MAX_DRAINED;

/// The reason why a body was not read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum BodyError {
    /// It is longer than its limit.
    TooLong,
    /// The client stopped sending or sent an invalid body.
    Broken(String),
}

impl BodyError {
    /// The error for JSON and query protocols; `limit` is the maximum size of the body, in bytes.
    pub(crate) fn into_error(self, limit: usize) -> ApiError {
        match self {
            Self::TooLong => ApiError::new(
                "RequestEntityTooLargeException",
                format!("the request's body is longer than {limit} bytes"),
            )
            .status(413),
            Self::Broken(reason) => ApiError::new("IncompleteBody", reason),
        }
    }
}

/// Reads a body of at most `limit` bytes. The rest of a longer body is read and discarded, so that
/// the client reads the response instead of a broken connection.
pub(crate) async fn read(mut body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| BodyError::Broken(error.to_string()))?;
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if kept.len() + data.len() > limit {
            drop(kept);
            drain(body).await;
            return Err(BodyError::TooLong);
        }
        kept.extend_from_slice(&data);
    }
    Ok(kept.freeze())
}

/// Reads and discards the rest of a body, up to a limit.
pub(crate) async fn drain(mut body: Body) {
    let mut left = MAX_DRAINED;
    while let Some(Ok(frame)) = body.frame().await {
        match left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) {
            Some(less) => left = less,
            None => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn issue_8_1_6_a_body_is_read_up_to_its_limit() {
        let body = |size| Body::from(vec![b'x'; size]);
        assert_eq!(read(body(10), 10).await.unwrap().len(), 10);
        assert_eq!(read(body(11), 10).await, Err(BodyError::TooLong));
        assert_eq!(BodyError::TooLong.into_error(10).status, 413);
        let broken = futures::stream::iter([Ok(Bytes::from("a")), Err("gone")]);
        let error = read(Body::from_stream(broken), 10).await.unwrap_err();
        assert_eq!(error, BodyError::Broken("gone".to_owned()));
        assert_eq!(error.into_error(10).status, 400);
    }
}
