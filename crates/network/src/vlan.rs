//! The macvlan and ipvlan drivers: containers have links on an interface of the host, and are on its wire.
//!
//! The interface (`parent`) is the administrator's; `eth0.50` is made as a sub-interface of IEEE 802.1Q if it is not
//! there. A network without `parent` gets an interface that leads nowhere: its containers reach only each other.

use std::collections::BTreeMap;

use crate::{Driver, Error, Result};

pub(crate) const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_MODE: &str = "ipvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";

/// How the links behave towards each other and the wire, as the kernel numbers it (linux/if_link.h).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Macvlan(u32),
    Ipvlan { mode: u16, flags: u16 },
}

/// The kernel gives passthru the whole interface.
pub(crate) const PASSTHRU: Mode = Mode::Macvlan(8);
const IPVLAN_L2: u16 = 0;

/// What the options of such a network say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Settings {
    /// The interface of the host.
    pub(crate) parent: String,
    /// Whether it is one that leads nowhere, made for this network alone.
    pub(crate) alone: bool,
    pub(crate) mode: Mode,
}

impl Settings {
    /// Reads the options; unknown ones are somebody else's.
    pub(crate) fn parse(driver: Driver, id: &str, options: &BTreeMap<String, String>) -> Result<Self> {
        let option = |name: &str| options.get(name).map_or("", String::as_str);
        let (mode, prefix) = match driver {
            Driver::Ipvlan => (ipvlan(option(IPVLAN_MODE), option(IPVLAN_FLAG))?, "di-"),
            _ => (macvlan(option(MACVLAN_MODE))?, "dm-"),
        };
        if option(PARENT) == "lo" {
            return Err(Error::Invalid(format!("loopback interface is not a valid {driver} parent link")));
        }
        let alone = lacks_parent(driver, options);
        let parent = match alone {
            true => format!("{prefix}{}", id.get(..12).unwrap_or(id)),
            false => option(PARENT).to_owned(),
        };
        Ok(Self { parent, alone, mode })
    }

    /// Whether the default route leads into the link itself: the kernel routes, there is no neighbour to name.
    pub(crate) fn routes_itself(&self) -> bool {
        matches!(self.mode, Mode::Ipvlan { mode, .. } if mode != IPVLAN_L2)
    }

    /// The interface that the parent is a sub-interface of, and the number of its VLAN.
    pub(crate) fn tagged(&self) -> Result<(&str, u16)> {
        let parent = self.parent.as_str();
        if !parent.contains('.') {
            return Err(Error::Invalid(format!(
                "invalid subinterface vlan name {parent}, example formatting is eth0.10"
            )));
        }
        let (master, id) = match parent.split_once('.') {
            Some((master, id)) if !id.contains('.') => (master, id),
            _ => {
                return Err(Error::Invalid(format!(
                    "required interface name format is: name.vlan_id, ex. eth0.10 for vlan 10, instead received {parent}"
                )));
            }
        };
        let id: i64 = id.parse().map_err(|_| {
            Error::Invalid(format!("unable to parse a valid vlan id from: {id} (ex. eth0.10 for vlan 10)"))
        })?;
        match u16::try_from(id) {
            Ok(id @ 1..=4094) => Ok((master, id)),
            _ => Err(Error::Invalid(format!("vlan id must be between 1-4094, received: {id}"))),
        }
    }
}

/// Whether a network of this driver is on no interface of the administrator's.
pub(crate) fn lacks_parent(driver: Driver, options: &BTreeMap<String, String>) -> bool {
    let named = options.get(PARENT).is_some_and(|parent| !parent.is_empty());
    matches!(driver, Driver::Macvlan | Driver::Ipvlan) && !named
}

fn macvlan(mode: &str) -> Result<Mode> {
    match mode {
        "private" => Ok(Mode::Macvlan(1)),
        "vepa" => Ok(Mode::Macvlan(2)),
        "" | "bridge" => Ok(Mode::Macvlan(4)),
        "passthru" => Ok(PASSTHRU),
        _ => Err(Error::Invalid(format!(
            "requested macvlan mode '{mode}' is not valid, 'bridge' mode is the macvlan driver default"
        ))),
    }
}

fn ipvlan(mode: &str, flag: &str) -> Result<Mode> {
    let mode = match mode {
        "" | "l2" => IPVLAN_L2,
        "l3" => 1,
        "l3s" => 2,
        _ => {
            return Err(Error::Invalid(format!(
                "requested ipvlan mode '{mode}' is not valid, 'l2' mode is the ipvlan driver default"
            )));
        }
    };
    let flags = match flag {
        "" | "bridge" => 0,
        "private" => 1,
        "vepa" => 2,
        _ => {
            return Err(Error::Invalid(format!(
                "requested ipvlan flag '{flag}' is not valid, 'bridge' is the ipvlan driver default"
            )));
        }
    };
    Ok(Mode::Ipvlan { mode, flags })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: Driver, pairs: &[(&str, &str)]) -> Result<Settings> {
        let options = pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::parse(driver, "0123456789abcdef", &options)
    }

    #[test]
    fn options_have_dockers_defaults() {
        let settings = parse(Driver::Macvlan, &[]).unwrap();
        assert_eq!((settings.parent.as_str(), settings.alone), ("dm-0123456789ab", true));
        assert_eq!(settings.mode, Mode::Macvlan(4));
        let settings = parse(Driver::Ipvlan, &[("parent", "eth0"), ("ipvlan_mode", "l3s")]).unwrap();
        assert_eq!((settings.parent.as_str(), settings.alone), ("eth0", false));
        assert!(settings.routes_itself());
        for (driver, key, value, text) in [
            (Driver::Macvlan, "macvlan_mode", "x", "requested macvlan mode 'x' is not valid"),
            (Driver::Ipvlan, "ipvlan_mode", "l4", "requested ipvlan mode 'l4' is not valid"),
            (Driver::Ipvlan, "ipvlan_flag", "x", "requested ipvlan flag 'x' is not valid"),
            (Driver::Macvlan, "parent", "lo", "loopback interface is not a valid macvlan parent link"),
        ] {
            let error = parse(driver, &[(key, value)]).unwrap_err().to_string();
            assert!(error.starts_with(text), "{error}");
        }
    }

    #[test]
    fn sub_interfaces_are_named_by_their_vlan() {
        let tagged = |parent: &str| {
            let settings = parse(Driver::Macvlan, &[("parent", parent)]).unwrap();
            settings.tagged().map(|(master, id)| (master.to_owned(), id)).map_err(|error| error.to_string())
        };
        assert_eq!(tagged("eth0.50"), Ok(("eth0".to_owned(), 50)));
        for (parent, text) in [
            ("eth7", "invalid subinterface vlan name eth7"),
            ("eth0.1.2", "required interface name format is: name.vlan_id"),
            ("eth0.x", "unable to parse a valid vlan id from: x"),
            ("eth0.0", "vlan id must be between 1-4094, received: 0"),
            ("eth0.4095", "vlan id must be between 1-4094, received: 4095"),
        ] {
            assert!(tagged(parent).unwrap_err().starts_with(text), "{parent}");
        }
    }
}
