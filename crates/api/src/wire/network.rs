//! Networks, endpoints and ports.

use super::{Labels, wire, zero};
use std::collections::BTreeMap;

/// "80/tcp" to where it is published; `null` is exposed only.
pub type PortMap = BTreeMap<String, Option<Vec<PortBinding>>>;

wire! {
    /// Where a port is published. An empty `host_port` asks for any free one, "8000-8010" for one of these.
    pub struct PortBinding {
        host_ip: String,
        host_port: String,
    }
}

wire! {
    /// Ports that a container is to publish, or not to publish any more.
    pub struct PortsRequest {
        port_bindings: PortMap,
    }
}

wire! {
    /// What a container publishes.
    pub struct PortsAnswer {
        ports: PortMap,
    }
}

wire! {
    /// The networks a new container joins.
    pub struct NetworkingConfig {
        endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
    }
}

wire! {
    /// A container's end of a network: what was asked for, then what it got.
    pub struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        ipam_config: Option<EndpointIpam>,
        links: Option<Vec<String>>,
        aliases: Option<Vec<String>>,
        mac_address: String,
        driver_opts: Option<Labels>,
        gw_priority: i64,
        #[serde(rename = "NetworkID")]
        network_id: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: i64,
        #[serde(rename = "DNSNames")]
        dns_names: Option<Vec<String>>,
    }
}

wire! {
    /// The addresses asked for.
    pub struct EndpointIpam {
        #[serde(rename = "IPv4Address", skip_serializing_if = "zero")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "zero")]
        ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "zero")]
        link_local_ips: Vec<String>,
    }
}

wire! {
    /// A container's networks as `inspect` shows them.
    pub struct NetworkSettings {
        #[serde(flatten, skip_deserializing)]
        of_bridge: Option<BridgeSettings>,
        #[serde(rename = "SandboxID")]
        sandbox_id: String,
        sandbox_key: String,
        ports: PortMap,
        networks: BTreeMap<String, EndpointSettings>,
    }
}

wire! {
    /// The flat fields of older versions, which repeat the default bridge's.
    pub struct BridgeSettings {
        bridge: String,
        hairpin_mode: bool,
        #[serde(rename = "LinkLocalIPv6Address")]
        link_local_ipv6_address: String,
        #[serde(rename = "LinkLocalIPv6PrefixLen")]
        link_local_ipv6_prefix_len: i64,
        #[serde(rename = "SecondaryIPAddresses")]
        secondary_ip_addresses: Option<Vec<Address>>,
        #[serde(rename = "SecondaryIPv6Addresses")]
        secondary_ipv6_addresses: Option<Vec<Address>>,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        global_ipv6_prefix_len: i64,
        #[serde(rename = "IPAddress")]
        ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        ipv6_gateway: String,
        mac_address: String,
    }
}

wire! {
    /// An address with the length of its prefix.
    pub struct Address {
        addr: String,
        prefix_len: i64,
    }
}

wire! {
    /// A network, in lists and by `inspect`.
    pub struct Network {
        name: String,
        id: String,
        /// RFC 3339 with nanoseconds.
        created: String,
        scope: String,
        driver: String,
        #[serde(rename = "EnableIPv4")]
        enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        ipam: Ipam,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_from: ConfigReference,
        config_only: bool,
        /// Who is connected, by `inspect` and lists before 1.28; empty in the lists up to 1.51, and in newer ones left out.
        #[serde(skip_serializing_if = "zero")]
        containers: Option<BTreeMap<String, NetworkContainer>>,
        options: Labels,
        labels: Labels,
        /// Only by `inspect`.
        #[serde(skip_serializing_if = "zero")]
        status: Option<NetworkStatus>,
    }
}

wire! {
    /// How a network is at this moment.
    pub struct NetworkStatus {
        #[serde(rename = "IPAM")]
        ipam: IpamStatus,
    }
}

wire! {
    /// By subnet: how many of its addresses are left.
    pub struct IpamStatus {
        #[serde(skip_serializing_if = "zero")]
        subnets: BTreeMap<String, SubnetStatus>,
    }
}

wire! {
    /// Counts of addresses; what is more than fits is the most that fits.
    pub struct SubnetStatus {
        /// Given away, or never given.
        #[serde(rename = "IPsInUse")]
        ips_in_use: u64,
        /// Still to be given, of the range that is given from.
        #[serde(rename = "DynamicIPsAvailable")]
        dynamic_ips_available: u64,
    }
}

wire! {
    /// How a network's addresses are given out.
    pub struct Ipam {
        driver: String,
        options: Option<Labels>,
        /// None for the networks `host` and `none`.
        config: Option<Vec<IpamConfig>>,
    }
}

wire! {
    /// One pool of addresses.
    pub struct IpamConfig {
        #[serde(skip_serializing_if = "zero")]
        subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "zero")]
        ip_range: String,
        #[serde(skip_serializing_if = "zero")]
        gateway: String,
        #[serde(rename = "AuxiliaryAddresses", skip_serializing_if = "zero")]
        auxiliary_addresses: Labels,
    }
}

wire! {
    /// The network whose configuration is taken.
    pub struct ConfigReference {
        network: String,
    }
}

wire! {
    /// A container as its network sees it.
    pub struct NetworkContainer {
        name: String,
        #[serde(rename = "EndpointID")]
        endpoint_id: String,
        mac_address: String,
        /// With prefix: "172.17.0.2/16".
        #[serde(rename = "IPv4Address")]
        ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        ipv6_address: String,
    }
}

wire! {
    /// The body of `/networks/create`.
    pub struct NetworkCreateRequest {
        name: String,
        driver: String,
        scope: String,
        #[serde(rename = "EnableIPv4", skip_serializing_if = "zero")]
        enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6", skip_serializing_if = "zero")]
        enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        ipam: Option<Ipam>,
        internal: bool,
        attachable: bool,
        ingress: bool,
        config_only: bool,
        config_from: Option<ConfigReference>,
        options: Option<Labels>,
        labels: Option<Labels>,
    }
}

wire! {
    /// The answer to it.
    pub struct NetworkCreateResponse {
        id: String,
        warning: String,
    }
}

wire! {
    /// The body of `/networks/{id}/connect`.
    pub struct NetworkConnectRequest {
        container: String,
        #[serde(skip_serializing_if = "zero")]
        endpoint_config: Option<EndpointSettings>,
    }
}

wire! {
    /// The body of `/networks/{id}/disconnect`.
    pub struct NetworkDisconnectRequest {
        container: String,
        force: bool,
    }
}

wire! {
    /// The answer of `/networks/prune`.
    pub struct NetworkPruneResponse {
        networks_deleted: Option<Vec<String>>,
    }
}
