//! Opens the database: a lost, emptied or damaged one is an error, never an empty cloud.
//!
//! The file `records.id` contains the id of the database and proves that it was created. It is
//! written once the tables are on disk. SQLite opens nothing before the file itself was checked, so
//! a file that could still be repaired stays unchanged.

use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use mlops_core::error::{Hint, hinted};
use rusqlite::{Connection, OptionalExtension};

use super::{FILE, SCHEMA};

/// File with the id of the database.
const MARKER: &str = "records.id";

/// The first bytes of every SQLite database.
const MAGIC: &[u8] = b"SQLite format 3\0";

/// `PRAGMA application_id` of our databases: "mlop".
const APPLICATION: i32 = 0x6d6c_6f70;

/// Opens the database in `directory`, or creates it if there has never been one.
pub(super) fn open(directory: &Path, tables: &[&str]) -> Result<Connection> {
    let path = directory.join(FILE);
    let marker = read_marker(directory)?;
    if marker.is_some() {
        check_file(&path)?;
    }
    let connection =
        Connection::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let found = prepare(&connection).map_err(|error| damaged(&path, &error.to_string()))?;
    if found > SCHEMA {
        return Err(anyhow!(
            "{} was written by a newer mlops (schema {found}, this build reads {SCHEMA})",
            directory.display()
        ))
        .hint("update mlops, or start over with `mlops local reset`");
    }
    let report = check(&connection).unwrap_or_else(|error| error.to_string());
    if report != "ok" {
        return Err(damaged(&path, &report));
    }
    if let Some(marker) = &marker
        && identity(&connection).unwrap_or_default().as_ref() != Some(marker)
    {
        return Err(damaged(&path, "it belongs to another state directory"));
    }
    for table in tables {
        connection.execute_batch(table)?;
    }
    if marker.is_none() {
        write_marker(directory, &create_identity(&connection)?)?;
    }
    connection.pragma_update(None, "user_version", SCHEMA)?;
    Ok(connection)
}

fn damaged(path: &Path, why: &str) -> anyhow::Error {
    let error = anyhow!("{} cannot be used: {why}", path.display());
    hinted(
        error,
        "restore a backup of it, or start over with `mlops local reset`, which removes all data of the \
         local cloud",
    )
}

/// Fails if the file is missing or does not start like a database.
fn check_file(path: &Path) -> Result<()> {
    let mut start = [0; MAGIC.len()];
    let read = std::fs::File::open(path).and_then(|mut file| file.read_exact(&mut start));
    match read {
        Ok(()) if start == MAGIC => Ok(()),
        Ok(()) => Err(damaged(path, "it is not an SQLite database")),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(damaged(path, "it is missing")),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
            Err(damaged(path, "it is empty or truncated"))
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Configures the connection and returns the schema version of the database, 0 for a new one.
fn prepare(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// Checks the pages of the database; returns the first problem or "ok".
fn check(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
}

/// The id of the database, if it is one of ours.
fn identity(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    if application != APPLICATION {
        return Ok(None);
    }
    connection
        .query_row("SELECT id FROM identity", [], |row| row.get(0))
        .optional()
}

/// Assigns an id to the database, unless it has one, and writes it to disk.
fn create_identity(connection: &Connection) -> rusqlite::Result<String> {
    connection.execute_batch("CREATE TABLE IF NOT EXISTS identity (id TEXT NOT NULL)")?;
    connection.execute(
        "INSERT INTO identity SELECT ?1 WHERE NOT EXISTS (SELECT 1 FROM identity)",
        [uuid::Uuid::new_v4().to_string()],
    )?;
    connection.pragma_update(None, "application_id", APPLICATION)?;
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
    connection.query_row("SELECT id FROM identity", [], |row| row.get(0))
}

fn marker(directory: &Path) -> PathBuf {
    directory.join(MARKER)
}

fn read_marker(directory: &Path) -> Result<Option<String>> {
    let path = marker(directory);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(text.trim().to_owned())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

fn write_marker(directory: &Path, id: &str) -> Result<()> {
    let path = marker(directory);
    let written = tempfile::NamedTempFile::new_in(directory).and_then(|mut file| {
        writeln!(file, "{id}")?;
        file.as_file().sync_all()?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    });
    written.with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::super::Store;
    use super::*;

    fn filled() -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path(), []).unwrap();
        let numbers = store.collection::<String>("test", "text");
        for number in 0..500 {
            numbers
                .insert(&format!("{number:03}"), &"x".repeat(200))
                .unwrap();
        }
        directory
    }

    fn refused(directory: &Path) -> String {
        let error = Store::open(directory, []).unwrap_err();
        let hints = mlops_core::error::hints(&error).join("\n");
        assert!(hints.contains("mlops local reset"), "{hints}");
        error.to_string()
    }

    #[test]
    fn a_complete_database_can_be_reopened() {
        let directory = filled();
        for _ in 0..2 {
            let store = Store::open(directory.path(), []).unwrap();
            let found = store.collection::<String>("test", "text").list("").unwrap();
            assert_eq!(found.len(), 500);
        }
    }

    // Issue 8, 2.5: an empty or truncated records.sqlite was treated as an empty cloud.
    #[test]
    fn a_lost_or_damaged_database_is_not_an_empty_cloud() {
        type Damage = fn(&Path);
        let cases: [(&str, Damage); 6] = [
            ("it is missing", |path| std::fs::remove_file(path).unwrap()),
            ("it is empty", |path| std::fs::write(path, "").unwrap()),
            ("it is empty or truncated", |path| {
                std::fs::write(path, "SQLite").unwrap();
            }),
            ("not an SQLite database", |path| {
                std::fs::write(path, vec![0; 8192]).unwrap();
            }),
            ("cannot be used", |path| {
                let length = path.metadata().unwrap().len();
                let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
                file.set_len(length / 2 / 4096 * 4096).unwrap();
            }),
            ("another state directory", |path| {
                let other = tempfile::tempdir().unwrap();
                drop(Store::open(other.path(), []).unwrap());
                std::fs::copy(other.path().join(FILE), path).unwrap();
            }),
        ];
        for (why, damage) in cases {
            let directory = filled();
            let path = directory.path().join(FILE);
            damage(&path);
            let before = std::fs::read(&path).ok();
            let message = refused(directory.path());
            assert!(message.contains(why), "{why}: {message}");
            assert_eq!(std::fs::read(&path).ok(), before, "{why}: it is left alone");
        }
    }

    #[test]
    fn an_unfinished_database_is_recreated() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join(FILE), "").unwrap();
        drop(Store::open(directory.path(), []).unwrap());
        std::fs::remove_file(marker(directory.path())).unwrap();
        drop(Store::open(directory.path(), []).unwrap());
        assert!(marker(directory.path()).is_file());
    }
}
