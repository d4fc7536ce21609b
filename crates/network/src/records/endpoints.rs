//! The rows of endpoints, and which addresses they take.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use rusqlite::{OptionalExtension, Row, named_params, params};
use serde::{Deserialize, Serialize};

use super::{Rows, json, mistake, optional, parsed};
use crate::network::{Ipam, Ipam6};
use crate::{Driver, Endpoint, Error, Link, MacAddr, Published, Result};

const ENDPOINT_COLUMNS: &str = "e.id, e.network, e.container, e.name, e.interface, e.address, e.mac, \
     e.default_route, e.hostname, e.aliases, e.ports, n.name, n.ipam, n.internal, \
     e.address6, n.ipam6, e.given, n.driver, e.links";
const ENDPOINTS: &str = "network_endpoints e JOIN networks n ON n.id = e.network";

/// The networks whose endpoints have no address twice: the network ?1, and with a macvlan network all others, which may
/// have the same subnet.
const SHARING: &str = "SELECT ?1 UNION ALL SELECT id FROM networks WHERE driver = '\"macvlan\"' AND id <> ?1 \
     AND (SELECT driver FROM networks WHERE id = ?1) = driver";

/// An endpoint and what only this crate needs of it.
#[derive(Debug, Clone)]
pub(crate) struct Recorded {
    pub(crate) endpoint: Endpoint,
    /// Which endpoint gives the default route: the highest.
    pub(crate) priority: i64,
    /// The default route leads into the link itself, without a neighbour.
    pub(crate) direct: bool,
    /// The network's driver.
    pub(crate) driver: Driver,
    /// Whom it is to reach where containers are kept apart.
    pub(crate) links: Vec<Link>,
}

/// Addresses as they were given, where they do not follow from the network's subnets.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Given {
    address: Option<Ipv4Net>,
    address6: Option<Ipv6Net>,
    gateway: Option<Ipv4Addr>,
    gateway6: Option<Ipv6Addr>,
    #[serde(default)]
    priority: i64,
    #[serde(default)]
    direct: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    dns: Vec<IpAddr>,
}

impl Recorded {
    /// The name of the host's end of the link; it follows from the id, so that a crash cannot lose it.
    pub(crate) fn link(&self) -> String {
        link_name(&self.endpoint.id)
    }

    /// The same, for drivers whose links have an end on the host.
    pub(crate) fn host_link(&self) -> Option<String> {
        (self.driver == Driver::Bridge).then(|| self.link())
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

    /// Whether an endpoint of the network, or of one that shares its subnet, has this IPv6 address.
    pub(crate) fn has_address6(&self, network: &str, address: Ipv6Addr) -> Result<bool> {
        let query = format!("SELECT 1 FROM network_endpoints WHERE address6 = ?2 AND network IN ({SHARING})");
        Ok(self.db.prepare_cached(&query)?.exists(params![network, address.to_string()])?)
    }

    /// Whether an endpoint of the network, or of one that shares its subnet, has this address.
    pub(crate) fn has_address(&self, network: &str, address: Ipv4Addr) -> Result<bool> {
        let query = format!("SELECT 1 FROM network_endpoints WHERE address = ?2 AND network IN ({SHARING})");
        Ok(self.db.prepare_cached(&query)?.exists(params![network, u32::from(address)])?)
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

    /// The endpoint of this id.
    pub(crate) fn endpoint(&self, id: &str) -> Result<Endpoint> {
        let found = self.select("e.id = ?1", id)?.pop();
        found
            .map(|recorded| recorded.endpoint)
            .ok_or_else(|| Error::NotFound(format!("endpoint {id} not found")))
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
             hostname, aliases, ports, address6, given, links) VALUES (:id, :network, :container, :name, :interface, :address, :mac,
             :default_route, :hostname, :aliases, :ports, :address6, :given, :links)",
        )?;
        statement.execute(named_params! {
            ":id": endpoint.id,
            ":network": endpoint.network_id,
            ":container": endpoint.container,
            ":name": endpoint.name,
            ":interface": endpoint.interface,
            ":address": endpoint.address.map(|address| u32::from(address.addr())),
            ":mac": endpoint.mac.map(|mac| mac.to_string()).unwrap_or_default(),
            // What earlier versions read.
            ":default_route": false,
            ":hostname": endpoint.hostname,
            ":aliases": json(&endpoint.aliases)?,
            ":ports": json(&endpoint.ports)?,
            ":address6": endpoint.address6.map(|address| address.addr().to_string()),
            ":given": json(&Given {
                address: endpoint.address,
                address6: endpoint.address6,
                gateway: endpoint.gateway,
                gateway6: endpoint.gateway6,
                priority: recorded.priority,
                direct: recorded.direct,
                dns: endpoint.dns.clone(),
            })?,
            ":links": links_of(&recorded.links)?,
        })?;
        Ok(())
    }

    /// How many endpoints a network has.
    pub(crate) fn count_endpoints(&self, network: &str) -> Result<u32> {
        let query = "SELECT count(*) FROM network_endpoints WHERE network = ?1";
        Ok(self.db.prepare_cached(query)?.query_row([network], |row| row.get(0))?)
    }

    /// Records the ports of an endpoint.
    pub(crate) fn set_ports(&self, id: &str, ports: &[Published]) -> Result<()> {
        let update = "UPDATE network_endpoints SET ports = ?2 WHERE id = ?1";
        self.db.prepare_cached(update)?.execute([id, &json(&ports)?])?;
        Ok(())
    }

    /// Records whom an endpoint is to reach.
    pub(crate) fn set_links(&self, id: &str, links: &[Link]) -> Result<()> {
        let update = "UPDATE network_endpoints SET links = ?2 WHERE id = ?1";
        self.db.prepare_cached(update)?.execute(params![id, links_of(links)?])?;
        Ok(())
    }

    /// Forgets an endpoint: its address is free.
    pub(crate) fn remove_endpoint(&self, id: &str) -> Result<()> {
        self.lower_search(id)?;
        self.db.prepare_cached("DELETE FROM network_endpoints WHERE id = ?1")?.execute([id])?;
        Ok(())
    }

    /// Has the search for a free address begin no later than at the one that an endpoint gives back. Another Ethernet
    /// address than the usual one is remembered by the neighbours for a while: such an address is not given again soon.
    fn lower_search(&self, id: &str) -> Result<()> {
        let find =
            "SELECT network, address, mac FROM network_endpoints WHERE id = ?1 AND address IS NOT NULL";
        let row = |row: &Row<'_>| Ok::<(String, u32, String), _>((row.get(0)?, row.get(1)?, row.get(2)?));
        let found = self.db.prepare_cached(find)?.query_row([id], row).optional()?;
        let usual =
            |address: u32, mac: &str| mac.is_empty() || mac == MacAddr::of(address.into()).to_string();
        let Some((network, address, _)) = found.filter(|(_, address, mac)| usual(*address, mac)) else {
            return Ok(());
        };
        let update = "UPDATE networks SET search_from = min(search_from, ?2) WHERE id = ?1";
        self.db.prepare_cached(update)?.execute(params![network, address])?;
        Ok(())
    }

    /// Where the search for the lowest free address of a network begins: all before are taken.
    pub(crate) fn search_from(&self, network: &str) -> Result<Option<Ipv4Addr>> {
        let mut statement = self.db.prepare_cached("SELECT search_from FROM networks WHERE id = ?1")?;
        let from: Option<u32> = statement.query_row([network], |row| row.get(0))?;
        Ok(from.map(Ipv4Addr::from))
    }

    /// Notes where that search begins next.
    pub(crate) fn set_search_from(&self, network: &str, address: Ipv4Addr) -> Result<()> {
        let mut statement = self.db.prepare_cached("UPDATE networks SET search_from = ?2 WHERE id = ?1")?;
        statement.execute(params![network, u32::from(address)])?;
        Ok(())
    }

    /// Records a container's new name.
    pub(crate) fn rename(&self, container: &str, name: &str) -> Result<()> {
        let update = "UPDATE network_endpoints SET name = ?2 WHERE container = ?1";
        self.db.prepare_cached(update)?.execute([container, name])?;
        Ok(())
    }
}

fn links_of(links: &[Link]) -> Result<Option<String>> {
    Some(links).filter(|links| !links.is_empty()).map(|links| json(&links)).transpose()
}

fn recorded(row: &Row<'_>) -> rusqlite::Result<Recorded> {
    let given: Given = match optional(row, 16)? {
        Some(given) => given,
        None => given_by_network(row)?,
    };
    let mac: String = row.get(6)?;
    let mac = (!mac.is_empty()).then(|| mac.parse::<MacAddr>().map_err(|error| mistake(6, error)));
    let endpoint = Endpoint {
        id: row.get(0)?,
        network_id: row.get(1)?,
        container: row.get(2)?,
        name: row.get(3)?,
        interface: row.get(4)?,
        address: given.address,
        mac: mac.transpose()?,
        hostname: row.get(8)?,
        aliases: parsed(row, 9)?,
        ports: parsed(row, 10)?,
        dns: given.dns,
        network: row.get(11)?,
        gateway: given.gateway,
        gateway6: given.gateway6,
        address6: given.address6,
    };
    let (priority, direct) = (given.priority, given.direct);
    let links = optional(row, 18)?.unwrap_or_default();
    Ok(Recorded { endpoint, priority, direct, driver: parsed(row, 17)?, links })
}

/// For rows of the time when nothing else was possible.
fn given_by_network(row: &Row<'_>) -> rusqlite::Result<Given> {
    let (ipam, ipam6): (Ipam, Option<Ipam6>) = (parsed(row, 12)?, optional(row, 15)?);
    let internal: bool = row.get(13)?;
    let address = Ipv4Addr::from(row.get::<_, u32>(5)?);
    let address6 = match (row.get::<_, Option<String>>(14)?, &ipam6) {
        (Some(text), Some(ipam)) => {
            let address = text.parse().map_err(|error| mistake(14, error))?;
            Some(Ipv6Net::new(address, ipam.subnet.prefix_len()).map_err(|error| mistake(14, error))?)
        }
        _ => None,
    };
    let address = Ipv4Net::new(address, ipam.subnet.prefix_len()).map_err(|error| mistake(5, error))?;
    Ok(Given {
        address: Some(address),
        gateway: ipam.gateway.filter(|_| !internal),
        gateway6: ipam6.filter(|_| !internal && address6.is_some()).and_then(|ipam| ipam.gateway),
        address6,
        priority: 0,
        direct: false,
        dns: Vec::new(),
    })
}
