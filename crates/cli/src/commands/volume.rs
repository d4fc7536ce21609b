//! `hull volume`: create, list, remove and prune.

use crate::command::{Operands, command};
use crate::complain::{DONE, Outcome};
use crate::output;
use crate::session::Session;
use crate::table::{Listing, Row};
use crate::values::pairs;
use hull_api::wire::volume::{Volume, VolumeCreateRequest, VolumeList, VolumePruneResponse};

/// `hull volume create`.
pub(crate) mod create {
    use super::*;

    command! {
        names: ["volume create"], about: "Create a volume",
        usage: "[OPTIONS] [VOLUME]", operands: Operands::AtMost(1), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Driver of the volume
        #[arg(short, long, value_name = "string", default_value = "local")]
        driver: String,
        /// Set metadata on the volume
        #[arg(long, value_name = "list")]
        label: Vec<String>,
        /// Options of the driver
        #[arg(short, long, value_name = "map")]
        opt: Vec<String>,
    }

    async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
        let request = VolumeCreateRequest {
            cluster_volume_spec: None,
            driver: flags.driver,
            driver_opts: Some(pairs::map(&flags.opt)).filter(|options| !options.is_empty()),
            labels: Some(pairs::map(&flags.label)).filter(|labels| !labels.is_empty()),
            name: operands.into_iter().next().unwrap_or_default(),
        };
        let client = session.connect().await?;
        let volume: Volume = client.post(["volumes", "create"]).json(&request).read().await?;
        output::line(&volume.name)?;
        Ok(DONE)
    }
}

/// `hull volume ls`.
pub(crate) mod ls {
    use super::*;

    command! {
        names: ["volume ls", "volume list"], about: "List volumes",
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
        /// Show only names
        #[arg(short, long)]
        quiet: bool,
    }

    const TITLES: &[(&str, &str)] = &[
        ("Name", "VOLUME NAME"),
        ("Driver", "DRIVER"),
        ("Scope", "SCOPE"),
        ("Mountpoint", "MOUNTPOINT"),
        ("Links", "LINKS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
    ];

    async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
        let client = session.connect().await?;
        let filters = pairs::filters(&flags.filter);
        let call = client.get(["volumes"]);
        let call = call.query_if("filters", (!filters.is_empty()).then(|| filters.to_json()).as_deref());
        let mut volumes = call.read::<VolumeList>().await?.volumes;
        volumes.sort_by(|one, other| one.name.cmp(&other.name));
        if flags.quiet && flags.format.is_none() {
            volumes.iter().try_for_each(|volume| output::line(&volume.name))?;
            return Ok(DONE);
        }
        let rows = volumes.iter().map(row).collect();
        Listing { titles: TITLES, table: "{{.Driver}}\t{{.Name}}" }.show(flags.format.as_deref(), rows)?;
        Ok(DONE)
    }

    fn row(volume: &Volume) -> Row {
        Row::new()
            .with("Name", volume.name.as_str())
            .with("Driver", volume.driver.as_str())
            .with("Scope", volume.scope.as_str())
            .with("Mountpoint", volume.mountpoint.as_str())
            .with("Links", "N/A")
            .with("Size", "N/A")
            .with_labels(volume.labels.iter().flatten())
    }
}

/// `hull volume rm`.
pub(crate) mod rm {
    use super::*;
    use crate::complain::for_each;

    command! {
        names: ["volume rm", "volume remove"], about: "Remove volumes",
        usage: "[OPTIONS] VOLUME [VOLUME...]", operands: Operands::AtLeast(1), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Be content if it is not there
        #[arg(short, long)]
        force: bool,
    }

    async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
        let client = session.connect().await?;
        for_each(&operands, async |name| {
            client.delete(["volumes", &name]).flag("force", flags.force).status().await?;
            Ok(())
        })
        .await
    }
}

/// `hull volume prune`.
pub(crate) mod prune {
    use super::*;
    use crate::commands::prune::{self, PruneFlags};

    command! {
        names: ["volume prune"], about: "Remove volumes that no container uses",
        usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// Those with a name, too
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        prune: PruneFlags,
    }

    const WARNING: &str =
        "WARNING! This will remove anonymous local volumes not used by at least one container.";
    const ALL: &str = "WARNING! This will remove all local volumes not used by at least one container.";

    async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
        if !flags.prune.confirmed(if flags.all { ALL } else { WARNING })? {
            return Ok(DONE);
        }
        let client = session.connect().await?;
        let mut filters = flags.prune.filters();
        if flags.all {
            filters.add("all", "true");
        }
        let call =
            client.post(["volumes", "prune"]).query_if("filters", prune::parameter(&filters).as_deref());
        let removed: VolumePruneResponse = call.read().await?;
        prune::show(
            "Deleted Volumes:",
            removed.volumes_deleted.unwrap_or_default(),
            Some(removed.space_reclaimed),
        )?;
        Ok(DONE)
    }
}
