//! What the default bridge's subnet is: as the flags say, else as the bridge has it, else as the range says.
//!
//! A bridge of the administrator's own (`--bridge`) keeps its addresses, and the flags follow them; with Hull's own it is
//! the other way round. The rules are dockerd's.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use crate::{Error, Result};

/// A subnet, as far as flags and bridge say it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) subnet: IpNet,
    /// The host's address in it; the first of the range where nobody says one.
    pub(super) host: Option<IpAddr>,
    /// Where containers get their addresses from; all of the subnet where absent.
    pub(super) range: Option<IpNet>,
}

/// `configured` is `--bip` or `--bip6`, `range` is `--fixed-cidr` or `--fixed-cidr-v6`, `found` are the bridge's
/// addresses of that family, `own` tells whether the bridge is Hull's. Nothing where nothing is said.
pub(super) fn layout(
    configured: Option<IpNet>,
    range: Option<IpNet>,
    found: &[IpNet],
    own: bool,
) -> Result<Option<Layout>> {
    let range = range.map(|range| range.trunc());
    let Some(address) = configured.or_else(|| select(found, range, own)) else {
        return Ok(range.map(|range| Layout { subnet: range, host: None, range: Some(range) }));
    };
    let outside = range.filter(|range| !own && !address.contains(range));
    match outside {
        Some(range @ IpNet::V6(_)) => Err(Error::Invalid(format!(
            "fixed-cidr-v6={range} is outside any subnet implied by addresses on the user-managed default bridge"
        ))),
        // Earlier daemons let it pass: all of the subnet is used then.
        outside => {
            let range = range.filter(|_| outside.is_none());
            Ok(Some(Layout { subnet: address.trunc(), host: Some(address.addr()), range }))
        }
    }
}

/// The address of the bridge that counts: whose subnet has the range, else one in the range, else the first.
fn select(found: &[IpNet], range: Option<IpNet>, own: bool) -> Option<IpNet> {
    let link_local = range.is_some_and(|range| is_link_local(range.addr()));
    let counts = |address: &&IpNet| link_local || !is_link_local(address.addr());
    let mut found = found.iter().filter(counts).copied();
    let Some(range) = range else { return found.next() };
    let found: Vec<IpNet> = found.collect();
    let around = found.iter().find(|address| address.contains(&range.addr()));
    let within = || found.iter().find(|address| range.contains(&address.addr()));
    let address = *around.or_else(within).or(found.first())?;
    if !own {
        return Some(address);
    }
    // The range is newer than the address: where they do not go together, the address gives way.
    let wide = range.prefix_len().min(address.prefix_len());
    let address_fits = address.trunc().contains(&range.addr());
    address_fits.then(|| IpNet::new(address.addr(), wide).ok()).flatten()
}

/// Whether the kernel itself gives such addresses to every link with IPv6.
fn is_link_local(address: IpAddr) -> bool {
    const COMMON: [u16; 4] = [0xfe80, 0, 0, 0];
    matches!(address, IpAddr::V6(address) if Ipv6Addr::segments(&address)[..4] == COMMON)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Subnet, host and range; "-" is none.
    fn laid(bip: &str, range: &str, found: &[&str], own: bool) -> Option<[String; 3]> {
        let net = |text: &str| text.parse::<IpNet>().ok();
        let found: Vec<_> = found.iter().filter_map(|text| net(text)).collect();
        let layout = layout(net(bip), net(range), &found, own).unwrap()?;
        let text = |part: Option<String>| part.unwrap_or_else(|| "-".to_owned());
        Some([
            layout.subnet.to_string(),
            text(layout.host.map(|host| host.to_string())),
            text(layout.range.map(|range| range.to_string())),
        ])
    }

    fn is(subnet: &str, host: &str, range: &str) -> Option<[String; 3]> {
        Some([subnet.to_owned(), host.to_owned(), range.to_owned()])
    }

    #[test]
    fn our_own_bridge_follows_the_flags() {
        let (old, range) = (["192.168.176.88/20"], "192.168.176.0/24");
        assert_eq!(laid("", "", &[], true), None);
        assert_eq!(laid("", range, &[], true), is(range, "-", range));
        assert_eq!(laid("", "", &old, true), is("192.168.176.0/20", "192.168.176.88", "-"));
        assert_eq!(laid("", range, &old, true), is("192.168.176.0/20", "192.168.176.88", range));
        assert_eq!(laid("192.168.176.99/24", range, &old, true), is(range, "192.168.176.99", range));
        let wide = laid("", "192.168.176.0/20", &["192.168.176.88/24"], true);
        assert_eq!(wide, is("192.168.176.0/20", "192.168.176.88", "192.168.176.0/20"));
        let elsewhere = laid("", "192.168.177.0/24", &["192.168.176.88/24"], true);
        assert_eq!(elsewhere, is("192.168.177.0/24", "-", "192.168.177.0/24"));
    }

    #[test]
    fn the_flags_follow_the_administrators_bridge() {
        let three = ["192.168.160.88/20", "192.168.176.88/20", "192.168.192.88/20"];
        for range in ["192.168.176.0/24", "192.168.177.0/24"] {
            assert_eq!(laid("", range, &three, false), is("192.168.176.0/20", "192.168.176.88", range));
        }
        for (range, found) in [
            ("192.168.176.0/20", "192.168.176.88/24"),
            ("192.168.176.0/24", "192.168.160.88/20"),
            ("192.168.176.0/20", "192.168.177.88/24"),
        ] {
            let subnet = found.parse::<IpNet>().unwrap();
            let host = subnet.addr().to_string();
            assert_eq!(laid("", range, &[found], false), is(&subnet.trunc().to_string(), &host, "-"));
        }
        let net = |text: &str| text.parse::<IpNet>().unwrap();
        let outside = layout(None, Some(net("fdd1::/60")), &[net("fdd1::8888/64")], false).unwrap_err();
        assert!(
            outside.to_string().starts_with("fixed-cidr-v6=fdd1::/60 is outside any subnet"),
            "{outside}"
        );
    }

    #[test]
    fn link_local_addresses_count_only_in_their_own_range() {
        let found = ["fe80::1/64", "fd00::9/64"];
        assert_eq!(laid("", "", &found, true), is("fd00::/64", "fd00::9", "-"));
        assert_eq!(laid("", "", &found[..1], true), None);
        assert_eq!(laid("", "fe80::/64", &found[..1], true), is("fe80::/64", "fe80::1", "fe80::/64"));
        assert_eq!(laid("", "fd01::/64", &found, true), is("fd01::/64", "-", "fd01::/64"));
    }
}
