//! Pages of a sorted list. A token holds the key of the last item, so items that are added or removed
//! between two pages neither repeat nor hide others.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{ApiError, ApiResult};

/// One page of `items` (key and answer, in the keys' order) as the member `name`, with the token of the
/// next.
pub(crate) fn page(
    name: &str,
    items: impl IntoIterator<Item = (String, Value)>,
    size: usize,
    token: Option<&str>,
) -> ApiResult<Value> {
    let after = match token {
        None | Some("") => String::new(),
        Some(token) => URL_SAFE_NO_PAD
            .decode(token)
            .ok()
            .and_then(|bytes| String::from_utf8(bytes).ok())
            .ok_or_else(|| {
                ApiError::new("InvalidNextToken", "The specified token is not valid.")
            })?,
    };
    let mut rest = items.into_iter().skip_while(|(key, _)| *key <= after);
    let mut last = None;
    let mut shown = Vec::new();
    for (key, item) in rest.by_ref().take(size) {
        last = Some(key);
        shown.push(item);
    }
    let mut answer = json!({});
    answer[name] = Value::Array(shown);
    if let (Some(last), true) = (last, rest.next().is_some()) {
        answer["NextToken"] = URL_SAFE_NO_PAD.encode(last).into();
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let items = |keys: &[&str]| -> Vec<(String, Value)> {
            keys.iter()
                .map(|key| ((*key).to_owned(), json!(key)))
                .collect()
        };
        let first = page("All", items(&["a", "b", "c"]), 2, None).unwrap();
        assert_eq!(first["All"], json!(["a", "b"]));
        let token = first["NextToken"].as_str();
        // `b` is gone and `bb` is new.
        let second = page("All", items(&["a", "bb", "c"]), 2, token).unwrap();
        assert_eq!(second, json!({"All": ["bb", "c"]}));
        assert_eq!(page("All", [], 2, None).unwrap(), json!({"All": []}));
        let error = page("All", [], 2, Some("%")).unwrap_err();
        assert_eq!(error.code, "InvalidNextToken");
    }
}
