//! Flags and keys of dockerd that are known and have no effect, or that are refused.

/// Flags of dockerd without a meaning in Hull: (name, whether it takes a value, why it has none).
pub(super) const WITHOUT_MEANING: &[(&str, bool, &str)] = &[
    ("allow-nondistributable-artifacts", true, "every layer is pushed"),
    ("containerd", true, "there is no containerd behind hulld"),
    ("containerd-namespace", true, "there is no containerd behind hulld"),
    ("containerd-plugins-namespace", true, "there is no containerd behind hulld"),
    ("cpu-rt-period", true, "real-time scheduling is set by container"),
    ("cpu-rt-runtime", true, "real-time scheduling is set by container"),
    ("cri-containerd", false, "there is no containerd behind hulld"),
    ("exec-opt", true, "cgroups are managed as files"),
    ("firewall-backend", true, "hulld speaks nftables"),
    ("iptables", false, "hulld speaks nftables"),
    ("ip6tables", false, "hulld speaks nftables"),
    ("network-diagnostic-port", true, "there is no swarm"),
    ("network-control-plane-mtu", true, "there is no swarm"),
    ("node-generic-resource", true, "there is no swarm"),
    ("storage-driver", true, "the snapshotter is overlay"),
    ("swarm-default-advertise-addr", true, "there is no swarm"),
    ("swarm-raft-election-tick", true, "there is no swarm"),
    ("swarm-raft-heartbeat-tick", true, "there is no swarm"),
    ("userland-proxy-path", true, "the daemon itself passes on what comes by IPv6 for containers without it"),
];

/// Flags of dockerd that promise protection which Hull cannot give yet: better not to start than to start without.
pub(super) const REFUSED: &[(&str, bool)] =
    &[("authorization-plugin", true), ("rootless", false), ("selinux-enabled", false)];

/// Keys of the file that dockerd takes without a flag, and that have no effect: why.
pub(super) const KEYS_ONLY: &[(&str, &str)] = &[
    ("builder", "images are not built yet"),
    ("default-init", "use init-path"),
    ("deprecated-key-path", "dockerd ignores it, too"),
    ("resolv-conf", "containers get what the host's /etc/resolv.conf says"),
];

/// The names of flags whose keys have other ones.
const NAMED: &[(&str, &str)] = &[
    ("add-runtime", "runtimes"),
    ("authorization-plugin", "authorization-plugins"),
    ("cdi-spec-dir", "cdi-spec-dirs"),
    ("default-address-pool", "default-address-pools"),
    ("default-network-opt", "default-network-opts"),
    ("default-ulimit", "default-ulimits"),
    ("dns-opt", "dns-opts"),
    ("exec-opt", "exec-opts"),
    ("feature", "features"),
    ("host", "hosts"),
    ("host-gateway-ip", "host-gateway-ips"),
    ("insecure-registry", "insecure-registries"),
    ("label", "labels"),
    ("log-opt", "log-opts"),
    ("node-generic-resource", "node-generic-resources"),
    ("plugin-dir", "plugin-dirs"),
    ("registry-mirror", "registry-mirrors"),
    ("storage-opt", "storage-opts"),
];

/// The key of the file for a flag.
pub(super) fn key_of(flag: &str) -> &str {
    NAMED.iter().find(|(name, _)| *name == flag).map_or(flag, |(_, key)| key)
}
