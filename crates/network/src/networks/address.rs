//! Which addresses an endpoint gets: the wished ones, or the next free ones.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};

use crate::network::{Ipam, Ipam6};
use crate::records::Rows;
use crate::{Driver, Error, MacAddr, Network, Result, lease};

/// The IPv4 address in a network that has IPv4: of the first subnet with a free one. The lowest, so that a container that
/// is started again has its own; with an Ethernet address of its `own` the next in turn, which no neighbour knows.
pub(super) fn choose_address(
    rows: &Rows<'_>,
    network: &Network,
    wish: Option<Ipv4Addr>,
    before: Option<Ipv4Addr>,
    own: bool,
) -> Result<Option<Ipv4Net>> {
    if let Some(address) = wish {
        let within = network.ipam.iter().find(|ipam| ipam.subnet.contains(&address));
        let Some(ipam) = within.or(network.ipam.first()) else { return outside(address.into()) };
        check_wish(rows, network, ipam, address)?;
        return with_prefix(address, ipam).map(Some);
    }
    if let Some(address) = again(rows, network, before)? {
        return Ok(Some(address));
    }
    let last = match network.ipam.is_empty() {
        true => None,
        false if own => rows.last_address(&network.id)?,
        false => rows.search_from(&network.id)?.map(|from| Ipv4Addr::from(u32::from(from).saturating_sub(1))),
    };
    for ipam in &network.ipam {
        let sharing = sharing(rows, network, ipam)?;
        let reserved = |address| sharing.iter().any(|other| !lease::usable(other, address));
        let next = lease::next(ipam, last, |address| {
            Ok::<_, Error>(reserved(address) || rows.has_address(&network.id, address)?)
        })?;
        if let Some(address) = next {
            rows.set_last_address(&network.id, address)?;
            if !own {
                rows.set_search_from(&network.id, address)?;
            }
            return with_prefix(address, ipam).map(Some);
        }
    }
    match network.ipam.is_empty() {
        true => Ok(None),
        false => exhausted("IPv4", network),
    }
}

/// The address of before, if nobody has it now.
fn again(rows: &Rows<'_>, network: &Network, before: Option<Ipv4Addr>) -> Result<Option<Ipv4Net>> {
    let Some(address) = before else { return Ok(None) };
    let Some(ipam) = network.ipam.iter().find(|ipam| lease::usable(ipam, address)) else { return Ok(None) };
    let reserved = sharing(rows, network, ipam)?.iter().any(|other| !lease::usable(other, address));
    match reserved || rows.has_address(&network.id, address)? {
        true => Ok(None),
        false => with_prefix(address, ipam).map(Some),
    }
}

fn again6(rows: &Rows<'_>, network: &Network, before: Option<Ipv6Addr>) -> Result<Option<Ipv6Net>> {
    let Some(address) = before else { return Ok(None) };
    let Some(ipam) = network.ipam6.iter().find(|ipam| lease::usable6(ipam, address)) else { return Ok(None) };
    match rows.has_address6(&network.id, address)? {
        true => Ok(None),
        false => with_prefix6(address, ipam).map(Some),
    }
}

fn exhausted<T>(family: &str, network: &Network) -> Result<T> {
    Err(Error::Unavailable(format!(
        "no available {family} addresses on this network's address pools: {} ({})",
        network.name, network.id
    )))
}

/// The same subnet as others plan it: macvlan networks may share one, and what one of them reserves none gives away.
fn sharing(rows: &Rows<'_>, network: &Network, ipam: &Ipam) -> Result<Vec<Ipam>> {
    if network.driver != Driver::Macvlan {
        return Ok(Vec::new());
    }
    let networks = rows.networks()?.into_iter().filter(|other| other.driver == Driver::Macvlan);
    let ipams = networks.flat_map(|other| other.ipam);
    Ok(ipams.filter(|other| other.subnet == ipam.subnet).collect())
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
    if let Some(address) = wish {
        let within = network.ipam6.iter().find(|ipam| ipam.subnet.contains(&address));
        let Some(ipam) = within.or(network.ipam6.first()) else { return outside(address.into()) };
        check_wish6(rows, network, ipam, address)?;
        return with_prefix6(address, ipam).map(Some);
    }
    if let Some(address) = again6(rows, network, before)? {
        return Ok(Some(address));
    }
    let last = if network.ipam6.is_empty() { None } else { rows.last_address6(&network.id)? };
    for ipam in &network.ipam6 {
        if let Some(address) = lease::next6(ipam, last, |address| rows.has_address6(&network.id, address))? {
            rows.set_last_address6(&network.id, address)?;
            return with_prefix6(address, ipam).map(Some);
        }
    }
    match network.ipam6.is_empty() {
        true => Ok(None),
        false => exhausted("IPv6", network),
    }
}

fn with_prefix6(address: Ipv6Addr, ipam: &Ipam6) -> Result<Ipv6Net> {
    Ipv6Net::new(address, ipam.subnet.prefix_len())
        .map_err(|_| Error::Invalid(format!("invalid subnet {}", ipam.subnet)))
}

fn check_wish6(rows: &Rows<'_>, network: &Network, ipam: &Ipam6, address: Ipv6Addr) -> Result<()> {
    let taken = !lease::usable6(ipam, address) || rows.has_address6(&network.id, address)?;
    judge_wish(address.into(), ipam.chosen, ipam.subnet.contains(&address), taken)
}

fn with_prefix(address: Ipv4Addr, ipam: &Ipam) -> Result<Ipv4Net> {
    Ipv4Net::new(address, ipam.subnet.prefix_len())
        .map_err(|_| Error::Invalid(format!("invalid subnet {}", ipam.subnet)))
}
