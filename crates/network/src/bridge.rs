//! The bridge driver: a bridge of the host per network, a veth pair per endpoint.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use rustix::io::Errno;

use crate::firewall::{Passage, Way};
use crate::route::{PortMode, Routes};
use crate::{Config, Driver, Error, MacAddr, Network, Result, sysctl};

const DEFAULT_BRIDGE: &str = "com.docker.network.bridge.default_bridge";
pub(crate) const NAME: &str = "com.docker.network.bridge.name";
const ICC: &str = "com.docker.network.bridge.enable_icc";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const SENDER_IPV4: &str = "com.docker.network.host_ipv4";
const SENDER_IPV6: &str = "com.docker.network.host_ipv6";
const HOST_IP: &str = "com.docker.network.bridge.host_binding_ipv4";
const WAY_IPV4: &str = "com.docker.network.bridge.gateway_mode_ipv4";
const WAY_IPV6: &str = "com.docker.network.bridge.gateway_mode_ipv6";
const TRUSTED: &str = "com.docker.network.bridge.trusted_host_interfaces";
const INHIBIT_IPV4: &str = "com.docker.network.bridge.inhibit_ipv4";
const MTU: &str = "com.docker.network.driver.mtu";

/// The host's link-local address on bridges with IPv6. It looks for its neighbours from there; the address that the kernel
/// makes by itself can be used only a moment after the first container has come, and what arrives before waits a second.
const ON_LINK: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);

/// What the options of a bridge network say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The bridge's name.
    pub(crate) bridge: String,
    /// Containers reach each other.
    pub(crate) icc: bool,
    /// What leaves gets the host's address.
    pub(crate) masquerade: bool,
    /// Which of the host's addresses that is; the one of the interface it leaves by where absent.
    pub(crate) senders: (Option<Ipv4Addr>, Option<Ipv6Addr>),
    /// Where ports are published that name no address; the daemon's default where absent.
    pub(crate) host_ip: Option<Ipv4Addr>,
    /// 0 leaves the kernel's.
    pub(crate) mtu: u32,
    /// How containers are reached from outside, by IPv4 and by IPv6.
    pub(crate) ways: [Way; 2],
    /// Interfaces of the host by which published ports are reached at the containers' own addresses as well.
    pub(crate) trusted: Vec<String>,
    /// The bridge gets no IPv4 address: another router is on it.
    pub(crate) inhibit_ipv4: bool,
}

impl Settings {
    /// Reads the options; unknown ones are somebody else's.
    pub(crate) fn parse(id: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let bridge = match options.get(NAME).map(String::as_str) {
            None | Some("") => format!("br-{}", id.get(..12).unwrap_or(id)),
            Some(name) => name.to_owned(),
        };
        check_name(&bridge)?;
        Ok(Self {
            bridge,
            icc: flag(options, ICC)?.unwrap_or(true),
            masquerade: flag(options, MASQUERADE)?.unwrap_or(true),
            senders: (option(options, SENDER_IPV4, "nil ip")?, option(options, SENDER_IPV6, "nil ip")?),
            host_ip: option(options, HOST_IP, "nil ip")?,
            mtu: mtu(options)?,
            ways: [way(options, WAY_IPV4)?, way(options, WAY_IPV6)?],
            trusted: trusted(options),
            inhibit_ipv4: flag(options, INHIBIT_IPV4)?.unwrap_or(false),
        })
    }

    /// Whether the bridge has an address of the host, by IPv4 and by IPv6.
    pub(crate) fn has_addresses(&self) -> [bool; 2] {
        [self.ways[0] != Way::Isolated && !self.inhibit_ipv4, self.ways[1] != Way::Isolated]
    }

    /// Refuses what does not go together.
    pub(crate) fn check(&self, network: &Network) -> Result<()> {
        match self.ways.contains(&Way::Isolated) && !network.internal {
            true => Err(Error::Invalid(
                "gateway mode 'isolated' can only be used for an internal network".to_owned(),
            )),
            false => Ok(()),
        }
    }

    /// What the firewall has to know.
    pub(crate) fn passage(&self, network: &Network) -> Passage {
        Passage {
            bridge: self.bridge.clone(),
            subnet: network.ipam.first().map(|ipam| ipam.subnet),
            subnet6: network.ipam6.first().map(|ipam| ipam.subnet),
            icc: self.icc,
            masquerade: self.masquerade,
            senders: self.senders,
            internal: network.internal,
            ways: self.ways,
        }
    }
}

/// The options that Docker shows of its default bridge network.
pub(crate) fn default_options(bridge: &str, config: &Config) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([
        (DEFAULT_BRIDGE.to_owned(), "true".to_owned()),
        (NAME.to_owned(), bridge.to_owned()),
        (ICC.to_owned(), config.icc.to_string()),
        (MASQUERADE.to_owned(), config.masquerade.to_string()),
        (HOST_IP.to_owned(), config.default_ip.to_string()),
    ]);
    if config.mtu != 0 {
        options.insert(MTU.to_owned(), config.mtu.to_string());
    }
    options
}

/// Makes the bridge unless it is there, and sees that it has its address and is up. Says whether it was made.
pub(crate) fn ensure(routes: &mut Routes, settings: &Settings, network: &Network) -> Result<bool> {
    let name = settings.bridge.as_str();
    let found = routes.find(name)?;
    if found.as_ref().is_some_and(|link| link.kind != "bridge") {
        return Err(Error::Invalid(format!("existing interface {name} is not a bridge")));
    }
    let made = found.is_none();
    if made {
        routes.add_bridge(name, MacAddr::random()?, settings.mtu)?;
    }
    match configure(routes, settings, network, made) {
        Ok(()) => Ok(made),
        Err(error) => {
            if made {
                // The first failure is the one to tell.
                let _ = routes.remove(name);
            }
            Err(error)
        }
    }
}

/// The host's side takes nothing from what containers send about routers (CVE-2020-13401), and has IPv6 there only
/// where the network has (CVE-2024-32473).
fn configure(routes: &mut Routes, settings: &Settings, network: &Network, made: bool) -> Result<()> {
    let (name, [v4, v6]) = (settings.bridge.as_str(), settings.has_addresses());
    let ipv6 = sysctl::has_ipv6() && (carries_ipv6(settings.mtu) || !network.ipam6.is_empty());
    if ipv6 {
        sysctl::write(&format!("ipv6/conf/{name}/accept_ra"), "0")?;
        // We have drawn its Ethernet address: nobody has to be asked, and neighbours can be looked for at once.
        sysctl::write(&format!("ipv6/conf/{name}/accept_dad"), "0")?;
        let switch = format!("ipv6/conf/{name}/disable_ipv6");
        let off = if network.ipam6.iter().any(|_| v6) { "0" } else { "1" };
        // Addresses that somebody else has given to his bridge would be lost.
        if sysctl::read(&switch)? != off && (off == "0" || made || !has_ipv6(routes, name)?) {
            sysctl::write(&switch, off)?;
        }
    }
    routes.up(name)?;
    let wanted = |address: &IpNet| if address.addr().is_ipv4() { v4 } else { v6 };
    let has_ipv6 = ipv6 && v6 && !network.ipam6.is_empty();
    let on_link = host_address(ON_LINK, 64).into_iter().filter(|_| has_ipv6);
    for address in addresses(network)?.into_iter().filter(wanted).chain(on_link) {
        match routes.configure(name, address, None) {
            Err(error) if error.is(Errno::EXIST) => {}
            result => result?,
        }
    }
    Ok(())
}

/// The host's addresses in a bridge network.
pub(crate) fn addresses(network: &Network) -> Result<Vec<IpNet>> {
    let mut addresses = Vec::new();
    if network.driver != Driver::Bridge {
        return Ok(addresses);
    }
    if let Some((ipam, gateway)) = network.ipam.first().and_then(|ipam| Some((ipam, ipam.gateway?))) {
        addresses.push(host_address(gateway, ipam.subnet.prefix_len())?);
    }
    if let Some((ipam, gateway)) = network.ipam6.first().and_then(|ipam| Some((ipam, ipam.gateway?))) {
        addresses.push(host_address(gateway, ipam.subnet.prefix_len())?);
    }
    Ok(addresses)
}

/// Whether a link has IPv6 addresses but those that the kernel makes by itself.
fn has_ipv6(routes: &mut Routes, name: &str) -> Result<bool> {
    let Some(link) = routes.find(name)? else { return Ok(false) };
    let addresses = routes.addresses_of(link.index)?;
    Ok(addresses.iter().any(|on| matches!(on.addr(), IpAddr::V6(ip) if !ip.is_unicast_link_local())))
}

/// Whether the kernel lets a link of this MTU have IPv6 (RFC 8200); 0 is the kernel's own.
pub(crate) fn carries_ipv6(mtu: u32) -> bool {
    mtu == 0 || mtu >= 1280
}

fn host_address(address: impl Into<IpAddr>, prefix: u8) -> Result<IpNet> {
    IpNet::new(address.into(), prefix).map_err(|_| Error::Invalid(format!("invalid prefix length {prefix}")))
}

/// How the bridge is to treat the port of an endpoint.
///
/// Where bridged frames pass the IP firewall, an address translated there leads straight to the other port: the
/// forward chain then keeps neighbours apart (an isolated port would not even get what is published), and a container
/// reaches its own published port only if its port may send back. Elsewhere the bridge itself does it, and always on an
/// `extension`, from which what is translated comes back by way of the network's own bridge.
pub(crate) fn port_mode(settings: &Settings, publishes: bool, filtered: bool, extension: bool) -> PortMode {
    PortMode { isolated: !settings.icc && (extension || !filtered), hairpin: publishes && filtered }
}

/// Lets the host reach published ports at 127.0.0.1: answers to that address come in by the bridge. The firewall
/// refuses every other packet to a loopback address there, so it must stand before this is called.
pub(crate) fn accept_loopback_answers(bridge: &str) -> Result<()> {
    Ok(sysctl::write(&format!("ipv4/conf/{bridge}/route_localnet"), "1")?)
}

/// The kernel's own rules for names of interfaces, and none that means something else in a path.
fn check_name(name: &str) -> Result<()> {
    let fits = name.len() < 16 && name != "." && name != "..";
    match fits && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'/' && byte != b':') {
        true => Ok(()),
        false => Err(Error::Invalid(format!("invalid bridge name {name:?}"))),
    }
}

/// A flag as Go reads it.
fn flag(options: &BTreeMap<String, String>, key: &str) -> Result<Option<bool>> {
    match options.get(key).map(String::as_str) {
        None => Ok(None),
        Some("1" | "t" | "T" | "TRUE" | "true" | "True") => Ok(Some(true)),
        Some("0" | "f" | "F" | "FALSE" | "false" | "False") => Ok(Some(false)),
        Some(value) => {
            Err(invalid(key, value, &format!("strconv.ParseBool: parsing \"{value}\": invalid syntax")))
        }
    }
}

fn option<T: std::str::FromStr>(
    options: &BTreeMap<String, String>,
    key: &str,
    reason: &str,
) -> Result<Option<T>> {
    match options.get(key).map(String::as_str) {
        None | Some("") => Ok(None),
        Some(value) => value.parse().map(Some).map_err(|_| invalid(key, value, reason)),
    }
}

/// Bytes of the largest packet; 0 where nobody says.
fn mtu(options: &BTreeMap<String, String>) -> Result<u32> {
    let Some(text) = options.get(MTU).filter(|text| !text.is_empty()) else { return Ok(0) };
    let syntax = || invalid(MTU, text, &format!("strconv.Atoi: parsing {text:?}: invalid syntax"));
    let bytes: i64 = text.parse().map_err(|_| syntax())?;
    u32::try_from(bytes).map_err(|_| Error::Invalid(format!("invalid MTU number: {bytes}")))
}

fn way(options: &BTreeMap<String, String>, key: &str) -> Result<Way> {
    match options.get(key).map(String::as_str) {
        None | Some("" | "nat") => Ok(Way::Nat),
        Some("nat-unprotected") => Ok(Way::Unprotected),
        Some("routed") => Ok(Way::Routed),
        Some("isolated") => Ok(Way::Isolated),
        Some(value) => Err(invalid(key, value, &format!("unknown gateway mode {value}"))),
    }
}

fn trusted(options: &BTreeMap<String, String>) -> Vec<String> {
    let names = options.get(TRUSTED).into_iter().flat_map(|names| names.split(':'));
    let names: BTreeSet<&str> = names.filter(|name| !name.is_empty()).collect();
    names.into_iter().map(str::to_owned).collect()
}

fn invalid(key: &str, value: &str, reason: &str) -> Error {
    Error::Invalid(format!("failed to parse {key} value: {value} ({reason})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(pairs: &[(&str, &str)]) -> Result<Settings> {
        let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::parse("0123456789abcdef", &options)
    }

    #[test]
    fn options_have_dockers_defaults() {
        let settings = parse(&[("somebody.else", "x")]).unwrap();
        assert_eq!(settings.bridge, "br-0123456789ab");
        assert!(settings.icc && settings.masquerade);
        assert_eq!((settings.host_ip, settings.mtu), (None, 0));
    }

    #[test]
    fn bad_options_are_refused() {
        for (key, value) in [
            (ICC, "maybe"),
            (MTU, "big"),
            (WAY_IPV4, "bridge"),
            (INHIBIT_IPV4, "no"),
            (HOST_IP, "everywhere"),
            (SENDER_IPV4, "::1"),
            (SENDER_IPV6, "10.0.0.1"),
            (NAME, "a/b"),
            (NAME, "sixteen-letters-"),
        ] {
            assert!(matches!(parse(&[(key, value)]), Err(Error::Invalid(_))), "{key}={value}");
        }
        let refused = |value: &str| parse(&[(MTU, value)]).unwrap_err().to_string();
        assert!(refused("big").ends_with("value: big (strconv.Atoi: parsing \"big\": invalid syntax)"));
        assert_eq!(refused("-1"), "invalid MTU number: -1");
        assert!(!parse(&[(ICC, "F")]).unwrap().icc);
        assert_eq!(
            parse(&[(WAY_IPV6, "open")]).unwrap_err().to_string(),
            format!("failed to parse {WAY_IPV6} value: open (unknown gateway mode open)")
        );
    }

    #[test]
    fn ways_of_both_families_and_trusted_interfaces_are_read() {
        let settings =
            parse(&[(WAY_IPV4, "routed"), (WAY_IPV6, "nat-unprotected"), (TRUSTED, "eth0:vxlan.1")]);
        let settings = settings.unwrap();
        assert_eq!(settings.ways, [Way::Routed, Way::Unprotected]);
        assert_eq!(settings.trusted, ["eth0", "vxlan.1"]);
        assert!(!settings.inhibit_ipv4 && settings.has_addresses() == [true; 2]);
        let settings = parse(&[(WAY_IPV6, "isolated"), (INHIBIT_IPV4, "true")]).unwrap();
        assert_eq!(settings.has_addresses(), [false; 2]);
    }
}
