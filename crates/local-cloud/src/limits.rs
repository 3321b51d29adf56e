//! Limits of requests and connections: the one list for all decoders and the server. A request over
//! a limit is refused with 400 (413 if its body is too long) in the client's protocol, before it is
//! decoded.
//!
//! A stack overflow ends the process and cannot be caught, so every decoder checks the depth before
//! anything recurses: JSON here, forms in `wire::query::form`, templates in
//! `cloudformation::template`. `serde_json` itself refuses more than 128 levels (its feature
//! `unbounded_depth` is off), and `toml` more than 80. s3s parses S3's XML into types of fixed
//! depth and skips unknown elements in a loop. The stacks that main.rs requests are large enough
//! for these depths in an unoptimized build.

use std::time::Duration;

use mlops_pipeline::json_keys;
use serde_json::Value;

/// Maximum size of a JSON request body, in bytes. The largest request of a service here is ECR's
/// `UploadLayerPart` with a part of 10 MiB in base64 (`lambda::rest` has the limit of Lambda).
pub(crate) const MAX_JSON: usize = 16 << 20;

/// Maximum size of a query request body, in bytes. The largest that AWS accepts is a `CreateStack`
/// with 200 parameters of 4,096 bytes, a template of 51,200 bytes and two policies of 16,384: about
/// 1 MB, which percent-encoding can triple.
pub(crate) const MAX_FORM: usize = 4 << 20;

/// Maximum number of members in a form. 1,000 rules of a security group have 4,000.
pub(crate) const MAX_FORM_MEMBERS: usize = 10_000;

/// Maximum number of nodes in the tree that a form describes; each takes about 1 KB.
pub(crate) const MAX_FORM_NODES: usize = 20_000;

/// Maximum number of values in a JSON request; each takes about 100 bytes once decoded. 10,000 log
/// events have 30,000 values.
pub(crate) const MAX_VALUES: usize = 200_000;

/// Maximum nesting depth of a request. Inputs of the services here have about ten levels; only
/// SageMaker's `Search` (`SubExpressions`) can nest without limit. Unverified against AWS
/// [request-depth]: the limit of its decoders is not published.
pub(crate) const MAX_DEPTH: usize = 64;

/// Maximum nesting depth of a document in a request, such as a template with its short forms
/// expanded. Records hold such documents below a few levels of their own and must stay readable;
/// the limit of `serde_json` is 128 levels.
pub(crate) const MAX_DOCUMENT_DEPTH: usize = 100;

/// Maximum number of bytes of a refused body that are read and discarded, so that the client reads
/// the response instead of a broken connection.
pub(crate) const MAX_DRAINED: usize = 64 << 20;

/// Maximum number of concurrent connections; more wait in the queue of the listener.
pub(crate) const MAX_CONNECTIONS: usize = 512;

/// Maximum size of the request line and headers, in bytes. A presigned URL and a session token need
/// about 4 KB.
pub(crate) const MAX_HEAD: usize = 64 << 10;

/// Maximum number of headers in a request. The 2 KB of user metadata in S3 can be more than 100
/// headers.
pub(crate) const MAX_HEADERS: usize = 200;

/// Timeout for the headers of a request, also between requests on a connection.
pub(crate) const HEAD_TIME: Duration = Duration::from_secs(20);

/// Timeout for the next bytes of a body.
pub(crate) const BODY_TIME: Duration = Duration::from_secs(30);

/// Timeout for a client to accept more bytes of a response. Long, because a program that processes
/// a download as it arrives may pause.
pub(crate) const ANSWER_TIME: Duration = Duration::from_mins(2);

/// Checks JSON before it is decoded: at most `max_depth` levels and [`MAX_VALUES`] values, and no
/// repeated key in an object, of which the decoder would drop a value. The error describes the
/// problem.
pub(crate) fn check_json(bytes: &[u8], max_depth: usize) -> Result<(), String> {
    let (mut depth, mut values) = (0_usize, 1_usize);
    let mut rest = bytes.iter();
    while let Some(byte) = rest.next() {
        match byte {
            b'"' => {
                // Skips to the end of the string; an escaped quote does not end it.
                while let Some(byte) = rest.next() {
                    match byte {
                        b'\\' => drop(rest.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'[' | b'{' => {
                depth += 1;
                values += 1;
                if depth > max_depth {
                    return Err(too_deep(max_depth));
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if values > MAX_VALUES {
            return Err(format!("the JSON has more than {MAX_VALUES} values"));
        }
    }
    match json_keys::duplicate(bytes) {
        Some(duplicate) => Err(duplicate.to_string()),
        None => Ok(()),
    }
}

/// Decodes a JSON document inside a request: a policy, a manifest, a token. The error describes the
/// problem.
pub(crate) fn document(bytes: &[u8]) -> Result<Value, String> {
    check_json(bytes, MAX_DOCUMENT_DEPTH)?;
    serde_json::from_slice(bytes).map_err(|error| error.to_string())
}

/// The message for a value that is nested too deeply.
pub(crate) fn too_deep(max_depth: usize) -> String {
    format!("nested deeper than {max_depth} levels")
}

/// True if a value has at most `levels` levels of lists and objects. Recurses at most that deep.
pub(crate) fn is_within(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(items) => levels > 0 && items.iter().all(|item| is_within(item, levels - 1)),
        Value::Object(members) => {
            levels > 0 && members.values().all(|member| is_within(member, levels - 1))
        }
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issue_8_1_5_depth_and_number_are_checked_before_decoding() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(check_json(nested(64).as_bytes(), 64), Ok(()));
        let error = check_json(nested(65).as_bytes(), 64).unwrap_err();
        assert_eq!(error, "nested deeper than 64 levels");
        // Never closed, and deeper than any stack.
        assert!(check_json("{\"a\":".repeat(1 << 20).as_bytes(), 64).is_err());
        // Brackets in text do not count, also after an escaped quote.
        let text = format!(r#"{{"a": "\"{}", "b": "\\"}}"#, "[".repeat(100));
        assert_eq!(check_json(text.as_bytes(), 1), Ok(()));
        let many = format!("[{}0]", "0,".repeat(MAX_VALUES));
        assert!(check_json(many.as_bytes(), 64).is_err());
        // Text that is not JSON is left to the decoder.
        assert_eq!(check_json(b"]]]\"\\", 1), Ok(()));
    }

    #[test]
    fn a_key_can_occur_once_in_an_object() {
        let error = check_json(br#"{"a": [{"b": 1, "\u0062": 2}]}"#, 64).unwrap_err();
        assert_eq!(error, "the key 'b' occurs twice in $.a[0]");
        // Depth comes first: nothing recurses before it is known.
        let deep = format!("{}{}", "{\"a\": 1, \"a\":".repeat(1000), "0".repeat(10));
        assert_eq!(check_json(deep.as_bytes(), 64), Err(too_deep(64)));
        assert!(document(br#"{"a": 1, "a": 1}"#).is_err());
        assert!(document(br#"{"a": 1,}"#).is_err());
        assert_eq!(document(b"{}"), Ok(serde_json::json!({})));
    }

    #[test]
    fn values_are_measured() {
        let value = serde_json::json!({"a": [1, {"b": "c"}], "d": null});
        assert!(is_within(&value, 3));
        assert!(!is_within(&value, 2));
        assert!(is_within(&Value::Null, 0));
    }
}
