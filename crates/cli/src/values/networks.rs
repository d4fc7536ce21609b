//! Networks of a new container: `--network` and the flags about its address and names.

use hull_api::wire::Labels;
use hull_api::wire::network::{EndpointIpam, EndpointSettings};
use std::collections::BTreeMap;

/// One `--network`: a name, or `name=web,alias=db,ip=10.0.0.2`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Attachment {
    /// Its name, id or mode.
    pub(crate) name: String,
    /// What was asked of the endpoint.
    pub(crate) settings: EndpointSettings,
}

/// Reads one `--network`.
pub(crate) fn attachment(text: &str) -> Result<Attachment, String> {
    let mut attachment = Attachment::default();
    if !text.contains('=') {
        attachment.name = text.to_owned();
        return Ok(attachment);
    }
    for field in text.split(',') {
        let (key, value) = field
            .split_once('=')
            .ok_or_else(|| format!("invalid field '{field}' must be a key=value pair"))?;
        let settings = &mut attachment.settings;
        let ipam = |settings: &mut EndpointSettings, set: fn(&mut EndpointIpam, String)| {
            set(settings.ipam_config.get_or_insert_default(), value.to_owned());
        };
        match key {
            "name" => attachment.name = value.to_owned(),
            "alias" => settings.aliases.get_or_insert_default().push(value.to_owned()),
            "ip" => ipam(settings, |ipam, ip| ipam.ipv4_address = ip),
            "ip6" => ipam(settings, |ipam, ip| ipam.ipv6_address = ip),
            "link-local-ip" => ipam(settings, |ipam, ip| ipam.link_local_ips.push(ip)),
            "mac-address" => settings.mac_address = value.to_owned(),
            "gw-priority" => {
                settings.gw_priority =
                    value.parse().map_err(|_| format!("invalid gw-priority ({value}): must be a number"))?;
            }
            "driver-opt" => {
                let (name, value) =
                    value.split_once('=').ok_or("invalid key value pair format in driver options")?;
                let options: &mut Labels = settings.driver_opts.get_or_insert_default();
                options.insert(name.to_owned(), value.to_owned());
            }
            _ => return Err(format!("invalid field key {key}")),
        }
    }
    match attachment.name.is_empty() {
        true => Err("network name/id is not specified".to_owned()),
        false => Ok(attachment),
    }
}

/// The endpoints of all networks that are more than a mode.
pub(crate) fn endpoints(
    attachments: Vec<Attachment>,
) -> Result<BTreeMap<String, Option<EndpointSettings>>, String> {
    let mut endpoints = BTreeMap::new();
    let several = attachments.len() > 1;
    for attachment in attachments {
        let is_mode =
            ["none", "host"].contains(&attachment.name.as_str()) || attachment.name.starts_with("container:");
        if several && is_mode {
            return Err(
                "conflicting options: cannot attach both user-defined and non-user-defined network-modes"
                    .into(),
            );
        }
        if is_mode && attachment.settings == EndpointSettings::default() {
            continue;
        }
        if endpoints.insert(attachment.name.clone(), Some(attachment.settings)).is_some() {
            return Err(format!("network {:?} is specified multiple times", attachment.name));
        }
    }
    Ok(endpoints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_fields() {
        assert_eq!(attachment("host").unwrap().name, "host");
        let full = attachment("name=web,alias=a,alias=b,ip=10.0.0.2,mac-address=02:00:00:00:00:01").unwrap();
        assert_eq!(full.name, "web");
        assert_eq!(full.settings.aliases, Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(full.settings.ipam_config.unwrap().ipv4_address, "10.0.0.2");
        assert_eq!(attachment("alias=x").unwrap_err(), "network name/id is not specified");
        assert_eq!(attachment("name=a,colour=red").unwrap_err(), "invalid field key colour");
    }

    #[test]
    fn modes_stand_alone() {
        let list = |names: &[&str]| endpoints(names.iter().map(|name| attachment(name).unwrap()).collect());
        assert!(list(&["host"]).unwrap().is_empty());
        assert_eq!(list(&["a", "b"]).unwrap().len(), 2);
        assert!(list(&["a", "host"]).is_err() && list(&["a", "a"]).is_err());
    }
}
