//! REST-JSON: the members of a request in its path, query and body. What the path names decides, also for permissions:
//! neither query nor body replaces it.

use http::request::Parts;
use serde_json::{Map, Value, json};

use crate::api::{ApiError, ApiResult};
use crate::limits;

/// Returns the decoded segments of the path; `None` if one of them is not UTF-8.
pub(crate) fn segments(parts: &Parts) -> Option<Vec<String>> {
    let path = parts.uri.path().trim_matches('/');
    let segments = path.split('/').map(|segment| {
        let decoded = percent_encoding::percent_decode_str(segment).decode_utf8();
        decoded.ok().map(std::borrow::Cow::into_owned)
    });
    segments.collect()
}

/// Adds the members in the query. `member` returns the name of the member that a parameter sets; the values of
/// `TagKeys` are a list.
pub(crate) fn add_query(
    input: &mut Map<String, Value>,
    parts: &Parts,
    member: impl Fn(&str) -> &str,
) {
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    for (name, value) in url::form_urlencoded::parse(query) {
        // Some SDKs name the operation for their own logs.
        if name == "x-id" {
            continue;
        }
        let name = member(&name);
        if name == "TagKeys" {
            let keys = input.entry(name).or_insert_with(|| json!([]));
            if let Some(keys) = keys.as_array_mut() {
                keys.push(json!(value));
            }
        } else {
            input.entry(name).or_insert_with(|| json!(value));
        }
    }
}

/// Adds the members in the body. `wrong` is the service's error for a body that is not a JSON object.
pub(crate) fn add_body(
    input: &mut Map<String, Value>,
    body: &[u8],
    wrong: impl Fn(String) -> ApiError,
) -> ApiResult<()> {
    if body.is_empty() {
        return Ok(());
    }
    limits::check_json(body, limits::MAX_DEPTH).map_err(&wrong)?;
    let members: Map<String, Value> =
        serde_json::from_slice(body).map_err(|error| wrong(error.to_string()))?;
    for (name, value) in members {
        input.entry(name).or_insert(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str) -> Parts {
        let request = http::Request::builder().uri(uri).body(()).unwrap();
        request.into_parts().0
    }

    #[test]
    fn the_path_decides() {
        let parts = parts("/tags/arn%3Aa%2Fb?Name=query&x-id=Op&tagKeys=1&tagKeys=2&Other=o");
        assert_eq!(segments(&parts).unwrap(), ["tags", "arn:a/b"]);
        let mut input = Map::new();
        input.insert("Name".to_owned(), json!("path"));
        add_query(&mut input, &parts, |name| match name {
            "tagKeys" => "TagKeys",
            name => name,
        });
        let wrong = |message| ApiError::new("Wrong", message);
        add_body(
            &mut input,
            br#"{"Name": "body", "Other": "body", "More": 1}"#,
            wrong,
        )
        .unwrap();
        let expected = json!({"Name": "path", "TagKeys": ["1", "2"], "Other": "o", "More": 1});
        assert_eq!(Value::Object(input), expected);
    }

    #[test]
    fn what_is_not_an_object_is_refused() {
        let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
        for body in ["[]", "x", "1", deep.as_str()] {
            let wrong = |message| ApiError::new("Wrong", message);
            let error = add_body(&mut Map::new(), body.as_bytes(), wrong).unwrap_err();
            assert_eq!(error.code, "Wrong", "{body}");
        }
        assert!(segments(&parts("/a/%ff")).is_none());
    }
}
