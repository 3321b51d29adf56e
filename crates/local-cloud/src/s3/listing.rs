//! Listings of current objects or all versions, in the order of the keys' UTF-8 bytes, with
//! delimiters and continuation.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rusqlite::{Transaction, params};

use super::versions::{self, COLUMNS, Version};
use crate::api::ApiResult;

/// Maximum number of entries on a page.
const MAX_KEYS: i32 = 1000;

/// Number of rows that are read from the database at once.
const ROWS: i64 = 1001;

/// A request for a page.
#[derive(Debug, Default)]
pub(super) struct Query<'a> {
    pub(super) bucket: &'a str,
    pub(super) prefix: &'a str,
    pub(super) delimiter: Option<&'a str>,
    /// The key or common prefix after which the page starts.
    pub(super) after: &'a str,
    pub(super) max: Option<i32>,
}

/// One page.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) versions: Vec<Version>,
    pub(super) prefixes: Vec<String>,
    /// Where the next page starts: the last key or common prefix of this one.
    pub(super) next: Option<String>,
    /// The last version id of this page, if the listing is of versions and the last entry is one.
    pub(super) next_version: Option<String>,
}

impl Query<'_> {
    /// Maximum number of entries on the page.
    pub(super) fn max(&self) -> i32 {
        self.max.unwrap_or(MAX_KEYS).clamp(0, MAX_KEYS)
    }

    fn common_prefix(&self, key: &str) -> Option<String> {
        let delimiter = self.delimiter.filter(|delimiter| !delimiter.is_empty())?;
        let rest = key.strip_prefix(self.prefix)?;
        let end = rest.find(delimiter)? + delimiter.len();
        Some(format!("{}{}", self.prefix, &rest[..end]))
    }
}

/// A page of current objects.
pub(super) fn objects(transaction: &Transaction<'_>, query: &Query<'_>) -> ApiResult<Page> {
    let cursor = Cursor {
        key: query.after.to_owned(),
        inclusive: false,
        older_than: None,
    };
    page(transaction, query, cursor, "latest = 1 AND marker = 0")
}

/// A page of all versions and delete markers, newest first within a key. `marker` is the version
/// id, within the key `query.after`, after which the page starts.
pub(super) fn all_versions(
    transaction: &Transaction<'_>,
    query: &Query<'_>,
    marker: Option<&str>,
) -> ApiResult<Page> {
    let older_than = match marker {
        Some(id) => versions::by_id(transaction, query.bucket, query.after, id)?
            .map(|version| version.sequence),
        None => None,
    };
    let cursor = Cursor {
        key: query.after.to_owned(),
        inclusive: false,
        older_than,
    };
    page(transaction, query, cursor, "1")
}

/// Where the next rows start.
struct Cursor {
    key: String,
    /// True if the rows include `key` itself.
    inclusive: bool,
    /// Includes only versions of `key` that are older than this sequence.
    older_than: Option<i64>,
}

fn page(
    transaction: &Transaction<'_>,
    query: &Query<'_>,
    mut cursor: Cursor,
    which: &str,
) -> ApiResult<Page> {
    let max = usize::try_from(query.max()).unwrap_or_default();
    let mut page = Page::default();
    if max == 0 {
        return Ok(page);
    }
    if cursor.key.as_str() < query.prefix {
        cursor = Cursor {
            key: query.prefix.to_owned(),
            inclusive: true,
            older_than: None,
        };
    }
    if query.common_prefix(query.after).as_deref() == Some(query.after) {
        let Some(key) = successor(query.after) else {
            return Ok(page);
        };
        cursor = Cursor {
            key,
            inclusive: true,
            older_than: None,
        };
    }
    let end = successor(query.prefix);
    let mut last: Option<(String, Option<String>)> = None;
    'rows: loop {
        let rows = rows(transaction, query.bucket, &cursor, end.as_deref(), which)?;
        let full = rows.len() == usize::try_from(ROWS).unwrap_or_default();
        for version in rows {
            cursor = Cursor {
                key: version.key.clone(),
                inclusive: false,
                older_than: Some(version.sequence),
            };
            let common = query.common_prefix(&version.key);
            if page.versions.len() + page.prefixes.len() == max {
                let (key, id) = last.unwrap_or_default();
                page.next = Some(key);
                page.next_version = id;
                return Ok(page);
            }
            let Some(common) = common else {
                last = Some((version.key.clone(), Some(version.id.clone())));
                page.versions.push(version);
                continue;
            };
            let next = successor(&common);
            last = Some((common.clone(), None));
            page.prefixes.push(common);
            // There may be many keys under a common prefix: skip them.
            match next {
                Some(key) => {
                    cursor = Cursor {
                        key,
                        inclusive: true,
                        older_than: None,
                    };
                    continue 'rows;
                }
                None => return Ok(page),
            }
        }
        if !full {
            return Ok(page);
        }
    }
}

fn rows(
    transaction: &Transaction<'_>,
    bucket: &str,
    cursor: &Cursor,
    end: Option<&str>,
    which: &str,
) -> ApiResult<Vec<Version>> {
    // Two queries, so that SQLite uses the index for each.
    let mut found = Vec::new();
    if cursor.inclusive || cursor.older_than.is_some() {
        let older_than = cursor.older_than.unwrap_or(i64::MAX);
        let mut statement = transaction.prepare_cached(&format!(
            "SELECT {COLUMNS} FROM s3_versions WHERE bucket = ?1 AND key = ?2 AND sequence < ?3
             AND {which} ORDER BY sequence DESC LIMIT {ROWS}"
        ))?;
        for version in statement.query_map(
            params![bucket, cursor.key, older_than],
            versions::from_row_for_listing,
        )? {
            found.push(version?);
        }
    }
    let left = ROWS - i64::try_from(found.len()).unwrap_or(ROWS);
    let mut statement = transaction.prepare_cached(&format!(
        "SELECT {COLUMNS} FROM s3_versions WHERE bucket = ?1 AND key > ?2
         AND (?3 IS NULL OR key < ?3) AND {which} ORDER BY key, sequence DESC LIMIT ?4"
    ))?;
    for version in statement.query_map(
        params![bucket, cursor.key, end, left],
        versions::from_row_for_listing,
    )? {
        found.push(version?);
    }
    Ok(found)
}

/// The smallest string greater than every string that starts with `prefix`; `None` if there is
/// none.
fn successor(prefix: &str) -> Option<String> {
    let mut chars: Vec<char> = prefix.chars().collect();
    while let Some(last) = chars.pop() {
        let next = match last {
            '\u{d7ff}' => Some('\u{e000}'),
            c => char::from_u32(u32::from(c) + 1),
        };
        if let Some(next) = next {
            chars.push(next);
            return Some(chars.into_iter().collect());
        }
    }
    None
}

const KEPT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~')
    .remove(b'/')
    .remove(b'*');

/// Encodes a key for `EncodingType=url`; returns it unchanged otherwise.
pub(super) fn encode(text: String, url: bool) -> String {
    if url {
        utf8_percent_encode(&text, KEPT).to_string()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::buckets::Versioning;
    use super::super::versions::tests::{bucket, object, store};
    use super::super::versions::{WriteCondition, add, remove};
    use super::*;
    use crate::store::Store;

    fn store_with(keys: &[&str]) -> (tempfile::TempDir, Store) {
        let (directory, store) = store();
        for key in keys {
            store
                .transaction(|t| {
                    add(
                        t,
                        &bucket(Versioning::Enabled),
                        object(key, key),
                        &WriteCondition::default(),
                    )
                })
                .unwrap();
        }
        (directory, store)
    }

    /// Walks all pages of `max` entries.
    fn walk(store: &Store, prefix: &str, delimiter: Option<&str>, max: i32) -> Vec<String> {
        let mut found = Vec::new();
        let mut after = String::new();
        loop {
            let query = Query {
                bucket: "b",
                prefix,
                delimiter,
                after: &after,
                max: Some(max),
            };
            let page = store.transaction(|t| objects(t, &query)).unwrap();
            let mut entries: Vec<String> = page.versions.into_iter().map(|v| v.key).collect();
            entries.extend(page.prefixes);
            entries.sort();
            assert!(entries.len() <= usize::try_from(max).unwrap());
            found.extend(entries);
            match page.next {
                Some(next) => after = next,
                None => return found,
            }
        }
    }

    #[test]
    fn delimiters_fold_and_pages_of_any_size_agree() {
        let keys = [
            "a", "b/", "b/1", "b/2/x", "b/2/y", "c/1", "\u{e9}/1", "../x",
        ];
        let (_directory, store) = store_with(&keys);
        for max in 1..9 {
            assert_eq!(
                walk(&store, "", Some("/"), max),
                ["../", "a", "b/", "c/", "\u{e9}/"]
            );
            assert_eq!(walk(&store, "b/", Some("/"), max), ["b/", "b/1", "b/2/"]);
            assert_eq!(
                walk(&store, "b", None, max),
                ["b/", "b/1", "b/2/x", "b/2/y"]
            );
        }
    }

    #[test]
    fn versions_are_newest_first_and_pages_can_continue_within_a_key() {
        let (_directory, store) = store_with(&["k", "k", "l", "k"]);
        store
            .transaction(|t| {
                remove(
                    t,
                    &bucket(Versioning::Enabled),
                    "k",
                    &WriteCondition::default(),
                )
            })
            .unwrap();
        let everything = |max: i32| {
            let (mut found, mut after, mut marker) = (Vec::new(), String::new(), None::<String>);
            loop {
                let query = Query {
                    bucket: "b",
                    after: &after,
                    max: Some(max),
                    ..Query::default()
                };
                let page = store
                    .transaction(|t| all_versions(t, &query, marker.as_deref()))
                    .unwrap();
                found.extend(
                    page.versions
                        .into_iter()
                        .map(|v| (v.key, v.sequence, v.marker, v.latest)),
                );
                match page.next {
                    Some(next) => (after, marker) = (next, page.next_version),
                    None => return found,
                }
            }
        };
        let expected = [
            ("k".to_owned(), 5, true, true),
            ("k".to_owned(), 4, false, false),
            ("k".to_owned(), 2, false, false),
            ("k".to_owned(), 1, false, false),
            ("l".to_owned(), 3, false, true),
        ];
        for max in 1..7 {
            assert_eq!(everything(max), expected);
        }
        assert_eq!(walk(&store, "", None, 10), ["l"]);
    }

    #[test]
    fn the_successor_of_a_prefix_sorts_after_all_its_keys() {
        assert_eq!(successor("a/"), Some("a0".to_owned()));
        assert_eq!(successor("\u{d7ff}"), Some("\u{e000}".to_owned()));
        assert_eq!(successor("a\u{10ffff}"), Some("b".to_owned()));
        assert_eq!(successor(""), None);
    }
}
