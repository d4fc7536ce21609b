//! The rows of endpoints, and which addresses they take.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use rusqlite::{Row, named_params, params};

use super::{Rows, json, mistake, optional, parsed};
use crate::network::{Ipam, Ipam6};
use crate::{Endpoint, MacAddr, Result};

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

impl Rows<'_> {
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
