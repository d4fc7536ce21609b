//! Networks of containers: address pools, links, published ports, isolation.
//!
//! The engine asks for a [`Sandbox`] (a fresh network namespace), then for an [`Endpoint`] in it on some
//! [`Network`]; when `connect` returns, the address, the default route and the published ports work, before
//! any process of the container exists. Links and addresses are made over rtnetlink, the firewall is one
//! nftables table named `hull`; no other program is executed and nothing else of the host's firewall is touched.
//!
//! Records live in the engine's database. They are written before the kernel is changed, so that
//! [`Networks::reconcile`] can finish or undo whatever a crash has cut.

mod bridge;
mod cni;
mod config;
mod conntrack;
mod dns;
mod egress;
mod endpoint;
mod error;
mod firewall;
mod lease;
mod link;
mod network;
mod networks;
mod nft;
mod pool;
mod port;
mod records;
mod reservation;
mod route;
mod sandbox;
mod sweeper;
mod sysctl;
mod vlan;

pub use config::{Config, Mark, Pool, Pool6};
pub use dns::{LinkedName, Listeners, NameSettings, SERVER as NAME_SERVER};
pub use egress::Egress;
pub use endpoint::{Endpoint, EndpointRequest, MacAddr};
pub use error::{Error, Result};
pub use firewall::{Noticed, Watch};
pub use link::Link;
pub use network::{Driver, IdlePool, Ipam, Ipam6, Network, NetworkRequest, Pool6Request, PoolRequest};
pub use networks::{Networks, Rates, Reconciled, is_switch};
pub use port::{PortBinding, Protocol, Published};
pub use sandbox::Sandbox;

/// The name of the default bridge network, of the host's own network and of no network at all.
pub const PREDEFINED: [&str; 3] = ["bridge", "host", "none"];
