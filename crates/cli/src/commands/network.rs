//! `hull network`: create, list, connect, disconnect, remove and prune.

use std::net::IpAddr;

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::human;
use crate::output;
use crate::session::Session;
use crate::table::{Listing, Row};
use crate::values::pairs;
use hull_api::wire::network::{
    ConfigReference, EndpointIpam, EndpointSettings, Ipam, IpamConfig, Network, NetworkConnectRequest,
    NetworkCreateRequest, NetworkCreateResponse, NetworkDisconnectRequest, NetworkPruneResponse,
};

/// `hull network create`.
pub(crate) mod create {
    use super::*;

    command! {
        names: ["network create"], about: "Create a network",
        usage: "[OPTIONS] NETWORK", operands: Operands::Exactly(1), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Let containers be attached by hand (of swarms)
        #[arg(long)]
        attachable: bool,
        /// Addresses that are never given out: name=address
        #[arg(long, value_name = "map")]
        aux_address: Vec<String>,
        /// The network whose configuration to use
        #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
        config_from: String,
        /// Make a configuration only, for networks that name it
        #[arg(long)]
        config_only: bool,
        /// Driver of the network
        #[arg(short, long, value_name = "string", default_value = "bridge")]
        driver: String,
        /// Gateway of a subnet
        #[arg(long, value_name = "ipSlice", value_delimiter = ',')]
        gateway: Vec<String>,
        /// No way out of the network
        #[arg(long)]
        internal: bool,
        /// Range of a subnet that addresses are given out of
        #[arg(long, value_name = "ipNetSlice", value_delimiter = ',')]
        ip_range: Vec<String>,
        /// Driver of addresses
        #[arg(long, value_name = "string", default_value = "default")]
        ipam_driver: String,
        /// Options of the driver of addresses
        #[arg(long, value_name = "map")]
        ipam_opt: Vec<String>,
        /// Use IPv4
        #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true,
              default_missing_value = "true", value_parser = crate::command::switch)]
        ipv4: Option<bool>,
        /// Use IPv6
        #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true,
              default_missing_value = "true", value_parser = crate::command::switch)]
        ipv6: Option<bool>,
        /// Set metadata on the network
        #[arg(long, value_name = "list")]
        label: Vec<String>,
        /// Options of the driver
        #[arg(short, long, value_name = "map")]
        opt: Vec<String>,
        /// Reach of the network; only local is there
        #[arg(long, value_name = "string", default_value = "", hide_default_value = true)]
        scope: String,
        /// Subnet: 172.28.0.0/16
        #[arg(long, value_name = "stringSlice", value_delimiter = ',')]
        subnet: Vec<String>,
    }

    async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
        let request = NetworkCreateRequest {
            name: operands.into_iter().next().unwrap_or_default(),
            ipam: Some(ipam(&flags)?),
            driver: flags.driver,
            scope: flags.scope,
            enable_ipv4: flags.ipv4,
            enable_ipv6: flags.ipv6,
            internal: flags.internal,
            attachable: flags.attachable,
            config_only: flags.config_only,
            config_from: Some(ConfigReference { network: flags.config_from }),
            options: Some(pairs::map(&flags.opt)),
            labels: Some(pairs::map(&flags.label)),
            ..NetworkCreateRequest::default()
        };
        let client = session.connect().await?;
        let made: NetworkCreateResponse = client.post(["networks", "create"]).json(&request).read().await?;
        if !made.warning.is_empty() {
            output::warn(&format!("WARNING: {}", made.warning));
        }
        output::line(&made.id)?;
        Ok(DONE)
    }

    /// Ranges, gateways and addresses belong to the subnet that they are in.
    fn ipam(flags: &Flags) -> Result<Ipam, Complaint> {
        if flags.gateway.len().max(flags.ip_range.len()) > flags.subnet.len() {
            return Err(Complaint::new("every ip-range or gateway must have a corresponding subnet"));
        }
        let subnet = |text: &String| IpamConfig { subnet: text.clone(), ..IpamConfig::default() };
        let mut config: Vec<IpamConfig> = flags.subnet.iter().map(subnet).collect();
        for range in &flags.ip_range {
            let pool = pool_of(&mut config, range, "range")?;
            once(&pool.ip_range, range, "ranges", "on", &pool.subnet)?;
            pool.ip_range.clone_from(range);
        }
        for gateway in &flags.gateway {
            let pool = pool_of(&mut config, gateway, "gateway")?;
            once(&pool.gateway, gateway, "gateways", "for", &pool.subnet)?;
            pool.gateway.clone_from(gateway);
        }
        for (name, address) in pairs::map(&flags.aux_address) {
            let pool = pool_of(&mut config, &address, "aux-address")?;
            pool.auxiliary_addresses.insert(name, address);
        }
        Ok(Ipam {
            driver: flags.ipam_driver.clone(),
            options: Some(pairs::map(&flags.ipam_opt)),
            config: Some(config),
        })
    }

    /// The pool whose subnet has an address, or a range's first one.
    fn pool_of<'a>(
        config: &'a mut [IpamConfig],
        part: &str,
        what: &str,
    ) -> Result<&'a mut IpamConfig, Complaint> {
        let address = part.split('/').next().unwrap_or(part);
        let found = config.iter_mut().find(|pool| contains(&pool.subnet, address));
        found.ok_or_else(|| Complaint::new(format!("no matching subnet for {what} {part}")))
    }

    fn once(had: &str, part: &str, what: &str, link: &str, subnet: &str) -> Result<(), Complaint> {
        match had {
            "" => Ok(()),
            had => Err(Complaint::new(format!(
                "cannot configure multiple {what} ({part}, {had}) {link} the same subnet ({subnet})"
            ))),
        }
    }

    /// Whether an address is in a subnet; what is neither is in none.
    fn contains(subnet: &str, address: &str) -> bool {
        let Some((base, length)) = subnet.split_once('/') else { return false };
        let (base, address) = (base.parse::<IpAddr>(), address.parse::<IpAddr>());
        let (Ok(base), Ok(address), Ok(length)) = (base, address, length.parse::<u32>()) else {
            return false;
        };
        let number = |address: IpAddr| match address {
            IpAddr::V4(address) => u128::from(u32::from(address)) << 96,
            IpAddr::V6(address) => u128::from(address),
        };
        let differ = (number(base) ^ number(address)).leading_zeros();
        base.is_ipv4() == address.is_ipv4() && differ >= length
    }
}

/// `hull network ls`.
pub(crate) mod ls {
    use super::*;

    command! {
        names: ["network ls", "network list"], about: "List networks",
        usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Show those that match
        #[arg(short, long, value_name = "filter", value_parser = pairs::filter)]
        filter: Vec<(String, String)>,
        /// Show by 'table', 'table TEMPLATE', 'json' or a Go template
        #[arg(long, value_name = "string")]
        format: Option<String>,
        /// Cut nothing off
        #[arg(long)]
        no_trunc: bool,
        /// Show only IDs
        #[arg(short, long)]
        quiet: bool,
    }

    const TITLES: &[(&str, &str)] = &[
        ("ID", "NETWORK ID"),
        ("Name", "NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("IPv4", "IPV4"),
        ("IPv6", "IPV6"),
        ("Internal", "INTERNAL"),
        ("Labels", "LABELS"),
        ("CreatedAt", "CREATED AT"),
    ];

    async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
        let client = session.connect().await?;
        let filters = pairs::filters(&flags.filter);
        let call = client.get(["networks"]);
        let call = call.query_if("filters", (!filters.is_empty()).then(|| filters.to_json()).as_deref());
        let mut networks: Vec<Network> = call.read().await?;
        networks.sort_by(|one, other| one.name.cmp(&other.name));
        let shown = |id: &str| if flags.no_trunc { id.to_owned() } else { human::short_id(id).to_owned() };
        if flags.quiet && flags.format.is_none() {
            networks.iter().try_for_each(|network| output::line(&shown(&network.id)))?;
            return Ok(DONE);
        }
        let rows = networks.iter().map(|network| row(network, shown(&network.id))).collect();
        Listing { titles: TITLES, table: "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}" }
            .show(flags.format.as_deref(), rows)?;
        Ok(DONE)
    }

    fn row(network: &Network, id: String) -> Row {
        Row::new()
            .with("ID", id)
            .with("Name", network.name.as_str())
            .with("Driver", network.driver.as_str())
            .with("Scope", network.scope.as_str())
            .with("IPv4", network.enable_ipv4.to_string())
            .with("IPv6", network.enable_ipv6.to_string())
            .with("Internal", network.internal.to_string())
            .with("CreatedAt", network.created.as_str())
            .with_labels(network.labels.iter())
    }
}

/// `hull network connect`.
pub(crate) mod connect {
    use super::*;

    command! {
        names: ["network connect"], about: "Connect a container to a network",
        usage: "[OPTIONS] NETWORK CONTAINER", operands: Operands::Exactly(2), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Add a name on the network
        #[arg(long, value_name = "stringSlice", value_delimiter = ',')]
        alias: Vec<String>,
        /// Options of the driver for this endpoint
        #[arg(long, value_name = "stringSlice", value_delimiter = ',')]
        driver_opt: Vec<String>,
        /// Which network's gateway is the default: the highest
        #[arg(long, value_name = "int", default_value = "0", hide_default_value = true)]
        gw_priority: i64,
        /// IPv4 address
        #[arg(long, value_name = "ip")]
        ip: Option<std::net::Ipv4Addr>,
        /// IPv6 address
        #[arg(long, value_name = "ip")]
        ip6: Option<std::net::Ipv6Addr>,
        /// Link to another container
        #[arg(long, value_name = "list")]
        link: Vec<String>,
        /// Link-local addresses
        #[arg(long, value_name = "ipSlice", value_delimiter = ',')]
        link_local_ip: Vec<String>,
    }

    async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
        let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
        let ipam = EndpointIpam {
            ipv4_address: flags.ip.map(|ip| ip.to_string()).unwrap_or_default(),
            ipv6_address: flags.ip6.map(|ip| ip.to_string()).unwrap_or_default(),
            link_local_ips: flags.link_local_ip,
        };
        let settings = EndpointSettings {
            ipam_config: Some(ipam).filter(|ipam| *ipam != EndpointIpam::default()),
            links: some(flags.link),
            aliases: some(flags.alias),
            driver_opts: Some(pairs::map(&flags.driver_opt)).filter(|options| !options.is_empty()),
            gw_priority: flags.gw_priority,
            ..EndpointSettings::default()
        };
        let request =
            NetworkConnectRequest { container: operands[1].clone(), endpoint_config: Some(settings) };
        let client = session.connect().await?;
        client.post(["networks", &operands[0], "connect"]).json(&request).status().await?;
        Ok(DONE)
    }
}

/// `hull network disconnect`.
pub(crate) mod disconnect {
    use super::*;

    command! {
        names: ["network disconnect"], about: "Take a container off a network",
        usage: "[OPTIONS] NETWORK CONTAINER", operands: Operands::Exactly(2), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Take it off whatever its state
        #[arg(short, long)]
        force: bool,
    }

    async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
        let request = NetworkDisconnectRequest { container: operands[1].clone(), force: flags.force };
        let client = session.connect().await?;
        client.post(["networks", &operands[0], "disconnect"]).json(&request).status().await?;
        Ok(DONE)
    }
}

/// `hull network rm`.
pub(crate) mod rm {
    use super::*;

    command! {
        names: ["network rm", "network remove"], about: "Remove networks",
        usage: "[OPTIONS] NETWORK [NETWORK...]", operands: Operands::AtLeast(1), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Be content if it is not there
        #[arg(short, long)]
        force: bool,
    }

    async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
        let client = session.connect().await?;
        let mut failed = Vec::new();
        for name in &operands {
            match client.delete(["networks", name]).status().await.map_err(Complaint::from) {
                Ok(_) => output::line(name)?,
                Err(complaint) if flags.force && complaint.not_found => {}
                Err(complaint) => failed.push(complaint.text),
            }
        }
        if failed.is_empty() { Ok(DONE) } else { Err(Complaint::new(failed.join("\n"))) }
    }
}

/// `hull network prune`.
pub(crate) mod prune {
    use super::*;
    use crate::commands::prune::{self, PruneFlags};

    command! {
        names: ["network prune"], about: "Remove networks that no container uses",
        usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: PruneFlags
    }

    const WARNING: &str = "WARNING! This will remove all custom networks not used by at least one container.";

    async fn run(flags: PruneFlags, _: Vec<String>, session: Session) -> Outcome {
        if !flags.confirmed(WARNING)? {
            return Ok(DONE);
        }
        let client = session.connect().await?;
        let call = client.post(["networks", "prune"]);
        let removed: NetworkPruneResponse =
            call.query_if("filters", prune::parameter(&flags.filters()).as_deref()).read().await?;
        prune::show("Deleted Networks:", removed.networks_deleted.unwrap_or_default(), None)?;
        Ok(DONE)
    }
}
