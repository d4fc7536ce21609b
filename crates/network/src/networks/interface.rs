//! A container's end of a link: its name and its switches.

use std::net::{IpAddr, Ipv6Addr};
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use hull_sys::netns;
use ipnet::IpNet;

use crate::records::Recorded;
use crate::{Error, Network, Result, sysctl};

/// What stands for the interface's name in a switch.
const NAME: &str = "IFNAME";

/// A switch below /proc/sys/net in the place of whose interface's name [`NAME`] stands, and its value.
pub(super) struct Switch {
    path: String,
    value: String,
}

/// The option that says what the names of a network's interfaces begin with.
const PREFIX: &str = "com.docker.network.container_iface_prefix";

/// The wished name, or `eth0`, or the first number after it that none of the container's interfaces has. A network may have
/// another beginning than `eth`.
pub(super) fn choose(wish: Option<&str>, network: &Network, others: &[Recorded]) -> Result<String> {
    let prefix =
        network.options.get(PREFIX).filter(|prefix| !prefix.is_empty()).map_or("eth", String::as_str);
    let taken = |name: &str| others.iter().any(|other| other.endpoint.interface == name);
    let free = || {
        let mut names = (0..=others.len()).map(|number| format!("{prefix}{number}"));
        names.find(|name| !taken(name)).unwrap_or_else(|| format!("{prefix}0"))
    };
    let wish = &*wish.map_or_else(free, str::to_owned);
    let fits = (1..16).contains(&wish.len()) && ![".", "..", "lo"].contains(&wish);
    if !fits || !wish.bytes().all(|byte| byte.is_ascii_graphic() && ![b'/', b':', b'%'].contains(&byte)) {
        return Err(Error::Invalid(format!("invalid interface name {wish:?}")));
    }
    match taken(wish) {
        true => Err(Error::Forbidden(format!(
            "error renaming interface to {wish:?}: file exists: the container has an interface of that name"
        ))),
        false => Ok(wish.to_owned()),
    }
}

/// Reads switches: "net.ipv4.conf.IFNAME.log_martians=1". Nothing else can be set: a switch of the whole namespace is
/// not the endpoint's.
pub(super) fn switches(texts: &[String]) -> Result<Vec<Switch>> {
    let invalid = |text: &String| {
        Error::Invalid(format!("invalid sysctl {text:?}: it must be like net.ipv4.conf.{NAME}.NAME=VALUE"))
    };
    texts.iter().map(|text| switch(text).ok_or_else(|| invalid(text))).collect()
}

fn switch(text: &str) -> Option<Switch> {
    let (name, value) = text.split_once('=')?;
    let parts: Vec<_> = name.split('.').collect();
    // As IFNAME, and as Docker's client makes it of that.
    let ["net", family @ ("ipv4" | "ipv6" | "mpls"), kind @ ("conf" | "neigh"), NAME | "ifname", last] =
        parts[..]
    else {
        return None;
    };
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let fits = !last.is_empty() && last.bytes().all(plain);
    fits.then(|| Switch { path: format!("{family}/{kind}/{NAME}/{last}"), value: value.to_owned() })
}

/// Whether a text is a switch that an endpoint can have: "net.ipv4.conf.IFNAME.log_martians=1".
pub fn is_switch(text: &str) -> bool {
    switch(text).is_some()
}

/// Addresses of a link alone (RFC 3927, RFC 4291), with the length of their prefix.
pub(super) fn link_local(addresses: &[IpAddr]) -> Result<Vec<IpNet>> {
    let net = |address: &IpAddr| match address {
        IpAddr::V4(ip) if ip.is_link_local() => IpNet::new(*address, 16).ok(),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => IpNet::new(*address, 64).ok(),
        _ => None,
    };
    let invalid = |address| Error::Invalid(format!("invalid link local IP address: {address}"));
    addresses.iter().map(|address| net(address).ok_or_else(|| invalid(address))).collect()
}

/// Sets switches of an interface.
pub(super) fn set(namespace: BorrowedFd<'_>, interface: &str, switches: &[Switch]) -> Result<()> {
    if switches.is_empty() {
        return Ok(());
    }
    // Which switches there are, and which values they take, only the kernel knows.
    let wrong = |error: hull_sys::Error| Error::Invalid(error.to_string());
    netns::within(namespace, || {
        switches
            .iter()
            .try_for_each(|switch| sysctl::write(&switch.path.replace(NAME, interface), &switch.value))
    })?
    .map_err(wrong)
}

/// Lets an interface have IPv6; nobody on the link tells it about routers, or has its address.
pub(super) fn enable_ipv6(namespace: BorrowedFd<'_>, interface: &str) -> Result<()> {
    let switch = |name: &str, value: &str| sysctl::write(&format!("ipv6/conf/{interface}/{name}"), value);
    netns::within(namespace, || {
        switch("accept_ra", "0")?;
        switch("accept_dad", "0")?;
        switch("disable_ipv6", "0")
    })??;
    Ok(())
}

/// Waits until an interface hears who looks for its address: the kernel joins the group of those who have it (RFC 4291,
/// solicited-node) when it finds the time, and a neighbour who has asked in vain asks again after a second only.
pub(super) fn await_heard(namespace: BorrowedFd<'_>, interface: &str, address: Ipv6Addr) -> Result<()> {
    /// How long at most: by then the neighbour's second question has come.
    const PATIENCE: Duration = Duration::from_secs(1);
    const GLANCE: Duration = Duration::from_micros(200);
    let [.., a, b, c] = address.octets();
    let group = format!("ff0200000000000000000001ff{a:02x}{b:02x}{c:02x}");
    let heard = || {
        let groups = std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default();
        groups.lines().any(|line| {
            let mut fields = line.split_whitespace().skip(1);
            fields.next() == Some(interface) && fields.next() == Some(&group)
        })
    };
    netns::within(namespace, || {
        let deadline = Instant::now() + PATIENCE;
        while !heard() && Instant::now() < deadline {
            std::thread::sleep(GLANCE);
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_switches_of_the_interface_are_taken() {
        let read = |text: &str| switches(&[text.to_owned()]).map(|mut found| found.remove(0).path);
        assert_eq!(read("net.ipv4.conf.IFNAME.log_martians=1").unwrap(), "ipv4/conf/IFNAME/log_martians");
        for wrong in [
            "net.ipv4.ip_forward=1",
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.a/b=1",
            "net.ipv4.conf.IFNAME...=1",
            "kernel.ipv4.conf.IFNAME.x=1",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn names_of_interfaces_are_the_kernels() {
        let mut network = crate::networks::plan::blank("blue", crate::Driver::Bridge).unwrap();
        assert_eq!(choose(None, &network, &[]).unwrap(), "eth0");
        assert_eq!(choose(Some("lan0"), &network, &[]).unwrap(), "lan0");
        for wrong in ["", ".", "lo", "a/b", "a b", "sixteen-letters-", "eth%d"] {
            assert!(choose(Some(wrong), &network, &[]).is_err(), "{wrong}");
        }
        network.options.insert(PREFIX.to_owned(), "lan".to_owned());
        assert_eq!(choose(None, &network, &[]).unwrap(), "lan0");
        network.options.insert(PREFIX.to_owned(), "a/b".to_owned());
        assert!(choose(None, &network, &[]).is_err());
    }
}
