//! The rows of networks and endpoints in the engine's database.
//!
//! A network's row is written before its bridge is made and removed after it is gone; an endpoint's row likewise
//! around its link and its ports. Nothing here touches the kernel.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ipnet::{Ipv4Net, Ipv6Net};
use rusqlite::{Connection, OptionalExtension, Row, named_params, params};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::network::{Ipam, Ipam6};
use crate::networks::lock;
use crate::{Driver, Endpoint, Error, MacAddr, Network, Result};

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
CREATE TABLE IF NOT EXISTS network_endpoints (
    id TEXT PRIMARY KEY,
    network TEXT NOT NULL REFERENCES networks (id),
    container TEXT NOT NULL,
    name TEXT NOT NULL,
    interface TEXT NOT NULL,
    address INTEGER NOT NULL,
    mac TEXT NOT NULL,
    default_route INTEGER NOT NULL,
    hostname TEXT NOT NULL,
    aliases TEXT NOT NULL,
    ports TEXT NOT NULL,
    UNIQUE (network, address),
    UNIQUE (container, network)
) STRICT;
CREATE TABLE IF NOT EXISTS network_facts (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
";

/// Columns that came later: table, name, type.
const LATER: [(&str, &str, &str); 3] = [
    ("networks", "ipam6", "TEXT"),
    ("networks", "last_address6", "TEXT"),
    ("network_endpoints", "address6", "TEXT"),
];

const STATEMENTS: usize = 256;

const NETWORK_COLUMNS: &str = "id, name, created, driver, ipam, internal, attachable, options, labels, ipam6";
const ENDPOINT_COLUMNS: &str = "e.id, e.network, e.container, e.name, e.interface, e.address, e.mac, \
     e.default_route, e.hostname, e.aliases, e.ports, n.name, n.ipam, n.internal, \
     e.address6, n.ipam6";
const ENDPOINTS: &str = "network_endpoints e JOIN networks n ON n.id = e.network";

/// An endpoint and what only this crate needs of it.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) endpoint: Endpoint,
    /// Whether the container's default route leads here.
    pub(crate) default_route: bool,
}

impl Recorded {
    /// The name of the host's end of the link; it follows from the id, so that a crash cannot lose it.
    pub(crate) fn link(&self) -> String {
        link_name(&self.endpoint.id)
    }
}

/// `veth` and the first eight digits of the endpoint's id.
pub(crate) fn link_name(endpoint: &str) -> String {
    format!("veth{}", endpoint.get(..8).unwrap_or(endpoint))
}

/// Whether a link has a name as `link_name` makes them.
pub(crate) fn is_link_name(name: &str) -> bool {
    name.strip_prefix("veth").is_some_and(|rest| {
        rest.len() == 8 && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    })
}

/// The tables of networks.
pub(crate) struct Records {
    db: Arc<Mutex<Connection>>,
}

impl Records {
    /// Makes the tables where they are absent.
    pub(crate) fn open(db: Arc<Mutex<Connection>>) -> Result<Self> {
        let connection = lock(&db);
        connection.execute_batch(SCHEMA)?;
        for (table, column, kind) in LATER {
            if !connection.column_exists(None, table, column)? {
                connection.execute_batch(&format!("ALTER TABLE {table} ADD COLUMN {column} {kind}"))?;
            }
        }
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

    /// Records a network.
    pub(crate) fn add_network(&self, network: &Network) -> Result<()> {
        let mut statement = self.db.prepare_cached(
            "INSERT INTO networks (id, name, created, driver, ipam, internal, attachable, options, labels, ipam6)
             VALUES (:id, :name, :created, :driver, :ipam, :internal, :attachable, :options, :labels, :ipam6)",
        )?;
        statement.execute(named_params! {
            ":id": network.id,
            ":name": network.name,
            ":created": nanoseconds(network.created),
            ":driver": json(&network.driver)?,
            ":ipam": network.ipam.first().map(json).transpose()?,
            ":internal": network.internal,
            ":attachable": network.attachable,
            ":options": json(&network.options)?,
            ":labels": json(&network.labels)?,
            ":ipam6": network.ipam6.as_ref().map(json).transpose()?,
        })?;
        Ok(())
    }

    /// Replaces what the configuration may change of the default bridge network.
    pub(crate) fn update_network(&self, network: &Network) -> Result<()> {
        let mut statement =
            self.db.prepare_cached("UPDATE networks SET ipam = ?2, options = ?3 WHERE id = ?1")?;
        let ipam = network.ipam.first().map(json).transpose()?;
        statement.execute(params![network.id, ipam, json(&network.options)?])?;
        Ok(())
    }

    /// Notes that the bridge was made for this network, and is to be removed with it.
    pub(crate) fn set_made_bridge(&self, id: &str) -> Result<()> {
        self.db.prepare_cached("UPDATE networks SET made_bridge = 1 WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// Whether the bridge was made for this network.
    pub(crate) fn made_bridge(&self, id: &str) -> Result<bool> {
        let mut statement = self.db.prepare_cached("SELECT made_bridge FROM networks WHERE id = ?1")?;
        Ok(statement.query_row([id], |row| row.get(0))?)
    }

    /// Forgets a network.
    pub(crate) fn remove_network(&self, id: &str) -> Result<()> {
        self.db.prepare_cached("DELETE FROM networks WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// The address given last in a network.
    pub(crate) fn last_address(&self, network: &str) -> Result<Option<Ipv4Addr>> {
        let mut statement = self.db.prepare_cached("SELECT last_address FROM networks WHERE id = ?1")?;
        let last: Option<u32> = statement.query_row([network], |row| row.get(0))?;
        Ok(last.map(Ipv4Addr::from))
    }

    /// Remembers the address given last.
    pub(crate) fn set_last_address(&self, network: &str, address: Ipv4Addr) -> Result<()> {
        let mut statement = self.db.prepare_cached("UPDATE networks SET last_address = ?2 WHERE id = ?1")?;
        statement.execute(params![network, u32::from(address)])?;
        Ok(())
    }

    /// The IPv6 address given last in a network.
    pub(crate) fn last_address6(&self, network: &str) -> Result<Option<Ipv6Addr>> {
        let mut statement = self.db.prepare_cached("SELECT last_address6 FROM networks WHERE id = ?1")?;
        let last: Option<String> = statement.query_row([network], |row| row.get(0))?;
        Ok(last.and_then(|last| last.parse().ok()))
    }

    /// Remembers the IPv6 address given last.
    pub(crate) fn set_last_address6(&self, network: &str, address: Ipv6Addr) -> Result<()> {
        let mut statement = self.db.prepare_cached("UPDATE networks SET last_address6 = ?2 WHERE id = ?1")?;
        statement.execute(params![network, address.to_string()])?;
        Ok(())
    }

    /// Whether an endpoint has this IPv6 address.
    pub(crate) fn has_address6(&self, network: &str, address: Ipv6Addr) -> Result<bool> {
        let query = "SELECT 1 FROM network_endpoints WHERE network = ?1 AND address6 = ?2";
        Ok(self.db.prepare_cached(query)?.exists(params![network, address.to_string()])?)
    }

    /// Whether an endpoint has this address.
    pub(crate) fn has_address(&self, network: &str, address: Ipv4Addr) -> Result<bool> {
        let mut statement =
            self.db.prepare_cached("SELECT 1 FROM network_endpoints WHERE network = ?1 AND address = ?2")?;
        Ok(statement.exists(params![network, u32::from(address)])?)
    }

    /// All endpoints, in the order of their making.
    pub(crate) fn endpoints(&self) -> Result<Vec<Recorded>> {
        self.select("1 = 1", "")
    }

    /// The endpoints of a network.
    pub(crate) fn endpoints_of_network(&self, network: &str) -> Result<Vec<Recorded>> {
        self.select("e.network = ?1", network)
    }

    /// The endpoints of a container.
    pub(crate) fn endpoints_of_container(&self, container: &str) -> Result<Vec<Recorded>> {
        self.select("e.container = ?1", container)
    }

    fn select(&self, condition: &str, value: &str) -> Result<Vec<Recorded>> {
        let query = format!("SELECT {ENDPOINT_COLUMNS} FROM {ENDPOINTS} WHERE {condition} ORDER BY e.rowid");
        let mut statement = self.db.prepare_cached(&query)?;
        let values: &[&dyn rusqlite::ToSql] = if condition.contains('?') { &[&value] } else { &[] };
        let rows = statement.query_map(values, recorded)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Records an endpoint.
    pub(crate) fn add_endpoint(&self, recorded: &Recorded) -> Result<()> {
        let endpoint = &recorded.endpoint;
        let mut statement = self.db.prepare_cached(
            "INSERT INTO network_endpoints (id, network, container, name, interface, address, mac, default_route,
             hostname, aliases, ports, address6) VALUES (:id, :network, :container, :name, :interface, :address, :mac,
             :default_route, :hostname, :aliases, :ports, :address6)",
        )?;
        statement.execute(named_params! {
            ":id": endpoint.id,
            ":network": endpoint.network_id,
            ":container": endpoint.container,
            ":name": endpoint.name,
            ":interface": endpoint.interface,
            ":address": u32::from(endpoint.address.addr()),
            ":mac": endpoint.mac.to_string(),
            ":default_route": recorded.default_route,
            ":hostname": endpoint.hostname,
            ":aliases": json(&endpoint.aliases)?,
            ":ports": json(&endpoint.ports)?,
            ":address6": endpoint.address6.map(|address| address.addr().to_string()),
        })?;
        Ok(())
    }

    /// Forgets an endpoint: its address is free.
    pub(crate) fn remove_endpoint(&self, id: &str) -> Result<()> {
        self.db.prepare_cached("DELETE FROM network_endpoints WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// Remembers that the default route leads to this endpoint.
    pub(crate) fn set_default_route(&self, id: &str) -> Result<()> {
        let update = "UPDATE network_endpoints SET default_route = 1 WHERE id = ?1";
        self.db.prepare_cached(update)?.execute([id])?;
        Ok(())
    }

    /// Records a container's new name.
    pub(crate) fn rename(&self, container: &str, name: &str) -> Result<()> {
        let update = "UPDATE network_endpoints SET name = ?2 WHERE container = ?1";
        self.db.prepare_cached(update)?.execute([container, name])?;
        Ok(())
    }

    /// A fact about the host.
    pub(crate) fn fact<T: DeserializeOwned>(&self, key: &str) -> Result<Option<T>> {
        let mut statement = self.db.prepare_cached("SELECT value FROM network_facts WHERE key = ?1")?;
        Ok(statement.query_row([key], |row| parsed(row, 0)).optional()?)
    }

    /// Records a fact about the host.
    pub(crate) fn set_fact(&self, key: &str, value: &impl Serialize) -> Result<()> {
        let mut statement = self.db.prepare_cached("INSERT OR REPLACE INTO network_facts VALUES (?1, ?2)")?;
        statement.execute([key, &json(value)?])?;
        Ok(())
    }
}

fn network(row: &Row<'_>) -> rusqlite::Result<Network> {
    let ipam: Option<Ipam> = optional(row, 4)?;
    Ok(Network {
        id: row.get(0)?,
        name: row.get(1)?,
        created: time(row.get(2)?),
        driver: parsed::<Driver>(row, 3)?,
        ipam: ipam.into_iter().collect(),
        ipam6: optional(row, 9)?,
        internal: row.get(5)?,
        attachable: row.get(6)?,
        options: parsed::<BTreeMap<String, String>>(row, 7)?,
        labels: parsed::<BTreeMap<String, String>>(row, 8)?,
        endpoints: Vec::new(),
    })
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let ipam: Ipam = parsed(row, 12)?;
    let internal: bool = row.get(13)?;
    let address = Ipv4Addr::from(row.get::<_, u32>(5)?);
    let ipam6: Option<Ipam6> = optional(row, 15)?;
    let address6 = match (row.get::<_, Option<String>>(14)?, &ipam6) {
        (Some(text), Some(ipam)) => {
            let address = text.parse().map_err(|error| mistake(14, error))?;
            Some(Ipv6Net::new(address, ipam.subnet.prefix_len()).map_err(|error| mistake(14, error))?)
        }
        _ => None,
    };
    let mac: String = row.get(6)?;
    let endpoint = Endpoint {
        id: row.get(0)?,
        network_id: row.get(1)?,
        container: row.get(2)?,
        name: row.get(3)?,
        interface: row.get(4)?,
        address: Ipv4Net::new(address, ipam.subnet.prefix_len()).map_err(|error| mistake(5, error))?,
        mac: mac.parse::<MacAddr>().map_err(|error| mistake(6, error))?,
        hostname: row.get(8)?,
        aliases: parsed(row, 9)?,
        ports: parsed(row, 10)?,
        network: row.get(11)?,
        gateway: (!internal).then_some(ipam.gateway),
        gateway6: ipam6.filter(|_| !internal && address6.is_some()).map(|ipam| ipam.gateway),
        address6,
    };
    Ok(Recorded { endpoint, default_route: row.get(7)? })
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
