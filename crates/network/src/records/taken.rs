//! What networks take of the host: subnets and links, in tables of their own, so that what a new network costs hardly
//! grows with the number of the others. They follow from the networks' rows and change with them.

use ipnet::IpNet;
use rusqlite::{Connection, params};

use super::{NETWORK_COLUMNS, Rows, network};
use crate::pool::{Span, span};
use crate::{Driver, Network, Result};

/// Addresses as bytes in network order: 4 or 16 of them, which compare as numbers do.
const SCHEMA: &str = "
CREATE TABLE network_subnets (
    network TEXT NOT NULL,
    on_wire INTEGER NOT NULL,
    first BLOB NOT NULL,
    last BLOB NOT NULL
) STRICT;
CREATE INDEX network_subnets_span ON network_subnets (first, last, on_wire, network);
CREATE INDEX network_subnets_network ON network_subnets (network);
CREATE TABLE network_links (network TEXT PRIMARY KEY, link TEXT NOT NULL) STRICT;
CREATE INDEX network_links_link ON network_links (link);
";

/// Makes the tables where they are absent, from the networks that there are.
pub(super) fn open(connection: &Connection) -> Result<()> {
    if connection.table_exists(None, "network_links")? {
        return Ok(());
    }
    connection.execute_batch("BEGIN")?;
    connection.execute_batch(SCHEMA)?;
    let rows = Rows { db: connection };
    rows.networks()?.iter().try_for_each(|network| rows.take(network))?;
    Ok(connection.execute_batch("COMMIT")?)
}

impl Rows<'_> {
    /// Notes what a network takes, in the place of what it took.
    pub(super) fn take(&self, network: &Network) -> Result<()> {
        self.give_back(&network.id)?;
        let insert = "INSERT INTO network_subnets (network, on_wire, first, last) VALUES (?1, ?2, ?3, ?4)";
        for subnet in network.spans() {
            let (first, last) = bytes(subnet);
            let on_wire = network.driver == Driver::Macvlan;
            self.db.prepare_cached(insert)?.execute(params![network.id, on_wire, first, last])?;
        }
        if let Some(link) = network.link()? {
            let insert = "INSERT INTO network_links (network, link) VALUES (?1, ?2)";
            self.db.prepare_cached(insert)?.execute([&network.id, &link])?;
        }
        Ok(())
    }

    /// Forgets what a network takes.
    pub(super) fn give_back(&self, id: &str) -> Result<()> {
        self.db.prepare_cached("DELETE FROM network_subnets WHERE network = ?1")?.execute([id])?;
        self.db.prepare_cached("DELETE FROM network_links WHERE network = ?1")?.execute([id])?;
        Ok(())
    }

    /// Whether a network, but for one, has a part of this subnet. Networks of macvlan may have the same: they are on one
    /// wire.
    pub(crate) fn has_subnet(&self, subnet: impl Into<IpNet>, driver: Driver, but: &str) -> Result<bool> {
        let (first, last) = bytes(subnet.into());
        let query = "SELECT 1 FROM network_subnets WHERE first <= ?2 AND last >= ?1 AND length(first) = length(?1) \
                     AND NOT (on_wire AND ?3) AND network <> ?4";
        Ok(self.db.prepare_cached(query)?.exists(params![first, last, driver == Driver::Macvlan, but])?)
    }

    /// All subnets of a family, but those of one network.
    pub(crate) fn subnets(&self, v4: bool, but: &str) -> Result<Vec<Span>> {
        let query = "SELECT first, last FROM network_subnets WHERE length(first) = ?1 AND network <> ?2";
        let mut statement = self.db.prepare_cached(query)?;
        let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
        let rows = statement.query_map(params![if v4 { 4 } else { 16 }, but], |row| {
            let part = |column| Ok::<_, rusqlite::Error>(number(row.get_ref(column)?.as_blob()?));
            Ok((part(0)?, part(1)?))
        })?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// The networks that need this link of the host.
    pub(crate) fn networks_on(&self, link: &str) -> Result<Vec<Network>> {
        let query = format!(
            "SELECT {NETWORK_COLUMNS} FROM networks WHERE id IN (SELECT network FROM network_links WHERE link = ?1) \
             ORDER BY created, name"
        );
        let mut statement = self.db.prepare_cached(&query)?;
        let rows = statement.query_map([link], network)?;
        Ok(rows.collect::<rusqlite::Result<_>>()?)
    }

    /// Whether a network has this name.
    pub(crate) fn has_name(&self, name: &str) -> Result<bool> {
        Ok(self.db.prepare_cached("SELECT 1 FROM networks WHERE name = ?1")?.exists([name])?)
    }
}

/// The first and the last address of a subnet.
fn bytes(subnet: IpNet) -> (Vec<u8>, Vec<u8>) {
    let (first, last) = span(subnet);
    let from = if subnet.addr().is_ipv4() { 12 } else { 0 };
    let part = |number: u128| number.to_be_bytes()[from..].to_vec();
    (part(first), part(last))
}
