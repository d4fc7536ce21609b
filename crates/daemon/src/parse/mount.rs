//! `--mount`, both ways.

use hull_api::wire::mount as wire;
use hull_engine::{Error, model};

use crate::call::invalid;

/// A mount asked for.
pub(crate) fn spec(mount: wire::Mount) -> Result<model::MountSpec, Error> {
    Ok(model::MountSpec {
        kind: kind(&mount.kind)?,
        source: mount.source,
        target: mount.target,
        read_only: mount.read_only,
        consistency: mount.consistency,
        bind: mount.bind_options.map(|bind| model::BindOptions {
            propagation: bind.propagation,
            non_recursive: bind.non_recursive,
            create_mountpoint: bind.create_mountpoint,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force_recursive: bind.read_only_force_recursive,
        }),
        volume: mount.volume_options.map(|volume| {
            let given = volume.driver_config.is_some();
            let driver = volume.driver_config.unwrap_or_default();
            model::VolumeOptions {
                no_copy: volume.no_copy,
                labels: volume.labels,
                subpath: volume.subpath,
                driver: driver.name,
                driver_opts: driver.options,
                driver_given: given,
            }
        }),
        tmpfs: mount.tmpfs_options.map(|tmpfs| model::TmpfsOptions {
            size_bytes: tmpfs.size_bytes,
            mode: tmpfs.mode,
            options: tmpfs.options,
        }),
        image_subpath: mount.image_options.map(|image| image.subpath),
    })
}

fn kind(name: &str) -> Result<model::MountKind, Error> {
    match name {
        "bind" => Ok(model::MountKind::Bind),
        "volume" => Ok(model::MountKind::Volume),
        "tmpfs" => Ok(model::MountKind::Tmpfs),
        "image" => Ok(model::MountKind::Image),
        "npipe" => Ok(model::MountKind::NamedPipe),
        "cluster" => Ok(model::MountKind::Cluster),
        other => Err(invalid(format!("invalid mount config for type \"{other}\": mount type unknown"))),
    }
}

/// The same as inspect shows it.
pub(crate) fn wire_spec(mount: &model::MountSpec) -> wire::Mount {
    wire::Mount {
        kind: mount.kind.name().to_owned(),
        source: mount.source.clone(),
        target: mount.target.clone(),
        read_only: mount.read_only,
        consistency: mount.consistency.clone(),
        bind_options: mount.bind.as_ref().map(|bind| wire::BindOptions {
            propagation: bind.propagation.clone(),
            non_recursive: bind.non_recursive,
            create_mountpoint: bind.create_mountpoint,
            read_only_non_recursive: bind.read_only_non_recursive,
            read_only_force_recursive: bind.read_only_force_recursive,
        }),
        volume_options: mount.volume.as_ref().map(|volume| wire::VolumeOptions {
            no_copy: volume.no_copy,
            labels: volume.labels.clone(),
            subpath: volume.subpath.clone(),
            driver_config: volume
                .driver_given
                .then(|| wire::Driver { name: volume.driver.clone(), options: volume.driver_opts.clone() }),
        }),
        image_options: mount.image_subpath.clone().map(|subpath| wire::ImageOptions { subpath }),
        tmpfs_options: mount.tmpfs.as_ref().map(|tmpfs| wire::TmpfsOptions {
            size_bytes: tmpfs.size_bytes,
            mode: tmpfs.mode,
            options: tmpfs.options.clone(),
        }),
    }
}

/// A mount of an existing container.
pub(crate) fn wire_point(mount: &model::MountPoint) -> wire::MountPoint {
    wire::MountPoint {
        kind: mount.kind.name().to_owned(),
        name: mount.name.clone(),
        source: mount.source.clone(),
        destination: mount.destination.clone(),
        driver: mount.driver.clone(),
        mode: mount.mode.clone(),
        rw: mount.rw,
        propagation: match mount.kind {
            model::MountKind::Image => "rprivate".to_owned(),
            _ => mount.propagation.clone(),
        },
    }
}
