//! The file and the flags as one.

use std::collections::BTreeMap;

use super::Settings;

impl Settings {
    /// Takes what `file` says. Nothing is said by both.
    pub(super) fn merge(&mut self, file: Self) {
        // The only key that both may have.
        self.runtimes.extend(file.runtimes);
        macro_rules! merge {
            ($($field:ident)*) => {$(
                if is_set(&file.$field) {
                    self.$field = file.$field;
                }
            )*};
        }
        merge! {
            hosts group data_root exec_root pidfile debug log_level log_format raw_logs registry_mirrors
            insecure_registries max_concurrent_downloads max_concurrent_uploads max_download_attempts
            default_ulimits tls tlsverify tlscacert tlscert tlskey cgroup_parent bridge bip
            default_address_pools fixed_cidr ipv6 bip6 fixed_cidr_v6 default_gateway
            default_gateway_v6 default_network_opts icc ip_masq userland_proxy ip_forward
            ip_forward_no_drop allow_direct_routing bridge_accept_fwmark ip host_gateway_ips mtu dns dns_search dns_opts
            log_driver log_opts labels init init_path default_shm_size storage_opts seccomp_profile no_new_privileges
            experimental shutdown_timeout cdi_spec_dirs metrics_addr oom_score_adjust features plugin_dirs default_runtime
            userns_remap default_ipc_mode default_cgroupns_mode live_restore http_proxy https_proxy no_proxy
        }
    }
}

/// Whether somebody gave a value.
trait Given {
    fn given(&self) -> bool;
}

impl Given for bool {
    fn given(&self) -> bool {
        *self
    }
}

impl<T> Given for Option<T> {
    fn given(&self) -> bool {
        self.is_some()
    }
}

impl<T> Given for Vec<T> {
    fn given(&self) -> bool {
        !self.is_empty()
    }
}

impl<T> Given for BTreeMap<String, T> {
    fn given(&self) -> bool {
        !self.is_empty()
    }
}

fn is_set(value: &impl Given) -> bool {
    value.given()
}
