//! Which addresses an endpoint gets: the wished ones, or the next free ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use super::Bridged;
use crate::network::{Ipam, Ipam6};
use crate::records::Rows;
use crate::{Error, Network, Result, lease};

pub(super) fn choose_address(
    rows: &Rows<'_>,
    bridged: &Bridged<'_>,
    wish: Option<Ipv4Addr>,
) -> Result<Ipv4Addr> {
    let (network, ipam) = (bridged.network, bridged.ipam);
    if let Some(address) = wish {
        return check_wish(rows, network, ipam, address).map(|()| address);
    }
    let last = rows.last_address(&network.id)?;
    let next = lease::next(ipam, last, |address| rows.has_address(&network.id, address))?;
    let address = next.ok_or_else(|| {
        Error::Unavailable(format!(
            "no available IPv4 addresses on this network's address pools: {} ({})",
            network.name, network.id
        ))
    })?;
    rows.set_last_address(&network.id, address)?;
    Ok(address)
}

fn check_wish(rows: &Rows<'_>, network: &Network, ipam: &Ipam, address: Ipv4Addr) -> Result<()> {
    if network.predefined() {
        return Err(Error::Invalid(
            "user specified IP address is supported on user defined networks only".to_owned(),
        ));
    }
    let taken = !lease::usable(ipam, address) || rows.has_address(&network.id, address)?;
    judge_wish(address.into(), ipam.chosen, ipam.subnet.contains(&address), taken)
}

/// Whether an address may be had that a user wishes for: in a network whose subnet was `chosen`, `within` it, not `taken`.
fn judge_wish(address: IpAddr, chosen: bool, within: bool, taken: bool) -> Result<()> {
    if !chosen {
        return Err(Error::Invalid(
            "user specified IP address is supported only when connecting to networks with user configured subnets"
                .to_owned(),
        ));
    }
    if !within {
        return Err(Error::Invalid(format!(
            "no configured subnet or ip-range contain the IP address {address}"
        )));
    }
    match taken {
        true => Err(Error::Forbidden("Address already in use".to_owned())),
        false => Ok(()),
    }
}

/// The IPv6 address in a network that has IPv6.
pub(super) fn choose_address6(
    rows: &Rows<'_>,
    network: &Network,
    wish: Option<Ipv6Addr>,
) -> Result<Option<Ipv6Net>> {
    let Some(ipam) = &network.ipam6 else {
        return match wish {
            None => Ok(None),
            Some(address) => Err(Error::Invalid(format!(
                "no configured subnet or ip-range contain the IP address {address}"
            ))),
        };
    };
    let address = match wish {
        Some(address) => check_wish6(rows, network, ipam, address).map(|()| address)?,
        None => {
            let last = rows.last_address6(&network.id)?;
            let next = lease::next6(ipam, last, |address| rows.has_address6(&network.id, address))?;
            let address = next.ok_or_else(|| {
                Error::Unavailable(format!(
                    "no available IPv6 addresses on this network's address pools: {} ({})",
                    network.name, network.id
                ))
            })?;
            rows.set_last_address6(&network.id, address)?;
            address
        }
    };
    let address = Ipv6Net::new(address, ipam.subnet.prefix_len());
    address.map(Some).map_err(|_| Error::Invalid(format!("invalid subnet {}", ipam.subnet)))
}

fn check_wish6(rows: &Rows<'_>, network: &Network, ipam: &Ipam6, address: Ipv6Addr) -> Result<()> {
    let taken = !lease::usable6(ipam, address) || rows.has_address6(&network.id, address)?;
    judge_wish(address.into(), ipam.chosen, ipam.subnet.contains(&address), taken)
}

pub(super) fn with_prefix(address: Ipv4Addr, ipam: &Ipam) -> Result<Ipv4Net> {
    Ipv4Net::new(address, ipam.subnet.prefix_len())
        .map_err(|_| Error::Invalid(format!("invalid subnet {}", ipam.subnet)))
}
