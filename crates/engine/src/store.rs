//! What the engine must not forget: one SQLite database, shared with the networks' tables.
//!
//! A container is one row: its id, its name (unique), and its record as JSON. Records are written before and
//! after every step that changes the world, so that `reconcile` can tell what was cut.
//!
//! The journal is a WAL with `synchronous = NORMAL`: a crash of the daemon loses nothing, a loss of power may lose
//! the last commits but never consistency. That is as much as the rest keeps: the files of a fresh container are
//! not flushed either, and volumes whose rows are lost are adopted again from their directories.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::model::{Container, Volume};
use crate::{Error, Result};

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS container (
        id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, record TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS volume (
        name TEXT PRIMARY KEY, record TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS engine (
        key TEXT PRIMARY KEY, value TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
";

/// The database.
pub(crate) struct Store {
    connection: Arc<Mutex<Connection>>,
}

impl Store {
    /// Opens or makes the database at `path`.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let connection = Connection::open(path)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        connection.execute_batch(SCHEMA)?;
        Ok(Self { connection: Arc::new(Mutex::new(connection)) })
    }

    /// The connection, for the networks' tables.
    pub(crate) fn connection(&self) -> Arc<Mutex<Connection>> {
        Arc::clone(&self.connection)
    }

    /// Moves the journal into the database, so that the next opening is quick. Failing is no loss.
    pub(crate) fn checkpoint(&self) {
        let _ = self.lock().pragma_update(None, "wal_checkpoint", "TRUNCATE");
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of `key`; made by `make` if there is none.
    pub(crate) fn fact(&self, key: &str, make: impl FnOnce() -> String) -> Result<String> {
        let connection = self.lock();
        let found = connection
            .query_row("SELECT value FROM engine WHERE key = ?1", [key], |row| row.get(0))
            .optional()?;
        if let Some(value) = found {
            return Ok(value);
        }
        let value = make();
        connection.execute("INSERT INTO engine VALUES (?1, ?2)", params![key, value])?;
        Ok(value)
    }

    /// Writes a container's record.
    pub(crate) fn put_container(&self, container: &Container) -> Result<()> {
        put_container(&self.lock(), container)
    }

    /// Writes the record of a new container and of the volumes made for it: all of them or none.
    pub(crate) fn put_with_volumes(&self, container: &Container, volumes: &[Volume]) -> Result<()> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        put_container(&transaction, container)?;
        volumes.iter().try_for_each(|volume| put_volume(&transaction, volume))?;
        Ok(transaction.commit()?)
    }

    /// Forgets a container.
    pub(crate) fn delete_container(&self, id: &str) -> Result<()> {
        self.lock().prepare_cached("DELETE FROM container WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// Every container.
    pub(crate) fn containers(&self) -> Result<Vec<Container>> {
        self.records("SELECT record FROM container")
    }

    /// Writes a volume's record.
    pub(crate) fn put_volume(&self, volume: &Volume) -> Result<()> {
        put_volume(&self.lock(), volume)
    }

    /// Forgets a volume.
    pub(crate) fn delete_volume(&self, name: &str) -> Result<()> {
        self.lock().prepare_cached("DELETE FROM volume WHERE name = ?1")?.execute([name])?;
        Ok(())
    }

    /// Every volume.
    pub(crate) fn volumes(&self) -> Result<Vec<Volume>> {
        self.records("SELECT record FROM volume")
    }

    fn records<T: DeserializeOwned>(&self, query: &str) -> Result<Vec<T>> {
        let connection = self.lock();
        let mut statement = connection.prepare(query)?;
        let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
        rows.map(|row| decode(&row?)).collect()
    }
}

fn put_container(connection: &Connection, container: &Container) -> Result<()> {
    let record = encode(container)?;
    connection
        .prepare_cached(
            "INSERT INTO container VALUES (?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET name = excluded.name, record = excluded.record",
        )?
        .execute(params![container.id, container.name, record])?;
    Ok(())
}

fn put_volume(connection: &Connection, volume: &Volume) -> Result<()> {
    let record = encode(volume)?;
    connection
        .prepare_cached("INSERT OR REPLACE INTO volume VALUES (?1, ?2)")?
        .execute(params![volume.name, record])?;
    Ok(())
}

fn encode<T: Serialize>(record: &T) -> Result<String> {
    serde_json::to_string(record).map_err(|error| Error::system(format!("container database: {error}")))
}

fn decode<T: DeserializeOwned>(record: &str) -> Result<T> {
    serde_json::from_str(record).map_err(|error| Error::system(format!("container database: {error}")))
}
