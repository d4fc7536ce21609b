//! Images, as far as containers and events have to do with them; the store itself is [`hull_image`].

use std::collections::BTreeMap;

use hull_image::{Auth, Image, ImageStore, Import, Loaded, Progress, Pruned, Removed, Sink, Use};
use hull_oci::{Digest, Platform, Reference};
use tokio::io::{AsyncRead, DuplexStream};

use crate::create::merge;
use crate::events::EventKind;
use crate::model::{Container, ContainerConfig, Status};
use crate::{Engine, Error, Kind, Result};

/// Bytes between the archive's writer and the client.
const PIPE: usize = 256 << 10;

/// A container's changes, to become an image.
#[derive(Debug, Clone, Default)]
pub struct CommitRequest {
    /// Name or id of the container.
    pub container: String,
    /// The name of the new image.
    pub target: Option<Reference>,
    /// A remark.
    pub comment: String,
    /// Who.
    pub author: String,
    /// Freeze the container meanwhile.
    pub pause: bool,
    /// Dockerfile instructions, applied to the configuration.
    pub changes: Vec<String>,
    /// The container's configuration, as documents of images keep it.
    pub container_config: serde_json::Value,
}

impl Engine {
    /// The store, for what changes nothing.
    pub fn images(&self) -> &ImageStore {
        &self.images
    }

    /// Pulls one image.
    pub async fn image_pull(
        &self,
        name: &Reference,
        platform: Option<Platform>,
        auth: Auth,
        progress: Sink,
    ) -> Result<()> {
        let pulled = self.images.pull(name, platform, auth, progress.clone()).await?;
        let familiar = name.clone().with_default_tag().familiar();
        progress.send(Progress::message(outcome(&familiar, pulled.newer)));
        self.emit_image(&familiar, &name.familiar_name(), "pull");
        Ok(())
    }

    /// Pulls every tag of a repository, one after the other; what came of it is told once.
    pub async fn image_pull_all(
        &self,
        name: &Reference,
        platform: Option<Platform>,
        auth: Auth,
        progress: Sink,
    ) -> Result<()> {
        let mut newer = false;
        for tag in self.images.remote_tags(name, auth.clone()).await? {
            let tagged =
                Reference::parse(&format!("{name}:{tag}")).map_err(|why| Error::invalid(why.to_string()))?;
            newer |= self.images.pull(&tagged, platform.clone(), auth.clone(), progress.clone()).await?.newer;
        }
        progress.send(Progress::message(outcome(&name.familiar(), newer)));
        self.emit_image(&name.familiar(), &name.familiar_name(), "pull");
        Ok(())
    }

    /// Pushes an image, or all tags of a repository.
    pub async fn image_push(
        &self,
        name: &Reference,
        platform: Option<Platform>,
        auth: Auth,
        progress: Sink,
    ) -> Result<()> {
        self.images.push(name, platform, auth, progress).await?;
        self.emit_image(&name.familiar(), &name.familiar_name(), "push");
        Ok(())
    }

    /// Reads an archive of images.
    pub async fn image_load(
        &self,
        archive: impl AsyncRead + Send + Unpin + 'static,
        platforms: Vec<Platform>,
        progress: Sink,
    ) -> Result<Vec<Loaded>> {
        let loaded = self.images.load(archive, platforms, progress).await?;
        for image in &loaded {
            self.emit_itself(&image.id, "load");
        }
        Ok(loaded)
    }

    /// An archive of images. It is cut short where an image cannot be read.
    pub fn image_save(&self, names: Vec<String>, platforms: Vec<Platform>) -> DuplexStream {
        let (writer, reader) = tokio::io::duplex(PIPE);
        let images = self.images.clone();
        for image in names.iter().filter_map(|name| images.get(name).ok()) {
            self.emit_itself(&image.id, "save");
        }
        tokio::spawn(async move {
            if let Err(why) = images.save(&names, platforms, writer).await {
                tracing::warn!("save {}: {why}", names.join(" "));
            }
        });
        reader
    }

    /// Makes an image of a root file system's archive.
    pub async fn image_import(
        &self,
        import: Import,
        archive: impl AsyncRead + Send + Unpin + 'static,
    ) -> Result<Digest> {
        let name = import.reference.clone().map(Reference::with_default_tag);
        let id = self.images.import(import, archive).await?;
        if let Some(name) = name {
            self.emit_image(&id.to_string(), &name.familiar(), "tag");
        }
        self.emit_itself(&id, "import");
        Ok(id)
    }

    /// Gives an image a name.
    pub async fn image_tag(&self, name: &str, target: &Reference) -> Result<()> {
        let (_, id) = self.images.tag(name, target).await?;
        self.emit_image(&id.to_string(), &target.clone().with_default_tag().familiar(), "tag");
        Ok(())
    }

    /// Removes a name, and with the last one the image.
    pub async fn image_remove(&self, name: &str, force: bool, keep_parents: bool) -> Result<Vec<Removed>> {
        let removed = self.images.remove(name, force, keep_parents, self.image_uses()).await?;
        self.emit_removed(&removed);
        Ok(removed)
    }

    /// Removes the images for some platforms, where the name has others, too.
    pub async fn image_remove_platforms(
        &self,
        name: &str,
        platforms: Vec<Platform>,
        force: bool,
    ) -> Result<Vec<Removed>> {
        let removed = self.images.remove_platforms(name, platforms, force, self.image_uses()).await?;
        self.emit_removed(&removed);
        Ok(removed)
    }

    /// Removes the images that no container uses and that `wanted` says: the untagged, or `all`.
    pub async fn images_prune(
        &self,
        all: bool,
        wanted: impl Fn(&Image) -> bool + Send + 'static,
    ) -> Result<Pruned> {
        let pruned = self.images.prune(all, wanted, self.image_uses()).await?;
        self.emit_removed(&pruned.removed);
        let attributes = [("reclaimed".to_owned(), pruned.reclaimed.to_string())];
        self.events.emit(EventKind::Image, "prune", "", attributes.into());
        Ok(pruned)
    }

    /// Makes an image of what a container changed, with the container's configuration or `config`.
    pub async fn commit(&self, request: CommitRequest, config: Option<ContainerConfig>) -> Result<Digest> {
        let container = self.container(&request.container)?;
        refuse_half_gone(&container)?;
        let config = match config {
            Some(own) => merge::on_top(own, &container.config),
            None => container.config.clone(),
        };
        let mounts = self.snapshots.mounts(&container.id)?;
        let target = request.target.map(Reference::with_default_tag);
        let commit = hull_image::Commit {
            parent: Digest::parse(&container.image_id).ok(),
            mounts,
            config: image_config(&config),
            changes: request.changes,
            reference: target.clone(),
            author: request.author,
            comment: request.comment.clone(),
            container: container.id.clone(),
            container_config: request.container_config,
            created_by: [std::slice::from_ref(&container.path), &container.args].concat().join(" "),
        };
        let frozen = request.pause
            && container.state.status == Status::Running
            && self.pause_unless_ended(&container.id).await?;
        let outcome = self.images.commit(commit).await;
        if frozen {
            // One that was killed meanwhile is not paused any more.
            let thawed = self.unpause(&container.id).await;
            thawed.or_else(|why| if why.kind == Kind::Conflict { Ok(()) } else { Err(why) })?;
        }
        let id = outcome?;
        self.emit_itself(&id, "create");
        let named = target.map(|target| target.familiar());
        if let Some(name) = &named {
            self.emit_image(&id.to_string(), name, "tag");
        }
        let facts = [
            ("comment", request.comment),
            ("imageID", id.to_string()),
            ("imageRef", named.unwrap_or_default()),
        ];
        self.emit_with(&container, "commit", facts.map(|(name, fact)| (name.to_owned(), fact)));
        Ok(id)
    }

    /// Which image each container stands on.
    fn image_uses(&self) -> Vec<Use> {
        let containers = self.containers();
        let uses = containers.iter().flat_map(|container| {
            let own = Digest::parse(&container.image_id).ok();
            let own = own.map(|image| (image, container.state.status.is_running()));
            // A mounted image can go by force: its layers stay.
            let mounted = container.image_mounts().filter_map(|(_, mount)| {
                let image = self.images.get(&mount.name).ok()?;
                (*image.chain_ids == *mount.layers).then_some((image.id, false))
            });
            let used = mounted.chain(own);
            used.map(|(image, running)| Use { image, container: container.id.clone(), running })
        });
        uses.collect()
    }

    fn emit_removed(&self, removed: &[Removed]) {
        for step in removed {
            match step {
                Removed::Untagged { image, labels: Some(labels), .. } => {
                    let mut attributes = labels.clone();
                    attributes.insert("name".to_owned(), image.to_string());
                    self.events.emit(EventKind::Image, "untag", &image.to_string(), attributes);
                }
                Removed::Untagged { .. } => {}
                Removed::Deleted(id) => self.emit_itself(id, "delete"),
                Removed::DeletedLayer(_) => {}
            }
        }
    }

    /// Tells that `action` happened to an image as such, whatever its names are.
    fn emit_itself(&self, image: &Digest, action: &str) {
        let id = image.to_string();
        self.emit_image(&id, &id, action);
    }

    /// Tells that `action` happened to an image, with its labels and the name that was used.
    fn emit_image(&self, id: &str, name: &str, action: &str) {
        let labels = self.images.get(id).ok().and_then(|image| image.config.config.labels.clone());
        let mut attributes: BTreeMap<String, String> = labels.unwrap_or_default();
        attributes.insert("name".to_owned(), name.to_owned());
        self.events.emit(EventKind::Image, action, id, attributes);
    }
}

/// The last line of a pull.
fn outcome(name: &str, newer: bool) -> String {
    match newer {
        true => format!("Status: Downloaded newer image for {name}"),
        false => format!("Status: Image is up to date for {name}"),
    }
}

fn refuse_half_gone(container: &Container) -> Result<()> {
    let why = match container.state.status {
        Status::Dead => "Dead",
        Status::Removing => "being removed",
        _ => return Ok(()),
    };
    Err(Error::conflict(format!("You cannot commit container {} which is {why}", container.id)))
}

/// The part of a container's configuration that its image has, too.
fn image_config(config: &ContainerConfig) -> hull_image::Config {
    let set = |keys: Vec<String>| match keys.is_empty() {
        true => None,
        false => Some(keys.into_iter().map(|key| (key, hull_image::Empty {})).collect()),
    };
    hull_image::Config {
        user: config.user.clone(),
        exposed_ports: set(config
            .exposed_ports
            .iter()
            .flat_map(|ports| ports.each())
            .map(|port| port.to_string())
            .collect()),
        env: config.env.clone(),
        entrypoint: config.entrypoint.clone().filter(|words| !words.is_empty()),
        cmd: config.cmd.clone().filter(|words| !words.is_empty()),
        healthcheck: config.healthcheck.as_ref().map(image_healthcheck),
        args_escaped: config.args_escaped,
        volumes: set(config.volumes.iter().cloned().collect()),
        working_dir: config.working_dir.clone(),
        on_build: config.on_build.clone(),
        labels: Some(config.labels.clone()).filter(|labels| !labels.is_empty()),
        stop_signal: config.stop_signal.clone(),
        shell: config.shell.clone(),
        ..hull_image::Config::default()
    }
}

fn image_healthcheck(check: &crate::model::Healthcheck) -> hull_image::Healthcheck {
    let nanoseconds = |span: std::time::Duration| i64::try_from(span.as_nanos()).unwrap_or(i64::MAX);
    hull_image::Healthcheck {
        test: check.test.clone(),
        interval: nanoseconds(check.interval),
        timeout: nanoseconds(check.timeout),
        start_period: nanoseconds(check.start_period),
        start_interval: nanoseconds(check.start_interval),
        retries: i64::from(check.retries),
    }
}
