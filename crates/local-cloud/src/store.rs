//! Records in SQLite, bytes in content-addressed files.
//!
//! A kill -9 loses no acknowledged data: SQLite commits to a write-ahead log, and a blob is renamed
//! into place before the record that refers to it is written. (A power failure can lose the last
//! moments, because the log is not synced on each commit; that is acceptable for a development
//! server.)

use std::collections::HashMap;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::api::{ApiError, ApiResult};

mod opening;
mod ranges;
mod usage;
mod verified;

pub(crate) use verified::is_damage;

/// File name of the database in the state directory.
pub(super) const FILE: &str = "records.sqlite";

/// Schema version of this build. A directory with a newer one is refused.
pub(crate) const SCHEMA: i64 = 1;

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode::{
            CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, ReadOnly, SystemIoFailure,
        };

        match error.sqlite_error_code() {
            Some(
                CannotOpen | DatabaseBusy | DatabaseLocked | DiskFull | ReadOnly | SystemIoFailure,
            ) => Self::unavailable(error),
            _ => Self::internal(error),
        }
    }
}

/// The records of every service; each service reads only its own.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Number of changes to the records of each service.
    changes: Mutex<HashMap<&'static str, u64>>,
    /// Number of transactions before all writes fail; `usize::MAX` for unlimited. Only tests set
    /// it.
    transactions_left: AtomicUsize,
}

impl Store {
    /// Opens or creates the database in `directory`. `tables` is SQL that creates the tables of
    /// services.
    pub(crate) fn open<'a>(
        directory: &Path,
        tables: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<Self> {
        const RECORDS: &str = "CREATE TABLE IF NOT EXISTS records (
                 service TEXT NOT NULL, kind TEXT NOT NULL, key TEXT NOT NULL, value TEXT NOT NULL,
                 PRIMARY KEY (service, kind, key)
             ) WITHOUT ROWID;";

        let tables: Vec<&str> = std::iter::once(RECORDS).chain(tables).collect();
        Ok(Self {
            path: directory.join(FILE),
            connection: Mutex::new(opening::open(directory, &tables)?),
            changes: Mutex::default(),
            transactions_left: AtomicUsize::new(usize::MAX),
        })
    }

    /// The connection, for a write.
    fn lock_to_write(&self) -> MutexGuard<'_, Connection> {
        let connection = self.lock();
        let left = &self.transactions_left;
        if left.load(Ordering::Relaxed) != usize::MAX && left.fetch_sub(1, Ordering::Relaxed) == 0 {
            left.store(usize::MAX, Ordering::Relaxed);
            set_read_only(&connection, true);
        }
        connection
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolls it back, so the connection is still usable.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in a transaction, which an error rolls back. Must not be nested.
    pub(crate) fn transaction<R>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> ApiResult<R>,
    ) -> ApiResult<R> {
        let mut connection = self.lock_to_write();
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Reads a consistent snapshot of the database, on a separate connection, so that nothing waits
    /// for it.
    pub(super) fn snapshot<R>(
        &self,
        work: impl FnOnce(&Connection) -> ApiResult<R>,
    ) -> ApiResult<R> {
        let connection = Connection::open_with_flags(
            &self.path,
            OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
        )?;
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.pragma_update(None, "query_only", true)?;
        connection.execute_batch("BEGIN")?;
        work(&connection)
    }

    /// A counter that grows with every change of the database.
    pub(super) fn changes(&self) -> i64 {
        let connection = self.lock();
        connection
            .prepare_cached("SELECT total_changes()")
            .and_then(|mut statement| statement.query_row([], |row| row.get(0)))
            .unwrap_or_default()
    }

    fn counters(&self) -> MutexGuard<'_, HashMap<&'static str, u64>> {
        self.changes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A counter that grows with every change to the records of a service. If it is read before the records and
    /// has not changed since, the records are current.
    pub(super) fn changes_of(&self, service: &str) -> u64 {
        self.counters().get(service).copied().unwrap_or_default()
    }

    /// Tests whether the database can be written.
    pub(crate) fn probe(&self) -> ApiResult<()> {
        // Larger than a page, so that the database must grow.
        let large = "x".repeat(16 << 10);
        let probes = self.collection::<String>("mlops", "probe");
        probes.put("probe", &large)?;
        probes.remove("probe").map(drop)
    }

    /// For tests: makes every write fail, as on a disk that is full or read-only.
    pub(crate) fn refuse_writes(&self, refuse: bool) {
        self.transactions_left.store(usize::MAX, Ordering::Relaxed);
        set_read_only(&self.lock(), refuse);
    }

    /// For tests: [`Store::refuse_writes`] after this many more transactions.
    pub(crate) fn refuse_writes_after(&self, transactions: usize) {
        self.transactions_left
            .store(transactions, Ordering::Relaxed);
    }

    /// The records of one kind.
    pub(crate) fn collection<T>(
        &self,
        service: &'static str,
        kind: &'static str,
    ) -> Collection<'_, T> {
        Collection {
            store: self,
            service,
            kind,
            record: PhantomData,
        }
    }
}

/// The records of one service and kind, stored as JSON under their keys.
#[derive(Debug)]
pub(crate) struct Collection<'a, T> {
    store: &'a Store,
    service: &'static str,
    kind: &'static str,
    record: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Collection<'_, T> {
    /// Counts a change. The caller holds the connection until the change is committed, so nobody reads the old
    /// records after the counter has grown.
    fn count(&self) {
        *self.store.counters().entry(self.service).or_default() += 1;
    }

    /// The record under `key`.
    pub(crate) fn get(&self, key: &str) -> ApiResult<Option<T>> {
        read(&self.store.lock(), self.service, self.kind, key)
    }

    /// Adds a record; false if the key exists.
    pub(crate) fn insert(&self, key: &str, record: &T) -> ApiResult<bool> {
        let text = serde_json::to_string(record).map_err(ApiError::internal)?;
        let connection = self.store.lock_to_write();
        self.count();
        let added = connection
            .prepare_cached("INSERT OR IGNORE INTO records VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.service, self.kind, key, text])?;
        Ok(added == 1)
    }

    /// Adds or replaces a record.
    pub(crate) fn put(&self, key: &str, record: &T) -> ApiResult<()> {
        let connection = self.store.lock_to_write();
        self.count();
        write(&connection, self.service, self.kind, key, record)
    }

    /// Changes a record in a transaction; `None` if it does not exist. An error leaves it
    /// unchanged.
    pub(crate) fn update<R>(
        &self,
        key: &str,
        change: impl FnOnce(&mut T) -> ApiResult<R>,
    ) -> ApiResult<Option<R>> {
        self.store.transaction(|transaction| {
            let Some(mut record) = read::<T>(transaction, self.service, self.kind, key)? else {
                return Ok(None);
            };
            let result = change(&mut record)?;
            self.count();
            write(transaction, self.service, self.kind, key, &record)?;
            Ok(Some(result))
        })
    }

    /// [`Collection::get`] inside a [`Store::transaction`].
    pub(crate) fn get_in(&self, transaction: &Transaction<'_>, key: &str) -> ApiResult<Option<T>> {
        read(transaction, self.service, self.kind, key)
    }

    /// [`Collection::put`] inside a [`Store::transaction`].
    pub(crate) fn put_in(
        &self,
        transaction: &Transaction<'_>,
        key: &str,
        record: &T,
    ) -> ApiResult<()> {
        self.count();
        write(transaction, self.service, self.kind, key, record)
    }

    /// [`Collection::remove`] inside a [`Store::transaction`].
    pub(crate) fn remove_in(&self, transaction: &Transaction<'_>, key: &str) -> ApiResult<bool> {
        self.count();
        remove(transaction, self.service, self.kind, key)
    }

    /// Removes a record; false if it does not exist.
    pub(crate) fn remove(&self, key: &str) -> ApiResult<bool> {
        let connection = self.store.lock_to_write();
        self.count();
        remove(&connection, self.service, self.kind, key)
    }

    /// All records whose keys start with `prefix`, in key order.
    pub(crate) fn list(&self, prefix: &str) -> ApiResult<Vec<(String, T)>> {
        list(&self.store.lock(), self.service, self.kind, prefix)
    }

    /// [`Collection::list`] inside a [`Store::transaction`].
    pub(crate) fn list_in(
        &self,
        transaction: &Transaction<'_>,
        prefix: &str,
    ) -> ApiResult<Vec<(String, T)>> {
        list(transaction, self.service, self.kind, prefix)
    }
}

/// Passes the key and JSON of every record to `work`.
pub(super) fn for_each_record(
    connection: &Connection,
    mut work: impl FnMut(&str, &str),
) -> ApiResult<()> {
    let mut statement = connection.prepare("SELECT key, value FROM records")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |index: usize| row.get_ref(index)?.as_str().map_err(rusqlite::Error::from);
        work(text(0)?, text(1)?);
    }
    Ok(())
}

/// Passes every distinct text of a table's column to `work`.
pub(super) fn for_each_text(
    connection: &Connection,
    table: &str,
    column: &str,
    mut work: impl FnMut(&str),
) -> ApiResult<()> {
    let mut statement = connection.prepare(&format!("SELECT DISTINCT {column} FROM {table}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        work(row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?);
    }
    Ok(())
}

fn set_read_only(connection: &Connection, read_only: bool) {
    connection
        .pragma_update(None, "query_only", read_only)
        .expect("SQLite knows the pragma");
}

fn read<T: DeserializeOwned>(
    connection: &Connection,
    service: &str,
    kind: &str,
    key: &str,
) -> ApiResult<Option<T>> {
    let text: Option<String> = connection
        .prepare_cached("SELECT value FROM records WHERE service = ?1 AND kind = ?2 AND key = ?3")?
        .query_row(params![service, kind, key], |row| row.get(0))
        .optional()?;
    text.map(|text| decode(&text)).transpose()
}

fn list<T: DeserializeOwned>(
    connection: &Connection,
    service: &str,
    kind: &str,
    prefix: &str,
) -> ApiResult<Vec<(String, T)>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, value FROM records
         WHERE service = ?1 AND kind = ?2 AND substr(key, 1, length(?3)) = ?3 ORDER BY key",
    )?;
    let mut rows = statement.query(params![service, kind, prefix])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(1)?;
        found.push((row.get(0)?, decode(&text)?));
    }
    Ok(found)
}

fn write<T: Serialize>(
    connection: &Connection,
    service: &str,
    kind: &str,
    key: &str,
    record: &T,
) -> ApiResult<()> {
    let text = serde_json::to_string(record).map_err(ApiError::internal)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![service, kind, key, text])?;
    Ok(())
}

fn remove(connection: &Connection, service: &str, kind: &str, key: &str) -> ApiResult<bool> {
    let removed = connection
        .prepare_cached("DELETE FROM records WHERE service = ?1 AND kind = ?2 AND key = ?3")?
        .execute(params![service, kind, key])?;
    Ok(removed == 1)
}

fn decode<T: DeserializeOwned>(text: &str) -> ApiResult<T> {
    serde_json::from_str(text).map_err(ApiError::internal)
}

/// Content-addressed files: `blobs/ab/ab12…`, named by the SHA-256 of their bytes.
#[derive(Debug, Clone)]
pub(crate) struct Blobs {
    directory: PathBuf,
    verified: Arc<verified::VerifiedBlobs>,
    usage: Arc<usage::Usage>,
}

impl Blobs {
    /// Opens or creates the store in `directory`.
    pub(crate) fn open(directory: &Path) -> std::io::Result<Self> {
        let blobs = Self {
            directory: directory.join("blobs"),
            verified: Arc::default(),
            usage: Arc::default(),
        };
        std::fs::create_dir_all(blobs.directory.join("tmp"))?;
        Ok(blobs)
    }

    /// Path of a blob, by its hex SHA-256. Its bytes may be damaged: read them through
    /// [`Blobs::reader`].
    pub(crate) fn path(&self, sha256: &str) -> PathBuf {
        self.directory
            .join(sha256.get(..2).unwrap_or("xx"))
            .join(sha256)
    }

    /// Creates a temporary file in the same file system, for [`Blobs::adopt`].
    pub(crate) fn temporary(&self) -> std::io::Result<tempfile::NamedTempFile> {
        tempfile::NamedTempFile::new_in(self.temporary_directory())
    }

    /// Moves a complete temporary file with this hex SHA-256 into place. It replaces an existing
    /// blob with that name, which may be damaged.
    pub(crate) fn adopt(&self, file: tempfile::NamedTempFile, sha256: &str) -> std::io::Result<()> {
        let path = self.path(sha256);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut usage = self.usage.lock();
        // A file can replace anything except a directory.
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            std::fs::remove_dir_all(&path)?;
        }
        file.persist(&path).map_err(|error| error.error)?;
        usage.record_use(sha256);
        Ok(())
    }

    /// Protects a blob from the garbage collector until a record refers to it, or until it is
    /// opened after its record was replaced; false if it does not exist.
    pub(crate) fn touch(&self, sha256: &str) -> bool {
        let mut usage = self.usage.lock();
        let there = self.path(sha256).is_file();
        if there {
            usage.record_use(sha256);
        }
        there
    }

    /// Looks up a record and protects its bytes from the garbage collector until they are opened.
    /// If they are already gone, the record was replaced in between and is looked up once more: a
    /// reader of an object that is being overwritten receives the old or the new bytes, and no
    /// error.
    pub(crate) fn leased<R, E>(
        &self,
        look_up: impl Fn() -> Result<R, E>,
        sha256: impl Fn(&R) -> String,
    ) -> Result<R, E> {
        let found = look_up()?;
        if self.touch(&sha256(&found)) {
            return Ok(found);
        }
        let found = look_up()?;
        // Missing bytes that a record still refers to are damage, which opening them reports.
        self.touch(&sha256(&found));
        Ok(found)
    }

    /// Directory that contains the directories of blobs.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Directory of the files of [`Blobs::temporary`].
    pub(super) fn temporary_directory(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// Begins a garbage collection; read the records only after this.
    pub(super) fn begin_collection(&self) -> usage::Sweep<'_> {
        usage::Sweep {
            moment: self.usage.begin(),
            usage: &self.usage,
        }
    }

    /// Moves the file that [`Blobs::reader`] found damaged to `blobs/damaged`. Does nothing if the
    /// file was replaced in the meantime, or for any other error.
    pub(crate) fn quarantine(&self, error: &std::io::Error) -> std::io::Result<()> {
        let Some((sha256, damaged)) = verified::damaged_file(error) else {
            return Ok(());
        };
        let directory = self.directory.join("damaged");
        std::fs::create_dir_all(&directory)?;
        let path = self.path(sha256);
        // Prevents a replacement in the meantime: `adopt` also acquires this lock.
        let _usage = self.usage.lock();
        match path.symlink_metadata() {
            Ok(found) if verified::Stamp::new(&found) == damaged => {
                std::fs::rename(path, directory.join(sha256))
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// [`Blobs::read`], which quarantines a damaged file.
    pub(crate) fn read_or_quarantine(&self, sha256: &str) -> std::io::Result<Vec<u8>> {
        let read = self.read(sha256);
        if let Err(error) = &read {
            self.quarantine(error)?;
        }
        read
    }

    /// Stores bytes and returns their hex SHA-256.
    pub(crate) fn write(&self, bytes: &[u8]) -> std::io::Result<String> {
        use std::io::Write;

        let sha256 = hex::encode(Sha256::digest(bytes));
        if !self.is_sound(&sha256)? || !self.touch(&sha256) {
            let mut file = self.temporary()?;
            file.write_all(bytes)?;
            self.adopt(file, &sha256)?;
        }
        Ok(sha256)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_counted_by_service() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), []).unwrap();
        let ours = store.collection::<i64>("ours", "number");
        let others = store.collection::<i64>("others", "number");
        let mut last = store.changes_of("ours");
        let mut counted = |what: &str| {
            let now = store.changes_of("ours");
            assert!(now > last, "{what}");
            last = now;
        };
        assert!(ours.insert("a", &1).unwrap());
        counted("insert");
        ours.put("a", &2).unwrap();
        counted("put");
        ours.update("a", |_| Ok(())).unwrap();
        counted("update");
        store
            .transaction(|transaction| ours.put_in(transaction, "a", &3))
            .unwrap();
        counted("put_in");
        store
            .transaction(|transaction| ours.remove_in(transaction, "a"))
            .unwrap();
        counted("remove_in");
        ours.remove("a").unwrap();
        counted("remove");
        let before = store.changes_of("ours");
        others.put("a", &1).unwrap();
        ours.get("a").unwrap();
        assert_eq!(store.changes_of("ours"), before);
    }

    #[test]
    fn a_failed_change_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), []).unwrap();
        let numbers = store.collection::<i64>("test", "number");
        assert!(numbers.insert("a/1", &1).unwrap());
        assert!(!numbers.insert("a/1", &2).unwrap());
        let failed = numbers.update("a/1", |number| {
            *number = 9;
            Err::<(), _>(ApiError::validation("no"))
        });
        assert!(failed.is_err());
        assert_eq!(numbers.get("a/1").unwrap(), Some(1));
        numbers.put("b/1", &5).unwrap();
        assert_eq!(numbers.list("a/").unwrap(), [("a/1".to_owned(), 1)]);
    }

    #[test]
    fn a_newer_schema_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), []).unwrap();
        store
            .lock()
            .pragma_update(None, "user_version", SCHEMA + 1)
            .unwrap();
        drop(store);
        let error = Store::open(directory.path(), []).unwrap_err();
        assert!(error.to_string().contains("newer mlops"), "{error}");
    }
}
