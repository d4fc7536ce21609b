//! What the daemon's configuration says about networks.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::str::FromStr;

use ipnet::{Ipv4Net, Ipv6Net};

/// The default bridge that Hull makes itself.
pub(crate) const OWN_BRIDGE: &str = "hull0";

/// A range from which networks without a `--subnet` get theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// The whole range.
    pub base: Ipv4Net,
    /// The prefix length of one network.
    pub size: u8,
}

/// The same for IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool6 {
    /// The whole range.
    pub base: Ipv6Net,
    /// The prefix length of one network.
    pub size: u8,
}

/// A mark on packets: those bits of a packet's that are in the mask are the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// What the bits are to be.
    pub value: u32,
    /// Which bits are looked at.
    pub mask: u32,
}

impl FromStr for Mark {
    type Err = String;

    /// `MARK` or `MARK/MASK`, in Go's numbers: 10, 0x0a, 0o12, 012, 0b1010.
    fn from_str(text: &str) -> Result<Self, String> {
        let (mark, mask) = text.split_once('/').map_or((text, None), |(mark, mask)| (mark, Some(mask)));
        let read = |part: &str, what: &str| {
            number(part).map_err(|why| {
                format!("invalid firewall {what} {text:?}: strconv.ParseUint: parsing {part:?}: {why}")
            })
        };
        let mask = mask.map(|mask| read(mask, "mask")).transpose()?;
        Ok(Self { value: read(mark, "mark")?, mask: mask.unwrap_or(u32::MAX) })
    }
}

/// A number as Go reads it in base 0.
fn number(text: &str) -> Result<u32, &'static str> {
    let lower = text.to_ascii_lowercase();
    let bases = [("0x", 16), ("0o", 8), ("0b", 2), ("0", 8)];
    let based = bases.iter().find_map(|(prefix, base)| Some((lower.strip_prefix(prefix)?, *base)));
    let (digits, base) = based.filter(|(digits, _)| !digits.is_empty()).unwrap_or((&lower, 10));
    match u64::from_str_radix(digits, base).map(u32::try_from) {
        Ok(Ok(number)) if !digits.starts_with('+') => Ok(number),
        Ok(Err(_)) => Err("value out of range"),
        _ => Err("invalid syntax"),
    }
}

/// The options of the daemon (dockerd's names in parentheses).
#[derive(Debug, Clone)]
pub struct Config {
    /// The bridge of the default network (`--bridge`); `None` is `--bridge=none`: no default bridge network.
    pub bridge: Option<String>,
    /// Address and prefix of the default bridge (`--bip`); from the pools where absent.
    pub bip: Option<Ipv4Net>,
    /// The part of the default bridge's subnet that containers get addresses from (`--fixed-cidr`).
    pub fixed_cidr: Option<Ipv4Net>,
    /// Whether the default bridge has IPv6 (`--ipv6`).
    pub ipv6: bool,
    /// Its IPv6 address and prefix (`--bip6`); from `fixed_cidr6` or the pools where absent.
    pub bip6: Option<Ipv6Net>,
    /// The part of its IPv6 subnet that containers get addresses from; the subnet itself without `bip6`
    /// (`--fixed-cidr-v6`).
    pub fixed_cidr6: Option<Ipv6Net>,
    /// Whether containers of the default bridge reach each other (`--icc`).
    pub icc: bool,
    /// Whether the default bridge masquerades (`--ip-masq`).
    pub masquerade: bool,
    /// Whether to switch forwarding on (`--ip-forward`).
    pub forward: bool,
    /// Whether a host that did not forward before may forward what is not the containers' after Hull has
    /// switched forwarding on (`--ip-forward-no-drop`).
    pub forward_others: bool,
    /// The host address for published ports that name none (`--ip`).
    pub default_ip: Ipv4Addr,
    /// Whether ports of the host's IPv6 addresses lead to containers without IPv6 (`--userland-proxy`); for that
    /// [`crate::Networks::open`] is to be called within a runtime.
    pub userland_proxy: bool,
    /// Whether published ports are reached at the containers' own addresses as well, by every interface
    /// (`--allow-direct-routing`).
    pub direct_routing: bool,
    /// Packets that somebody has put this mark on pass to containers of networks that are not internal
    /// (`--bridge-accept-fwmark`).
    pub accepted_mark: Option<Mark>,
    /// The root of the version 2 cgroups, below which long ranges of published ports are kept from all programs.
    pub cgroups: Option<PathBuf>,
    /// The MTU of the default bridge (`--mtu`); 0 leaves the kernel's.
    pub mtu: u32,
    /// Where networks without a subnet get theirs (`--default-address-pool`).
    pub pools: Vec<Pool>,
    /// The same for IPv6; empty: pieces of a prefix of unique local addresses that this host draws.
    pub pools6: Vec<Pool6>,
    /// The gateway of the default bridge's containers (`--default-gateway`); the bridge where absent.
    pub default_gateway: Option<Ipv4Addr>,
    /// The same for IPv6 (`--default-gateway-v6`).
    pub default_gateway6: Option<Ipv6Addr>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            bridge: Some(OWN_BRIDGE.to_owned()),
            bip: None,
            fixed_cidr: None,
            ipv6: false,
            bip6: None,
            fixed_cidr6: None,
            icc: true,
            masquerade: true,
            forward: true,
            forward_others: false,
            default_ip: Ipv4Addr::UNSPECIFIED,
            userland_proxy: true,
            direct_routing: false,
            accepted_mark: None,
            cgroups: None,
            mtu: 1500,
            pools: default_pools(),
            pools6: Vec::new(),
            default_gateway: None,
            default_gateway6: None,
        }
    }
}

/// The pools of Docker: 172.17.0.0/16 to 172.31.0.0/16, then 192.168.0.0/16 in pieces of /20.
fn default_pools() -> Vec<Pool> {
    let pool =
        |a, b, prefix, size| Pool { base: Ipv4Net::new_assert(Ipv4Addr::new(a, b, 0, 0), prefix), size };
    vec![
        pool(172, 17, 16, 16),
        pool(172, 18, 16, 16),
        pool(172, 19, 16, 16),
        pool(172, 20, 14, 16),
        pool(172, 24, 14, 16),
        pool(172, 28, 14, 16),
        pool(192, 168, 16, 20),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_gos_numbers() {
        let mark = |text: &str| text.parse::<Mark>().map(|mark| (mark.value, mark.mask));
        assert_eq!(mark("0x1068/0xFFFF"), Ok((0x1068, 0xffff)));
        assert_eq!(mark("2/3"), Ok((2, 3)));
        assert_eq!(mark("0"), Ok((0, u32::MAX)));
        assert_eq!(mark("010/0b11"), Ok((8, 3)));
        let wrong = mark("x/3").unwrap_err();
        assert_eq!(wrong, "invalid firewall mark \"x/3\": strconv.ParseUint: parsing \"x\": invalid syntax");
        assert!(mark("1/").unwrap_err().starts_with("invalid firewall mask \"1/\": "));
        assert!(mark("4294967296").unwrap_err().ends_with("value out of range"));
        assert!(mark("-1").is_err() && mark("+1").is_err() && mark("").is_err());
    }
}
