//! Keys without their records, and the last records of a range: reads whose size does not grow with the collection.

use rusqlite::{Connection, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Collection, decode};
use crate::api::ApiResult;

impl<T: Serialize + DeserializeOwned> Collection<'_, T> {
    /// The keys that start with `prefix`, in order. Reads no record, so that a damaged one stops nothing.
    pub(crate) fn keys(&self, prefix: &str) -> ApiResult<Vec<String>> {
        keys(&self.store.lock(), self.service, self.kind, prefix)
    }

    /// [`Collection::keys`] inside a [`Store::transaction`].
    pub(crate) fn keys_in(
        &self,
        transaction: &Transaction<'_>,
        prefix: &str,
    ) -> ApiResult<Vec<String>> {
        keys(transaction, self.service, self.kind, prefix)
    }

    /// At most `count` records whose keys start with `prefix` and, if there is an `end`, come before it; the last
    /// keys first.
    pub(crate) fn last(
        &self,
        prefix: &str,
        end: Option<&str>,
        count: usize,
    ) -> ApiResult<Vec<(String, T)>> {
        let range = (prefix, end, count);
        last(&self.store.lock(), self.service, self.kind, range)
    }

    /// [`Collection::last`] inside a [`Store::transaction`].
    pub(crate) fn last_in(
        &self,
        transaction: &Transaction<'_>,
        prefix: &str,
        end: Option<&str>,
        count: usize,
    ) -> ApiResult<Vec<(String, T)>> {
        let range = (prefix, end, count);
        last(transaction, self.service, self.kind, range)
    }
}

fn keys(
    connection: &Connection,
    service: &str,
    kind: &str,
    prefix: &str,
) -> ApiResult<Vec<String>> {
    let mut statement = connection.prepare_cached(
        "SELECT key FROM records
         WHERE service = ?1 AND kind = ?2 AND key >= ?3 AND key < ?4 ORDER BY key",
    )?;
    let found = statement.query_map(params![service, kind, prefix, after(prefix)], |row| {
        row.get(0)
    })?;
    Ok(found.collect::<Result<_, _>>()?)
}

/// A text after all keys that start with `prefix`.
fn after(prefix: &str) -> String {
    format!("{prefix}{}", char::MAX)
}

fn last<T: DeserializeOwned>(
    connection: &Connection,
    service: &str,
    kind: &str,
    (prefix, end, count): (&str, Option<&str>, usize),
) -> ApiResult<Vec<(String, T)>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value FROM records
         WHERE service = ?1 AND kind = ?2 AND key >= ?3 AND key < ?4 ORDER BY key DESC LIMIT ?5",
    )?;
    let end = end.map_or_else(|| after(prefix), str::to_owned);
    let count = i64::try_from(count).unwrap_or(i64::MAX);
    let mut rows = statement.query(params![service, kind, prefix, end, count])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        found.push((row.get(0)?, decode(&text)?));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::test_cloud::TestCloud;

    #[test]
    fn ranges_stay_within_their_prefix() {
        let at = TestCloud::new();
        let cloud = at.cloud();
        let records = cloud.store().collection::<u64>("mlops", "ranges");
        for (key, value) in [
            ("a/1", 1),
            ("a/2", 2),
            ("a/3", 3),
            ("a", 0),
            ("a0", 0),
            ("b/1", 0),
        ] {
            records.put(key, &value).unwrap();
        }
        assert_eq!(records.keys("a/").unwrap(), ["a/1", "a/2", "a/3"]);
        let last = |end, count| -> Vec<u64> {
            let found = records.last("a/", end, count).unwrap().into_iter();
            found.map(|(_, value)| value).collect()
        };
        assert_eq!(last(None, 2), [3, 2]);
        assert_eq!(last(Some("a/2"), 2), [1]);
        assert!(last(Some("a/1"), 2).is_empty());
        // A damaged record has a key.
        let broken = cloud.store().collection::<String>("mlops", "ranges");
        broken.put("a/0", &"x".to_owned()).unwrap();
        assert_eq!(records.keys("a/").unwrap().len(), 4);
        assert!(records.list("a/").is_err());
    }
}
