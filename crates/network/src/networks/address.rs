//! Which addresses an endpoint gets: the wished ones, or the next free ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::network::{Ipam, Ipam6};
use crate::records::Rows;
use crate::{Driver, Error, MacAddr, Network, Result, lease};

/// The IPv4 address in a network that has IPv4.
pub(super) fn choose_address(
    rows: &Rows<'_>,
    network: &Network,
    wish: Option<Ipv4Addr>,
    before: Option<Ipv4Addr>,
) -> Result<Option<Ipv4Net>> {
    let Some(ipam) = network.ipam.first() else {
        return wish.map_or(Ok(None), |address| outside(address.into()));
    };
    if let Some(address) = wish {
        check_wish(rows, network, ipam, address)?;
        return with_prefix(address, ipam).map(Some);
    }
    let sharing = sharing(rows, network)?;
    let reserved = |address| sharing.iter().any(|other| !lease::usable(other, address));
    let taken = |address| Ok::<_, Error>(reserved(address) || rows.has_address(&network.id, address)?);
    if let Some(address) = before
        && lease::usable(ipam, address)
        && !taken(address)?
    {
        return with_prefix(address, ipam).map(Some);
    }
    let last = rows.last_address(&network.id)?;
    let next = lease::next(ipam, last, taken)?;
    let address = next.ok_or_else(|| {
        Error::Unavailable(format!(
            "no available IPv4 addresses on this network's address pools: {} ({})",
            network.name, network.id
        ))
    })?;
    rows.set_last_address(&network.id, address)?;
    with_prefix(address, ipam).map(Some)
}

/// The same subnet as others plan it: macvlan networks may share one, and what one of them reserves none gives away.
fn sharing(rows: &Rows<'_>, network: &Network) -> Result<Vec<Ipam>> {
    if network.driver != Driver::Macvlan {
        return Ok(Vec::new());
    }
    let subnet = network.ipam.first().map(|ipam| ipam.subnet);
    let networks = rows.networks()?.into_iter().filter(|other| other.driver == Driver::Macvlan);
    let ipams = networks.filter_map(|other| other.ipam.into_iter().next());
    Ok(ipams.filter(|ipam| Some(ipam.subnet) == subnet).collect())
}

/// The wished Ethernet address, or that of the IPv4 address. A link of ipvlan has that of the interface it is on.
pub(super) fn choose_mac(
    network: &Network,
    wish: Option<MacAddr>,
    address: Option<Ipv4Net>,
) -> Result<Option<MacAddr>> {
    match (network.driver, wish, address) {
        (Driver::Ipvlan, Some(_), _) => {
            Err(Error::Invalid("ipvlan interfaces do not support custom mac address assignment".to_owned()))
        }
        (Driver::Ipvlan | Driver::Cni, _, _) => Ok(None),
        (_, Some(mac), _) => Ok(Some(mac)),
        (_, None, Some(address)) => Ok(Some(MacAddr::of(address.addr()))),
        (_, None, None) => MacAddr::random().map(Some),
    }
}

fn outside<T>(address: IpAddr) -> Result<T> {
    Err(Error::Invalid(format!("no configured subnet or ip-range contain the IP address {address}")))
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
        return outside(address);
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
    before: Option<Ipv6Addr>,
) -> Result<Option<Ipv6Net>> {
    let Some(ipam) = &network.ipam6 else {
        return wish.map_or(Ok(None), |address| outside(address.into()));
    };
    let again = match before.filter(|address| lease::usable6(ipam, *address)) {
        Some(address) if !rows.has_address6(&network.id, address)? => Some(address),
        _ => None,
    };
    let address = match (wish, again) {
        (Some(address), _) => check_wish6(rows, network, ipam, address).map(|()| address)?,
        (None, Some(address)) => address,
        (None, None) => {
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

fn with_prefix(address: Ipv4Addr, ipam: &Ipam) -> Result<Ipv4Net> {
    Ipv4Net::new(address, ipam.subnet.prefix_len())
        .map_err(|_| Error::Invalid(format!("invalid subnet {}", ipam.subnet)))
}
