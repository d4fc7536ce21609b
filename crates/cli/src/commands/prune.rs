//! `hull container prune`, `hull image prune`, `hull system prune`, and what all commands of the kind share.

use crate::command::{Operands, command};
use crate::commands::rmi;
use crate::complain::{Complaint, DONE, Outcome};
use crate::human;
use crate::output;
use crate::session::Session;
use crate::values::pairs;
use hull_api::client::Client;
use hull_api::filters::Filters;
use hull_api::wire::container::ContainerPruneResponse;
use hull_api::wire::image::ImagePruneResponse;
use hull_api::wire::network::NetworkPruneResponse;
use hull_api::wire::volume::VolumePruneResponse;
use std::io::BufRead as _;

/// What every `prune` can be told.
#[derive(Debug, clap::Args)]
pub(crate) struct PruneFlags {
    /// Remove only what matches
    #[arg(long, value_name = "filter", value_parser = pairs::filter)]
    filter: Vec<(String, String)>,
    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

impl PruneFlags {
    /// The filters given.
    pub(crate) fn filters(&self) -> Filters {
        pairs::filters(&self.filter)
    }

    /// Whether the user wants it, having read the warning.
    pub(crate) fn confirmed(&self, warning: &str) -> Result<bool, Complaint> {
        if self.force {
            return Ok(true);
        }
        output::text(&format!("{warning}\nAre you sure you want to continue? [y/N] "))?;
        let mut answer = String::new();
        std::io::stdin().lock().read_line(&mut answer)?;
        Ok(["y", "yes"].contains(&answer.trim().to_lowercase().as_str()))
    }
}

/// The filters as a parameter.
pub(crate) fn parameter(filters: &Filters) -> Option<String> {
    (!filters.is_empty()).then(|| filters.to_json())
}

/// What was removed, and the space it took where that is known.
pub(crate) fn show(title: &str, removed: Vec<String>, space: Option<u64>) -> Result<(), Complaint> {
    if !removed.is_empty() {
        output::line(title)?;
        removed.iter().try_for_each(|name| output::line(name))?;
        output::line("")?;
    }
    if let Some(space) = space {
        output::line(&format!("Total reclaimed space: {}", human::size(space as i64, 4)))?;
    }
    Ok(())
}

async fn prune_images(
    client: &Client,
    all: bool,
    mut filters: Filters,
) -> Result<(Vec<String>, u64), Complaint> {
    filters.add("dangling", if all { "false" } else { "true" });
    let call = client.post(["images", "prune"]).query_if("filters", parameter(&filters).as_deref());
    let removed: ImagePruneResponse = call.read().await?;
    let lines = removed.images_deleted.iter().flatten().map(|item| rmi::line(item).to_lowercase());
    Ok((lines.collect(), removed.space_reclaimed))
}

async fn prune_containers(client: &Client, filters: &Filters) -> Result<ContainerPruneResponse, Complaint> {
    let call = client.post(["containers", "prune"]);
    Ok(call.query_if("filters", parameter(filters).as_deref()).read().await?)
}

/// `hull container prune`.
pub(crate) mod container {
    use super::*;

    command! {
        names: ["container prune"], about: "Remove all stopped containers",
        usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: PruneFlags
    }

    async fn run(flags: PruneFlags, _: Vec<String>, session: Session) -> Outcome {
        if !flags.confirmed("WARNING! This will remove all stopped containers.")? {
            return Ok(DONE);
        }
        let client = session.connect().await?;
        let removed = prune_containers(&client, &flags.filters()).await?;
        show(
            "Deleted Containers:",
            removed.containers_deleted.unwrap_or_default(),
            Some(removed.space_reclaimed),
        )?;
        Ok(DONE)
    }
}

/// `hull image prune`.
pub(crate) mod image {
    use super::*;

    command! {
        names: ["image prune"], about: "Remove images that have no name",
        usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// All that no container uses, not only those without a name
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        prune: PruneFlags,
    }

    async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
        let warning = match flags.all {
            true => "WARNING! This will remove all images without at least one container associated to them.",
            false => "WARNING! This will remove all dangling images.",
        };
        if !flags.prune.confirmed(warning)? {
            return Ok(DONE);
        }
        let client = session.connect().await?;
        let (removed, space) = prune_images(&client, flags.all, flags.prune.filters()).await?;
        show("Deleted Images:", removed, Some(space))?;
        Ok(DONE)
    }
}

/// `hull system prune`.
pub(crate) mod system {
    use super::*;

    command! {
        names: ["system prune"], about: "Remove what is not used",
        usage: "[OPTIONS]", operands: Operands::Exactly(0), flags: Flags
    }

    #[derive(Debug, clap::Args)]
    struct Flags {
        /// All images that no container uses, not only those without a name
        #[arg(short, long)]
        all: bool,
        #[command(flatten)]
        prune: PruneFlags,
        /// Anonymous volumes, too
        #[arg(long)]
        volumes: bool,
    }

    async fn run(flags: Flags, _: Vec<String>, session: Session) -> Outcome {
        let mut warning = "WARNING! This will remove:\n  - all stopped containers\n  \
                           - all networks not used by at least one container\n"
            .to_owned();
        if flags.volumes {
            warning.push_str("  - all anonymous volumes not used by at least one container\n");
        }
        warning.push_str(match flags.all {
            true => "  - all images without at least one container associated to them\n",
            false => "  - all dangling images\n",
        });
        if !flags.prune.confirmed(&warning)? {
            return Ok(DONE);
        }
        let client = session.connect().await?;
        let filters = flags.prune.filters();
        let containers = prune_containers(&client, &filters).await?;
        let mut space = containers.space_reclaimed;
        show("Deleted Containers:", containers.containers_deleted.unwrap_or_default(), None)?;
        let call = client.post(["networks", "prune"]).query_if("filters", parameter(&filters).as_deref());
        let networks: NetworkPruneResponse = call.read().await?;
        show("Deleted Networks:", networks.networks_deleted.unwrap_or_default(), None)?;
        if flags.volumes {
            let call = client.post(["volumes", "prune"]).query_if("filters", parameter(&filters).as_deref());
            let volumes: VolumePruneResponse = call.read().await?;
            space += volumes.space_reclaimed;
            show("Deleted Volumes:", volumes.volumes_deleted.unwrap_or_default(), None)?;
        }
        let (images, of_images) = prune_images(&client, flags.all, filters).await?;
        show("Deleted Images:", images, Some(space + of_images))?;
        Ok(DONE)
    }
}
