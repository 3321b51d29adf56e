//! Records in SQLite, bytes in content-addressed files.
//!
//! A kill -9 loses nothing that was acknowledged: SQLite commits to a write-ahead log, and a blob
//! is renamed into place before the record that names it is written. (A power failure may lose the
//! last moments: the log is not synced on each commit, as for any development server.)

use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OpenFlags, OptionalExtension, Transaction, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use super::api::{ApiError, ApiResult};

mod opening;
mod usage;
mod verified;

pub(crate) use verified::is_damage;

/// The database, in the state directory.
pub(super) const FILE: &str = "records.sqlite";

/// The schema of this build. A directory with a newer one is refused.
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

/// The records of every service; each reads its own only.
#[derive(Debug)]
pub(crate) struct Store {
    path: PathBuf,
    connection: Mutex<Connection>,
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
        })
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction rolled it back: the connection itself is sound.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs `work` in one transaction; an error rolls it back. Must not be nested.
    pub(crate) fn transaction<R>(
        &self,
        work: impl FnOnce(&Transaction<'_>) -> ApiResult<R>,
    ) -> ApiResult<R> {
        let mut connection = self.lock();
        let transaction =
            connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }

    /// Reads the database as it is at one moment, on a connection of its own: nobody waits for it.
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

    /// A number that grows with every change of the database.
    pub(super) fn changes(&self) -> i64 {
        let connection = self.lock();
        connection
            .query_row("SELECT total_changes()", [], |row| row.get(0))
            .unwrap_or_default()
    }

    /// Writes something, to find out whether that is possible.
    pub(crate) fn probe(&self) -> ApiResult<()> {
        // More than a page, so that the database would have to grow.
        let large = "x".repeat(16 << 10);
        let probes = self.collection::<String>("mlops", "probe");
        probes.put("probe", &large)?;
        probes.remove("probe").map(drop)
    }

    /// Makes every write fail, as a disk that is full or read-only does.
    #[cfg(test)]
    pub(crate) fn refuse_writes(&self, refuse: bool) {
        self.lock()
            .pragma_update(None, "query_only", refuse)
            .expect("a pragma");
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

/// The records of one service and kind, each under a key, kept as JSON.
#[derive(Debug)]
pub(crate) struct Collection<'a, T> {
    store: &'a Store,
    service: &'static str,
    kind: &'static str,
    record: PhantomData<fn() -> T>,
}

impl<T: Serialize + DeserializeOwned> Collection<'_, T> {
    /// The record under `key`.
    pub(crate) fn get(&self, key: &str) -> ApiResult<Option<T>> {
        read(&self.store.lock(), self.service, self.kind, key)
    }

    /// Adds a record; false when the key is taken.
    pub(crate) fn insert(&self, key: &str, record: &T) -> ApiResult<bool> {
        let text = serde_json::to_string(record).map_err(ApiError::internal)?;
        let added = self
            .store
            .lock()
            .prepare_cached("INSERT OR IGNORE INTO records VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.service, self.kind, key, text])?;
        Ok(added == 1)
    }

    /// Adds or replaces a record.
    pub(crate) fn put(&self, key: &str, record: &T) -> ApiResult<()> {
        write(&self.store.lock(), self.service, self.kind, key, record)
    }

    /// Changes a record in one transaction; `None` when there is none. An error changes nothing.
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
        write(transaction, self.service, self.kind, key, record)
    }

    /// [`Collection::remove`] inside a [`Store::transaction`].
    pub(crate) fn remove_in(&self, transaction: &Transaction<'_>, key: &str) -> ApiResult<bool> {
        remove(transaction, self.service, self.kind, key)
    }

    /// Removes a record; false when there was none.
    pub(crate) fn remove(&self, key: &str) -> ApiResult<bool> {
        remove(&self.store.lock(), self.service, self.kind, key)
    }

    /// Every record whose key starts with `prefix`, in key order.
    pub(crate) fn list(&self, prefix: &str) -> ApiResult<Vec<(String, T)>> {
        let connection = self.store.lock();
        let mut statement = connection.prepare_cached(
            "SELECT key, value FROM records
             WHERE service = ?1 AND kind = ?2 AND substr(key, 1, length(?3)) = ?3 ORDER BY key",
        )?;
        let mut rows = statement.query(params![self.service, self.kind, prefix])?;
        let mut found = Vec::new();
        while let Some(row) = rows.next()? {
            let text: String = row.get(1)?;
            found.push((row.get(0)?, decode(&text)?));
        }
        Ok(found)
    }
}

/// Passes every record to `work`: its key and its JSON.
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
    verdicts: Arc<verified::Verdicts>,
    usage: Arc<usage::Usage>,
}

impl Blobs {
    /// Opens or makes the store in `directory`.
    pub(crate) fn open(directory: &Path) -> std::io::Result<Self> {
        let blobs = Self {
            directory: directory.join("blobs"),
            verdicts: Arc::default(),
            usage: Arc::default(),
        };
        std::fs::create_dir_all(blobs.directory.join("tmp"))?;
        Ok(blobs)
    }

    /// The file of a blob, by its hex SHA-256. Its bytes may be damaged: read them through
    /// [`Blobs::reader`].
    pub(crate) fn path(&self, sha256: &str) -> PathBuf {
        self.directory
            .join(sha256.get(..2).unwrap_or("xx"))
            .join(sha256)
    }

    /// A temporary file in the same file system, for [`Blobs::adopt`].
    pub(crate) fn temporary(&self) -> std::io::Result<tempfile::NamedTempFile> {
        tempfile::NamedTempFile::new_in(self.temporary_directory())
    }

    /// Keeps a finished temporary file whose bytes have this hex SHA-256. It replaces the blob of
    /// that name, if there is one: that may be damaged, this one is sound.
    pub(crate) fn adopt(&self, file: tempfile::NamedTempFile, sha256: &str) -> std::io::Result<()> {
        let path = self.path(sha256);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let mut usage = self.usage.lock();
        // A file can take the place of everything but a directory.
        if path.symlink_metadata().is_ok_and(|found| found.is_dir()) {
            std::fs::remove_dir_all(&path)?;
        }
        file.persist(&path).map_err(|error| error.error)?;
        usage.note(sha256);
        Ok(())
    }

    /// Keeps a blob from the garbage collector until a record names it, or until it is opened although
    /// its record is gone by then; false when it is not there.
    pub(crate) fn touch(&self, sha256: &str) -> bool {
        let mut usage = self.usage.lock();
        let there = self.path(sha256).is_file();
        if there {
            usage.note(sha256);
        }
        there
    }

    /// Looks something up and keeps its bytes from the garbage collector until they are opened. When
    /// they are gone already, the record was replaced in between, and is looked up once more: a reader
    /// of an object that is overwritten meanwhile receives the old bytes or the new ones, and no error.
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
        // Bytes that a record names and that are missing are damage: opening them reports it.
        self.touch(&sha256(&found));
        Ok(found)
    }

    /// The directory of the blobs' directories.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where [`Blobs::temporary`] puts its files.
    pub(super) fn temporary_directory(&self) -> PathBuf {
        self.directory.join("tmp")
    }

    /// Begins a collection; the records must be read after this.
    pub(super) fn begin_collection(&self) -> usage::Sweep<'_> {
        usage::Sweep {
            moment: self.usage.begin(),
            usage: &self.usage,
        }
    }

    /// Takes the file that [`Blobs::reader`] found damaged out of the way: it lies in
    /// `blobs/damaged` then. A file that was put in its place since is left alone, and so is
    /// everything when the error is another one.
    pub(crate) fn set_aside(&self, error: &std::io::Error) -> std::io::Result<()> {
        let Some((sha256, damaged)) = verified::damaged_file(error) else {
            return Ok(());
        };
        let directory = self.directory.join("damaged");
        std::fs::create_dir_all(&directory)?;
        let path = self.path(sha256);
        // Nobody replaces the file meanwhile: `adopt` takes this lock too.
        let _usage = self.usage.lock();
        match path.symlink_metadata() {
            Ok(found) if verified::Stamp::new(&found) == damaged => {
                std::fs::rename(path, directory.join(sha256))
            }
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// [`Blobs::read`], which sets a damaged file aside.
    pub(crate) fn read_or_set_aside(&self, sha256: &str) -> std::io::Result<Vec<u8>> {
        let read = self.read(sha256);
        if let Err(error) = &read {
            self.set_aside(error)?;
        }
        read
    }

    /// Keeps bytes and returns their hex SHA-256.
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
