//! Requests with up to ten entries, each of which succeeds or fails on its own.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::query_code;
use crate::api::{ApiError, ApiResult};

/// Maximum number of entries.
const MAX_ENTRIES: usize = 10;

/// Maximum length of the id of an entry.
const MAX_ID: usize = 80;

/// Checks the number of entries and their ids. `entry` is the name of an entry's shape.
pub(super) fn check<'a>(ids: impl Iterator<Item = &'a str> + Clone, entry: &str) -> ApiResult<()> {
    let count = ids.clone().count();
    if count == 0 {
        let message = format!("There should be at least one {entry} in the request.");
        return Err(ApiError::new("EmptyBatchRequest", message));
    }
    if count > MAX_ENTRIES {
        let message = format!(
            "Maximum number of entries per request are {MAX_ENTRIES}. You have sent {count}."
        );
        return Err(ApiError::new("TooManyEntriesInBatchRequest", message));
    }
    let mut seen = BTreeSet::new();
    for id in ids {
        let is_valid = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if !(1..=MAX_ID).contains(&id.len()) || !id.bytes().all(is_valid) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It \
                           can be at most 80 letters long.";
            return Err(ApiError::new("InvalidBatchEntryId", message));
        }
        if !seen.insert(id) {
            return Err(ApiError::new(
                "BatchEntryIdsNotDistinct",
                format!("Id {id} repeated."),
            ));
        }
    }
    Ok(())
}

/// The results of the entries, by their ids. An error of the server fails the request.
pub(super) fn answer(results: Vec<(String, ApiResult<Value>)>) -> ApiResult<Value> {
    let (mut successful, mut failed) = (Vec::new(), Vec::new());
    for (id, result) in results {
        match result {
            Ok(mut value) => {
                value["Id"] = id.into();
                successful.push(value);
            }
            Err(error) if error.status >= 500 => return Err(error),
            Err(error) => failed.push(json!({
                "Id": id,
                "SenderFault": true,
                "Code": query_code(&error),
                "Message": error.message,
            })),
        }
    }
    // The service model requires both lists.
    Ok(json!({"Successful": successful, "Failed": failed}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_counted_and_named() {
        let code = |ids: &[&str]| check(ids.iter().copied(), "Entry").err().map(|it| it.code);
        assert_eq!(code(&["a", "b"]), None);
        assert_eq!(code(&[]).as_deref(), Some("EmptyBatchRequest"));
        let many: Vec<String> = (0..11).map(|it| it.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(code(&many[..10]), None);
        assert_eq!(code(&many).as_deref(), Some("TooManyEntriesInBatchRequest"));
        assert_eq!(
            code(&["a", "a"]).as_deref(),
            Some("BatchEntryIdsNotDistinct")
        );
        for wrong in ["", "a.b", &"x".repeat(81)] {
            assert_eq!(code(&[wrong]).as_deref(), Some("InvalidBatchEntryId"));
        }
    }

    #[test]
    fn an_error_of_the_server_fails_the_request() {
        let refused = || ApiError::new("QueueDoesNotExist", "x");
        let answered = answer(vec![
            ("a".to_owned(), Ok(json!({}))),
            ("b".to_owned(), Err(refused())),
        ]);
        let answered = answered.unwrap();
        assert_eq!(answered["Successful"], json!([{"Id": "a"}]));
        assert_eq!(
            answered["Failed"][0]["Code"],
            "AWS.SimpleQueueService.NonExistentQueue"
        );
        let broken = ("a".to_owned(), Err(ApiError::unavailable("full")));
        assert!(answer(vec![broken]).is_err());
    }
}
