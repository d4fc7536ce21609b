//! The rows of networks and endpoints in the engine's database.
//!
//! A network's row is written before its bridge is made and removed after it is gone; an endpoint's row likewise
//! around its link and its ports. Nothing here touches the kernel.

mod endpoints;
mod taken;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::networks::lock;
use crate::{Driver, Error, Network, Result};

pub(crate) use endpoints::{Recorded, is_link_name};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS networks (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    created INTEGER NOT NULL,
    driver TEXT NOT NULL,
    ipam TEXT,
    last_address INTEGER,
    internal INTEGER NOT NULL,
    attachable INTEGER NOT NULL,
    options TEXT NOT NULL,
    labels TEXT NOT NULL,
    made_bridge INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS network_facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";
const ENDPOINTS: &str = "
CREATE TABLE IF NOT EXISTS network_endpoints (
    id TEXT PRIMARY KEY,
    network TEXT NOT NULL REFERENCES networks (id),
    container TEXT NOT NULL,
    name TEXT NOT NULL,
    interface TEXT NOT NULL,
    address INTEGER,
    mac TEXT NOT NULL,
    default_route INTEGER NOT NULL,
    hostname TEXT NOT NULL,
    aliases TEXT NOT NULL,
    ports TEXT NOT NULL,
    UNIQUE (network, address),
    UNIQUE (container, network)
) STRICT;
";
/// What an endpoint needed before there were networks without IPv4: the table is made anew, with the rows that it has.
const NEEDED_ADDRESS: &str =
    "SELECT 1 FROM pragma_table_info('network_endpoints') WHERE name = 'address' AND \"notnull\"";
const ENDPOINTS_BEFORE: &str = "ALTER TABLE network_endpoints RENAME TO network_endpoints_before";
const ENDPOINTS_OVER: &str = "
INSERT INTO network_endpoints (id, network, container, name, interface, address, mac, default_route, hostname, aliases,
    ports, address6)
    SELECT id, network, container, name, interface, address, mac, default_route, hostname, aliases, ports, address6
    FROM network_endpoints_before ORDER BY rowid;
DROP TABLE network_endpoints_before;
";

/// Columns that came later: table, name, type.
const LATER: [(&str, &str, &str); 10] = [
    ("networks", "search_from", "INTEGER"),
    ("networks", "ipam6", "TEXT"),
    ("networks", "last_address6", "TEXT"),
    ("networks", "ipam_options", "TEXT"),
    ("networks", "configuration", "TEXT"),
    ("networks", "config_from", "TEXT"),
    ("networks", "idle", "TEXT"),
    ("network_endpoints", "address6", "TEXT"),
    // The addresses with their prefixes and gateways; where it is not set, they follow from the network's row.
    ("network_endpoints", "given", "TEXT"),
    // The containers that it is to reach; not set without any.
    ("network_endpoints", "links", "TEXT"),
];

const STATEMENTS: usize = 256;

const NETWORK_COLUMNS: &str = "id, name, created, driver, ipam, internal, attachable, options, labels, ipam6, \
     ipam_options, configuration, config_from, idle";
/// The tables of networks.
#[derive(Clone)]
pub(crate) struct Records {
    db: Arc<Mutex<Connection>>,
}

impl Records {
    /// Makes the tables where they are absent.
    pub(crate) fn open(db: Arc<Mutex<Connection>>) -> Result<Self> {
        let connection = lock(&db);
        connection.execute_batch(&format!("{SCHEMA}{ENDPOINTS}"))?;
        add_columns(&connection)?;
        if connection.prepare(NEEDED_ADDRESS)?.exists([])? {
            connection.execute_batch(&format!("BEGIN; {ENDPOINTS_BEFORE}; {ENDPOINTS}"))?;
            add_columns(&connection)?;
            connection.execute_batch(&format!("{ENDPOINTS_OVER} COMMIT;"))?;
        }
        taken::open(&connection)?;
        // The cache is shared with the engine's statements; its default of 16 would have them push each other out.
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        drop(connection);
        Ok(Self { db })
    }

    /// Runs `change` as one transaction; an error undoes it.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&Rows<'_>) -> Result<T>) -> Result<T> {
        let mut db = lock(&self.db);
        let transaction = db.transaction()?;
        let result = change(&Rows { db: &transaction })?;
        transaction.commit()?;
        Ok(result)
    }

    /// Runs `read` on what is committed.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&Rows<'_>) -> Result<T>) -> Result<T> {
        let db = lock(&self.db);
        read(&Rows { db: &db })
    }
}

fn add_columns(connection: &Connection) -> Result<()> {
    for (table, column, kind) in LATER {
        if !connection.column_exists(None, table, column)? {
            connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
        }
    }
    Ok(())
}

/// The tables, locked.
pub(crate) struct Rows<'a> {
    db: &'a Connection,
}

impl Rows<'_> {
    /// All networks without their endpoints, oldest first.
    pub(crate) fn networks(&self) -> Result<Vec<Network>> {
        let query = format!("SELECT {NETWORK_COLUMNS} FROM networks ORDER BY created, name");
        let mut statement = self.db.prepare_cached(&query)?;
        let rows = statement.query_map([], network)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The network with this id, name, or beginning of an id.
    pub(crate) fn network(&self, key: &str) -> Result<Network> {
        for condition in ["id = ?1", "name = ?1"] {
            let query = format!("SELECT {NETWORK_COLUMNS} FROM networks WHERE {condition}");
            let found = self.db.prepare_cached(&query)?.query_row([key], network).optional()?;
            if let Some(network) = found {
                return Ok(network);
            }
        }
        let query = format!("SELECT {NETWORK_COLUMNS} FROM networks WHERE substr(id, 1, length(?1)) = ?1");
        let mut statement = self.db.prepare_cached(&query)?;
        let mut found: Vec<Network> =
            statement.query_map([key], network)?.collect::<rusqlite::Result<_>>()?;
        match (found.len(), found.pop()) {
            (1, Some(network)) if !key.is_empty() => Ok(network),
            (0 | 1, _) => Err(Error::no_network(key)),
            (several, _) => Err(Error::Invalid(format!(
                "network {key} is ambiguous ({several} matches found based on ID prefix)"
            ))),
        }
    }

    /// Whether a network was made from this configuration.
    pub(crate) fn has_made_from(&self, configuration: &str) -> Result<bool> {
        let query = "SELECT 1 FROM networks WHERE config_from = ?1";
        Ok(self.db.prepare_cached(query)?.exists([configuration])?)
    }

    /// Records a network.
    pub(crate) fn add_network(&self, network: &Network) -> Result<()> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO networks (id, name, created, driver, ipam, internal, attachable, options, labels, ipam6,
             ipam_options, configuration, config_from, idle) VALUES (:id, :name, :created, :driver, :ipam, :internal, :attachable,
             :options, :labels, :ipam6, :ipam_options, :configuration, :config_from, :idle)",
        )?;
        statement.execute(named_params! {
            ":id": network.id,
            ":name": network.name,
            ":created": nanoseconds(network.created),
            ":driver": json(&network.driver)?,
            ":ipam": one_or_more(&network.ipam)?,
            ":internal": network.internal,
            ":attachable": network.attachable,
            ":options": json(&network.options)?,
            ":labels": json(&network.labels)?,
            ":ipam6": one_or_more(&network.ipam6)?,
            ":ipam_options": network.ipam_options.as_ref().map(json).transpose()?,
            ":configuration": network.configuration.as_ref().map(json).transpose()?,
            ":config_from": network.config_from,
            ":idle": one_or_more(&network.idle)?,
        })?;
        self.take(network)
    }

    /// Replaces what the configuration may change of the default bridge network.
    pub(crate) fn update_network(&self, network: &Network) -> Result<()> {
        let mut statement = self
            .db
            .prepare_cached("UPDATE networks SET ipam = ?2, options = ?3, ipam6 = ?4 WHERE id = ?1")?;
        let (ipam, ipam6) = (one_or_more(&network.ipam)?, one_or_more(&network.ipam6)?);
        statement.execute(params![network.id, ipam, json(&network.options)?, ipam6])?;
        self.take(network)
    }

    /// Notes that its link (a bridge) was made for this network, and is to be removed with it.
    pub(crate) fn set_made_link(&self, id: &str) -> Result<()> {
        self.db.prepare_cached("UPDATE networks SET made_bridge = 1 WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// Whether its link was made for this network.
    pub(crate) fn made_link(&self, id: &str) -> Result<bool> {
        let mut statement = self.db.prepare_cached("SELECT made_bridge FROM networks WHERE id = ?1")?;
        Ok(statement.query_row([id], |row| row.get(0))?)
    }

    /// Forgets a network.
    pub(crate) fn remove_network(&self, id: &str) -> Result<()> {
        self.db.prepare_cached("DELETE FROM networks WHERE id = ?1")?.execute([id])?;
        self.give_back(id)
    }

    /// A fact about the host.
    pub(crate) fn fact<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let mut statement = self.db.prepare_cached("SELECT value FROM network_facts WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| parsed(row, 0)).optional()?)
    }

    /// The facts whose keys begin so, with their keys.
    pub(crate) fn facts<T: DeserializeOwned>(&self, prefix: &str) -> Result<Vec<(String, T)>> {
        let query = "SELECT key, value FROM network_facts WHERE substr(key, 1, length(?1)) = ?1";
        let mut statement = self.db.prepare_cached(query)?;
        let rows = statement.query_map([prefix], |row| Ok((row.get(0)?, parsed(row, 1)?)))?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Forgets a fact.
    pub(crate) fn remove_fact(&self, key: &str) -> Result<()> {
        self.db.prepare_cached("DELETE FROM network_facts WHERE key = ?1")?.execute([key])?;
        Ok(())
    }

    /// Records a fact about the host.
    pub(crate) fn set_fact(&self, key: &str, value: &impl Serialize) -> Result<()> {
        let mut statement = self.db.prepare_cached("INSERT OR REPLACE INTO network_facts VALUES (?1, ?2)")?;
        statement.execute([key, &json(value)?])?;
        Ok(())
    }
}

fn network(row: &Row<'_>) -> rusqlite::Result<Network> {
    Ok(Network {
        id: row.get(0)?,
        name: row.get(1)?,
        created: time(row.get(2)?),
        driver: parsed::<Driver>(row, 3)?,
        ipam: some_of(row, 4)?,
        ipam6: some_of(row, 9)?,
        idle: some_of(row, 13)?,
        ipam_options: optional(row, 10)?,
        configuration: optional(row, 11)?,
        config_from: row.get(12)?,
        internal: row.get(5)?,
        attachable: row.get(6)?,
        options: parsed::<BTreeMap<String, String>>(row, 7)?,
        labels: parsed::<BTreeMap<String, String>>(row, 8)?,
        endpoints: Vec::new(),
    })
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()).into())
}

fn parsed<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<T> {
    serde_json::from_str(row.get_ref(column)?.as_str()?).map_err(|error| mistake(column, error))
}

fn optional<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>> {
    let Some(text) = row.get_ref(column)?.as_str_or_null()? else { return Ok(None) };
    serde_json::from_str(text).map(Some).map_err(|error| mistake(column, error))
}

/// Subnets: none, one as earlier versions write it, or a list.
fn one_or_more<T: Serialize>(subnets: &[T]) -> Result<Option<String>> {
    match subnets {
        [] => Ok(None),
        [one] => json(one).map(Some),
        several => json(&several).map(Some),
    }
}

fn some_of<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> rusqlite::Result<Vec<T>> {
    match row.get_ref(column)?.as_str_or_null()? {
        Some(text) if text.starts_with('[') => parsed(row, column),
        _ => Ok(optional(row, column)?.into_iter().collect()),
    }
}

fn mistake(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn nanoseconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn time(nanoseconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(0))
}
