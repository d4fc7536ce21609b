//! The engine's nouns: what a container was asked to be, and what it is.
//!
//! None of this is wire format. The daemon's routes turn Docker's JSON into these types at the rim;
//! the store keeps the same types as its records.

mod boolean;
mod config;
mod container;
#[cfg(test)]
mod fixture;
mod host;
mod mounts;
mod network;
mod port;
mod requests;

#[cfg(test)]
pub(crate) use fixture::fixture;

pub use boolean::go_bool;
pub use config::{ContainerConfig, Healthcheck};
pub use container::{Container, Health, HealthProbe, HealthStatus, State, Status};
pub use host::{
    BlkioDeviceRate, BlkioDeviceWeight, DeviceMapping, DeviceRequest, HostConfig, LogConfig, Resources,
    RestartCondition, RestartPolicy, Ulimit,
};
pub use mounts::{BindOptions, Device, MountKind, MountPoint, MountSpec, TmpfsOptions, VolumeOptions};
pub use network::{
    EndpointSettings, HostPort, NetworkMode, NetworkSettings, NetworkingConfig, PortBindings, by_port,
    by_range,
};
pub use port::{Port, Ports, Protocol, in_ranges};
pub use requests::{
    AttachOptions, CheckpointRequest, ContainerUpdate, CreateRequest, Created, DiskUsage, ExecConfig,
    ExecStart, ExecState, Exit, Info, LogOptions, PathStat, Pruned, Tail, Top, Volume, VolumeRequest,
    VolumeUsage, WaitCondition,
};
