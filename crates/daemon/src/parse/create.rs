//! The body of `/containers/create`: what each version of the API means by it, then its types.
//!
//! Source: the version history of the Engine API. Fields that a version does not know are ignored in it, unless they
//! promise something that the client would miss.

use hull_api::version::ApiVersion;
use hull_api::wire::container::ContainerCreateRequest;
use hull_api::wire::host::HostConfig;
use hull_api::wire::mount::{BindOptions, Mount};
use hull_api::wire::network::{EndpointSettings, NetworkingConfig, PortBinding};
use hull_engine::{Error, model};
use hull_oci::Platform;
use serde::Deserialize;
use serde_json::Value;

use super::{container, host, json, network};
use crate::call::invalid;

/// The option of an endpoint's driver that sets kernel parameters of its interface.
const ENDPOINT_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// The body's two halves, which share one object; none of `null`, nor without any field of a configuration.
pub(crate) fn create_body(document: &Value) -> Result<Option<ContainerCreateRequest>, Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Beside {
        host_config: Option<HostConfig>,
        networking_config: Option<NetworkingConfig>,
    }
    let beside = |name: &String| ["hostconfig", "networkingconfig"].contains(&name.to_lowercase().as_str());
    if document.is_null() || document.as_object().is_some_and(|fields| fields.keys().all(beside)) {
        return Ok(None);
    }
    let beside: Beside = json::read(document).map_err(invalid)?;
    Ok(Some(ContainerCreateRequest {
        config: json::read(document).map_err(invalid)?,
        host_config: beside.host_config.unwrap_or_default(),
        networking_config: beside.networking_config.unwrap_or_default(),
    }))
}

/// Understands the body; also warnings about how it is understood.
pub(crate) fn create_request(
    name: Option<&str>,
    platform: Option<Platform>,
    body: Option<ContainerCreateRequest>,
    version: ApiVersion,
) -> Result<(model::CreateRequest, Vec<String>), Error> {
    let mut body = body.ok_or_else(|| invalid("config cannot be empty in order to create a container"))?;
    name_the_default_network(&mut body);
    let before = |minor| version < ApiVersion { major: 1, minor };
    if !before(52) {
        check_macs(&body)?;
    }
    forget_unknown(&mut body, &before);
    check_mounts(&mut body.host_config.mounts, &before)?;
    if before(44) && body.networking_config.endpoints_config.len() > 1 {
        let names: Vec<_> = body.networking_config.endpoints_config.keys().cloned().collect();
        return Err(invalid(format!(
            "Container cannot be created with multiple network endpoints: {}",
            names.join(", ")
        )));
    }
    let mut warnings: Vec<String> =
        (!before(48)).then(|| volume_driver_warning(&body.host_config)).flatten().into_iter().collect();
    warnings.extend(mac_address(&mut body, &before)?);
    warnings.extend(interface_sysctls(&mut body, &before)?);
    warnings.extend(empty_bindings(&mut body.host_config, version));
    let request = model::CreateRequest {
        name: name.map(str::to_owned),
        platform,
        config: container::config(body.config)?,
        host: host::config(body.host_config)?,
        networking: network::networking(body.networking_config)?,
        shallow_read_only: before(44),
        hosts_cgroups: before(41),
    };
    Ok((request, warnings))
}

/// Hardware addresses that are none.
fn check_macs(body: &ContainerCreateRequest) -> Result<(), Error> {
    let endpoints = body.networking_config.endpoints_config.values().flatten();
    let addresses = endpoints.map(|endpoint| &endpoint.mac_address).chain([&body.config.mac_address]);
    addresses.into_iter().try_for_each(|address| network::check_mac(address))
}

/// "default" and nothing at all mean the default bridge.
fn name_the_default_network(body: &mut ContainerCreateRequest) {
    if !matches!(body.host_config.network_mode.as_str(), "" | "default") {
        return;
    }
    body.host_config.network_mode = "bridge".to_owned();
    let endpoints = &mut body.networking_config.endpoints_config;
    if let Some(endpoint) = endpoints.remove("default") {
        endpoints.insert("bridge".to_owned(), endpoint);
    }
}

/// Takes out what the version does not know.
fn forget_unknown(body: &mut ContainerCreateRequest, before: &impl Fn(u16) -> bool) {
    let host = &mut body.host_config;
    if before(25) {
        host.auto_remove = false;
    }
    if before(40) {
        host.kernel_memory_tcp = 0;
        if host.ipc_mode.is_empty() {
            host.ipc_mode = "shareable".to_owned();
        }
    }
    if before(42) {
        host.console_size = [0, 0];
    }
    if before(43) {
        host.annotations.clear();
    }
    if let (true, Some(check)) = (before(44), &mut body.config.healthcheck) {
        check.start_interval = 0;
    }
    if before(56) {
        host.umask = None;
    }
    if before(48) {
        let endpoints = body.networking_config.endpoints_config.values_mut().flatten();
        endpoints.for_each(|endpoint| endpoint.gw_priority = 0);
    }
}

/// The options of a mount are those of its type; older versions have fewer, and did not look.
fn check_mounts(mounts: &mut [Mount], before: &impl Fn(u16) -> bool) -> Result<(), Error> {
    for mount in mounts {
        if let Some(bind) = &mut mount.bind_options {
            forget_bind_options(bind, before);
        }
        if before(42) {
            mount.volume_options = mount.volume_options.take().filter(|_| mount.kind == "volume");
            mount.tmpfs_options = mount.tmpfs_options.take().filter(|_| mount.kind == "tmpfs");
        } else {
            let given = [
                ("VolumeOptions", mount.volume_options.is_some(), "volume"),
                ("BindOptions", mount.bind_options.is_some(), "bind"),
                ("TmpfsOptions", mount.tmpfs_options.is_some(), "tmpfs"),
            ];
            if let Some((name, ..)) = given.iter().find(|(_, given, kind)| *given && mount.kind != *kind) {
                return Err(invalid(format!(
                    "{name} must not be specified on mount type \"{}\"",
                    mount.kind
                )));
            }
        }
        let forced = mount.bind_options.as_ref().is_some_and(|bind| bind.read_only_force_recursive);
        if before(44) && mount.kind == "bind" && forced {
            return Err(invalid("BindOptions.ReadOnlyForceRecursive needs API v1.44 or newer"));
        }
        if before(45) && mount.volume_options.as_ref().is_some_and(|volume| !volume.subpath.is_empty()) {
            return Err(invalid("VolumeOptions.Subpath needs API v1.45 or newer"));
        }
        if before(48) && mount.kind == "image" {
            return Err(invalid("Mount type \"Image\" needs API v1.48 or newer"));
        }
    }
    Ok(())
}

fn forget_bind_options(bind: &mut BindOptions, before: &impl Fn(u16) -> bool) {
    bind.non_recursive &= !before(40);
    bind.create_mountpoint &= !before(42);
}

fn volume_driver_warning(host: &HostConfig) -> Option<String> {
    let names_driver = |mount: &Mount| {
        let driver = mount.volume_options.as_ref().and_then(|volume| volume.driver_config.as_ref());
        driver.is_some_and(|driver| !driver.name.is_empty())
    };
    let ambiguous = host.mounts.iter().any(|mount| mount.kind == "volume" && !names_driver(mount));
    (!host.volume_driver.is_empty() && ambiguous).then(|| {
        "WARNING: the container-wide volume-driver configuration is ignored for volumes specified via 'mount'. Use \
         '--mount type=volume,volume-driver=...' instead"
            .to_owned()
    })
}

/// The MAC address of a container became one of an endpoint in version 1.44.
fn mac_address(
    body: &mut ContainerCreateRequest,
    before: &impl Fn(u16) -> bool,
) -> Result<Option<String>, Error> {
    let is_old = before(44);
    let address = body.config.mac_address.clone();
    let mode = body.host_config.network_mode.clone();
    let has_endpoint = !matches!(mode.as_str(), "host" | "none") && !mode.starts_with("container:");
    if address.is_empty() {
        if is_old {
            let endpoints = body.networking_config.endpoints_config.values_mut().flatten();
            endpoints.for_each(|endpoint| endpoint.mac_address.clear());
        }
        return Ok(None);
    }
    if is_old {
        return match has_endpoint {
            true => Ok(None),
            false => Err(invalid("conflicting options: mac-address and the network mode")),
        };
    }
    if has_endpoint {
        let endpoint = endpoint(&mut body.networking_config, &mode, is_old).map_err(|why| {
            why.within("unable to migrate container-wide MAC address to a specific network")
        })?;
        if endpoint.mac_address.is_empty() {
            endpoint.mac_address = address;
        } else if endpoint.mac_address != address {
            return Err(invalid(
                "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or \
                 be left empty",
            ));
        }
    }
    body.config.mac_address.clear();
    Ok(Some(
        "The container-wide MacAddress field is now deprecated. It should be specified in EndpointsConfig instead."
            .to_owned(),
    ))
}

/// Kernel parameters of an interface are the endpoint's affair: there is no interface yet when a container's own
/// are set.
fn interface_sysctls(
    body: &mut ContainerCreateRequest,
    before: &impl Fn(u16) -> bool,
) -> Result<Option<String>, Error> {
    let mode = body.host_config.network_mode.clone();
    if mode == "host" || mode.starts_with("container:") {
        return Ok(None);
    }
    let mut moved = Vec::new();
    for (name, value) in &body.host_config.sysctls {
        let parts: Vec<&str> = name.splitn(5, '.').collect();
        let ["net", family, group, interface, parameter] = parts[..] else { continue };
        if !interface.starts_with("eth") {
            continue;
        }
        if !before(48) {
            return Err(invalid(format!(
                "interface specific sysctl setting \"{name}\" must be supplied using driver option \
                 '{ENDPOINT_SYSCTLS}'"
            )));
        }
        if interface != "eth0" {
            return Err(invalid(format!(
                "unable to determine network endpoint for sysctl {name}, use driver option '{ENDPOINT_SYSCTLS}' to \
                 set per-interface sysctls"
            )));
        }
        moved.push((name.clone(), format!("net.{family}.{group}.IFNAME.{parameter}={value}")));
    }
    if moved.is_empty() {
        return Ok(None);
    }
    moved.iter().for_each(|(name, _)| drop(body.host_config.sysctls.remove(name)));
    let (names, options): (Vec<_>, Vec<_>) = moved.into_iter().unzip();
    let option = options.join(",");
    let endpoint = endpoint(&mut body.networking_config, &mode, before(44))
        .map_err(|why| why.within(format!("unable to find a network for sysctl {}", names[0])))?;
    let all = endpoint.driver_opts.get_or_insert_default();
    let with_older = match all.get(ENDPOINT_SYSCTLS) {
        Some(older) => format!("{option},{older}"),
        None => option.clone(),
    };
    all.insert(ENDPOINT_SYSCTLS.to_owned(), with_older);
    Ok(Some(format!(
        "Migrated sysctl \"{}\" to DriverOpts{{\"{ENDPOINT_SYSCTLS}\":\"{option}\"}}.",
        names.join(",")
    )))
}

/// Ports that are published, but nowhere: on any port of the host up to 1.52, not at all since then.
fn empty_bindings(host: &mut HostConfig, version: ApiVersion) -> Option<String> {
    let is_empty = |bindings: &Option<Vec<PortBinding>>| bindings.as_ref().is_none_or(Vec::is_empty);
    if version > ApiVersion::v1(52) {
        host.port_bindings.retain(|_, bindings| !is_empty(bindings));
        return None;
    }
    let empty = host.port_bindings.iter_mut().filter(|(_, bindings)| is_empty(bindings));
    let ports: Vec<&str> = empty
        .map(|(port, bindings)| {
            *bindings = Some(vec![PortBinding::default()]);
            port.as_str()
        })
        .collect();
    (version == ApiVersion::v1(52) && !ports.is_empty()).then(|| {
        format!(
            "Following container port(s) have an empty list of port-bindings: {}. Starting with API 1.53, such \
             bindings will be discarded.",
            ports.join(", ")
        )
    })
}

/// What is asked of the main network's endpoint. Where others are named and it is not, it may be one of those by
/// another name; only older versions had but one.
fn endpoint<'a>(
    networking: &'a mut NetworkingConfig,
    network: &str,
    only_one: bool,
) -> Result<&'a mut EndpointSettings, Error> {
    let endpoints = &mut networking.endpoints_config;
    let name = match endpoints.keys().next() {
        Some(first) if only_one => first.clone(),
        Some(_) if !endpoints.contains_key(network) => {
            return Err(invalid(
                "HostConfig.NetworkMode must match the identity of a network in NetworkSettings.Networks",
            ));
        }
        _ => network.to_owned(),
    };
    Ok(endpoints.entry(name).or_default().get_or_insert_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read(minor: u16, body: Value) -> Result<(model::CreateRequest, Vec<String>), String> {
        let body = create_body(&body).unwrap();
        create_request(None, None, body, ApiVersion { major: 1, minor }).map_err(|error| error.message)
    }

    fn host(minor: u16, host: Value) -> Result<(model::CreateRequest, Vec<String>), String> {
        read(minor, json!({"Image": "x", "HostConfig": host}))
    }

    #[test]
    fn a_body_without_a_configuration_is_none() {
        assert!(read(51, json!({"Image": ""})).is_ok(), "it is empty, and it is there");
        for body in [json!(null), json!({}), json!({"HostConfig": {}}), json!({"networkingconfig": {}})] {
            assert_eq!(read(51, body).unwrap_err(), "config cannot be empty in order to create a container");
        }
    }

    #[test]
    fn versions_have_their_own_defaults() {
        assert_eq!(host(39, json!({})).unwrap().0.host.ipc_mode, "shareable");
        assert_eq!(host(40, json!({})).unwrap().0.host.ipc_mode, "");
        assert!(host(43, json!({})).unwrap().0.shallow_read_only);
        assert!(!host(44, json!({})).unwrap().0.shallow_read_only);
        assert!(
            host(40, json!({})).unwrap().0.hosts_cgroups && !host(41, json!({})).unwrap().0.hosts_cgroups
        );
        let named = host(42, json!({"Annotations": {"a": "b"}})).unwrap().0;
        assert!(named.host.annotations.is_empty());
    }

    #[test]
    fn mounts_have_the_options_of_their_type() {
        let mounts =
            json!({"Mounts": [{"Type": "bind", "Source": "/", "Target": "/x", "VolumeOptions": {}}]});
        assert!(host(41, mounts.clone()).is_ok());
        assert_eq!(
            host(51, mounts).unwrap_err(),
            "VolumeOptions must not be specified on mount type \"bind\""
        );
        let image = json!({"Mounts": [{"Type": "image", "Source": "x", "Target": "/x"}]});
        assert_eq!(host(47, image).unwrap_err(), "Mount type \"Image\" needs API v1.48 or newer");
    }

    #[test]
    fn mac_addresses_move_to_the_endpoint() {
        let body = json!({"Image": "x", "MacAddress": "02:00:00:00:00:01"});
        let (request, warnings) = read(44, body.clone()).unwrap();
        assert_eq!(request.networking.endpoints["bridge"].wanted_mac, "02:00:00:00:00:01");
        assert!(request.config.mac_address.is_empty() && warnings[0].contains("deprecated"));
        assert_eq!(read(43, body).unwrap().0.config.mac_address, "02:00:00:00:00:01");
    }

    #[test]
    fn settings_of_the_main_network_need_its_endpoint() {
        let body = json!({"Image": "x", "MacAddress": "02:00:00:00:00:01",
            "NetworkingConfig": {"EndpointsConfig": {"other": {}}}});
        assert_eq!(
            read(44, body).unwrap_err(),
            "unable to migrate container-wide MAC address to a specific network: HostConfig.NetworkMode must match the \
             identity of a network in NetworkSettings.Networks"
        );
        let body = json!({"Image": "x", "HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}},
            "NetworkingConfig": {"EndpointsConfig": {"other": {}}}});
        assert!(read(43, body.clone()).unwrap().0.networking.endpoints["other"].driver_opts.is_some());
        assert!(
            read(47, body).unwrap_err().starts_with("unable to find a network for sysctl net.ipv4.conf.eth0")
        );
    }

    #[test]
    fn ports_published_nowhere_are_a_matter_of_the_version() {
        let published = |minor| {
            let ports =
                json!({"PortBindings": {"80/tcp": [], "81/udp": null, "82/tcp": [{"HostPort": "9"}]}});
            let (request, warnings) = host(minor, ports).unwrap();
            let bindings = request.host.port_bindings.iter();
            let shown: Vec<_> = bindings.map(|(port, on)| (port.to_string(), on.len())).collect();
            (shown, warnings.first().map(|text| text.split(':').nth(1).unwrap()[1..15].to_owned()))
        };
        let all = ["80/tcp", "81/udp", "82/tcp"].map(|port| (port.to_owned(), 1));
        let mut shown = published(51);
        shown.0.sort();
        assert_eq!(shown, (all.to_vec(), None));
        assert_eq!(published(52).1.as_deref(), Some("80/tcp, 81/udp"));
        assert_eq!(published(53), (all[2..].to_vec(), None));
    }

    #[test]
    fn parameters_of_an_interface_move_to_the_endpoint() {
        let sysctls = json!({"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1"}});
        let (request, warnings) = host(47, sysctls.clone()).unwrap();
        assert!(request.host.sysctls.is_none() && warnings[0].starts_with("Migrated sysctl"));
        let options = request.networking.endpoints["bridge"].driver_opts.clone().unwrap();
        assert_eq!(options[ENDPOINT_SYSCTLS], "net.ipv4.conf.IFNAME.forwarding=1");
        assert!(host(48, sysctls).unwrap_err().starts_with("interface specific sysctl"));
    }
}
