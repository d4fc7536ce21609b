//! `/images` and `/commit`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream;
use http::StatusCode;
use hull_api::wire::IdResponse;
use hull_api::wire::container::ContainerConfig;
use hull_api::wire::image::ImagePruneResponse;
use hull_api::wire::progress::Message;
use hull_engine::{Error, ImageImport, Kind};
use hull_image::{Image, Progress, Sink};
use hull_oci::{Digest, Platform, Reference};
use tokio::io::AsyncRead;
use tokio::sync::mpsc;

use super::transfer::body_reader;
use crate::Daemon;
use crate::call::{Call, Outcome, Query, invalid, json, ok, spoken, status, streamed};
use crate::{parse, render, streams};

pub(super) async fn inspect(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let with_manifests = call.since(48) && call.query().flag("manifests");
    let platform = if call.since(49) { parse::oci_platform(call.query(), "platform")? } else { None };
    if with_manifests && platform.is_some() {
        return Err(invalid("conflicting options: manifests and platform options cannot both be set"));
    }
    let image = daemon.engine.images().get_for(call.param("name"), platform.as_ref())?;
    provides(&daemon, &image, call.param("name"), platform.as_slice())?;
    let mut inspected = render::image_inspect(&image, daemon.engine.places_of_image(&image).as_ref());
    if with_manifests {
        let listed = daemon.engine.images().manifests(&image)?;
        inspected.descriptor = Some(render::image_target(&image));
        inspected.manifests = Some(render::manifests(&listed, &users(&daemon), false));
    }
    spoken(call.version, inspected)
}

/// By image: the ids of its containers.
pub(super) fn users(daemon: &Daemon) -> BTreeMap<String, Vec<String>> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for container in daemon.engine.containers() {
        users.entry(container.image_id.clone()).or_default().push(container.id.clone());
    }
    users
}

/// Refuses a name that has no image for one of the platforms asked for.
fn provide(daemon: &Daemon, name: &str, platforms: &[Platform]) -> Result<(), Error> {
    platforms.iter().try_for_each(|platform| {
        let image = daemon.engine.images().get_for(name, Some(platform))?;
        provides(daemon, &image, name, std::slice::from_ref(platform))
    })
}

/// Refuses an image that is for none of the platforms asked for.
fn provides(daemon: &Daemon, image: &Image, name: &str, platforms: &[Platform]) -> Result<(), Error> {
    let offered = image.platform();
    let Some(wanted) = platforms.iter().find(|wanted| !wanted.matches(&offered)) else { return Ok(()) };
    let listed = daemon.engine.images().manifests(image)?;
    let why = match listed.iter().filter(|one| one.available && one.image.is_some()).count() {
        0 | 1 => format!("its platform ({offered}) does not match the specified platform ({wanted})"),
        _ => format!("does not provide the specified platform ({wanted})"),
    };
    Err(Error::not_found(format!("image with reference {name} was found but {why}")))
}

pub(super) async fn history(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let platform = if call.since(48) { parse::oci_platform(call.query(), "platform")? } else { None };
    let entries = daemon.engine.images().history(call.param("name"), platform.as_ref())?;
    provide(&daemon, call.param("name"), platform.as_slice())?;
    ok(&entries.iter().map(render::history).collect::<Vec<_>>())
}

pub(super) async fn tag(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let Some(target) = repo_tag(call.query())? else { return Err(invalid("invalid reference format")) };
    if target.familiar_name() == "sha256" {
        return Err(invalid("refusing to create an ambiguous tag using digest algorithm as name"));
    }
    daemon.engine.image_tag(call.param("name"), &target).await?;
    status(StatusCode::CREATED)
}

pub(super) async fn remove(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let name = call.param("name");
    if name.trim().is_empty() {
        return Err(invalid("image name cannot be blank"));
    }
    let (force, keep_parents) = (call.query().flag("force"), call.query().flag("noprune"));
    let platforms =
        if call.since(50) { parse::oci_platforms(call.query(), "platforms")? } else { Vec::new() };
    provide(&daemon, name, &platforms)?;
    let removed = match platforms.is_empty() {
        true => daemon.engine.image_remove(name, force, keep_parents).await?,
        false => daemon.engine.image_remove_platforms(name, platforms, force).await?,
    };
    ok(&removed.iter().map(render::removed).collect::<Vec<_>>())
}

pub(super) async fn prune(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let filters = parse::filters(call.query(), &["dangling", "label", "label!", "until"])?;
    let dangling = filters.flag("dangling").map_err(|why| invalid(why.to_string()))?.unwrap_or(true);
    let until = parse::single_until(&filters)?;
    let wanted = move |image: &Image| {
        let labels = image.config.config.labels.clone().unwrap_or_default();
        filters.matches_labels("label", &labels)
            && (!filters.has("label!") || !filters.matches_labels("label!", &labels))
            && until.is_none_or(|until| image.created() < until)
    };
    let pruned = daemon.engine.images_prune(!dangling, wanted).await?;
    let deleted: Vec<_> = pruned.removed.iter().map(render::removed).collect();
    let steps = deleted.iter().map(|item| match item.untagged.as_str() {
        "" => (item.deleted.clone(), "deleted"),
        name => (name.to_owned(), "untagged"),
    });
    let steps: Vec<_> = steps.collect();
    let report = ImagePruneResponse {
        images_deleted: Some(deleted).filter(|list| !list.is_empty()),
        space_reclaimed: pruned.reclaimed,
    };
    call.pruned(&report, steps)
}

/// `docker pull` (`fromImage`) and `docker import` (`fromSrc`).
pub(super) async fn create(daemon: Arc<Daemon>, call: Call) -> Outcome {
    match (call.query().get("fromImage"), call.query().get("fromSrc")) {
        (Some(name), _) => {
            let name = name.to_owned();
            pull(daemon, &call, &name).await
        }
        (None, Some("-")) => {
            let import = import_request(&call, "-")?;
            imported(daemon, import, body_reader(call)).await
        }
        (None, Some(url)) => {
            let import = import_request(&call, url)?;
            let archive = daemon.engine.images().download(&import.source).await?;
            imported(daemon, import, archive).await
        }
        (None, None) => Err(invalid("fromImage or fromSrc must be given")),
    }
}

async fn pull(daemon: Arc<Daemon>, call: &Call, name: &str) -> Outcome {
    let query = call.query();
    // `pull -a` of old clients ends in a colon.
    let (name, tag) = (name.strip_suffix(':').unwrap_or(name), query.get("tag"));
    let all_tags = tag.is_none() && !has_tag(name);
    let reference = reference(name, tag)?;
    if reference.familiar_name() == "scratch" {
        return Err(Error::new(Kind::Forbidden, "'scratch' is a reserved name"));
    }
    let platform = if call.since(32) { parse::platform(query)? } else { None };
    let auth = parse::registry_auth(&call.headers);
    progress_stream(move |sink| async move {
        let engine = &daemon.engine;
        match all_tags {
            true => engine.image_pull_all(&reference, platform, auth, sink).await,
            false => engine.image_pull(&reference, platform, auth, sink).await,
        }
    })
    .await
}

fn has_tag(name: &str) -> bool {
    name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// A name with the tag or the digest that came beside it, in the place of its own.
fn reference(name: &str, tag: Option<&str>) -> Result<Reference, Error> {
    let wrong = |why: String| invalid(why);
    let named = Reference::parse(name).map_err(|why| wrong(why.to_string()))?;
    let Some(tag) = tag else { return Ok(named) };
    match Digest::parse(tag) {
        Ok(digest) => Ok(named.with_digest(digest)),
        Err(_) => named.with_tag(tag).map_err(|_| wrong("invalid tag format".to_owned())),
    }
}

/// The name that `repo` and `tag` make for a new image; none without `repo`.
fn repo_tag(query: &Query) -> Result<Option<Reference>, Error> {
    let Some(repo) = query.get("repo") else { return Ok(None) };
    let named = reference(repo, None)?;
    if named.digest().is_some() {
        return Err(invalid("cannot import digest reference"));
    }
    match query.get("tag") {
        Some(tag) => named.with_tag(tag).map(Some).map_err(|_| invalid("invalid tag format")),
        None => Ok(Some(named.with_default_tag())),
    }
}

/// The platforms that an archive is to have; several since 1.52.
fn archive_platforms(call: &Call) -> Result<Vec<Platform>, Error> {
    if !call.since(48) {
        return Ok(Vec::new());
    }
    if !call.since(52) && call.query().all("platform").count() > 1 {
        return Err(invalid("multiple platform parameters not supported"));
    }
    match call.query().all("platform").all(str::is_empty) {
        true => Ok(Vec::new()),
        false => parse::oci_platforms(call.query(), "platform"),
    }
}

fn import_request(call: &Call, source: &str) -> Result<ImageImport, Error> {
    let query = call.query();
    Ok(ImageImport {
        reference: repo_tag(query)?,
        source: source.to_owned(),
        platform: if call.since(32) { parse::platform(query)? } else { None },
        message: query.get("message").unwrap_or("").to_owned(),
        changes: query.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
    })
}

async fn imported(
    daemon: Arc<Daemon>,
    import: ImageImport,
    archive: impl AsyncRead + Send + Unpin + 'static,
) -> Outcome {
    messages(move |sender| async move {
        if import.source != "-" {
            let status = format!("Downloading from {}", import.source);
            send(&sender, &Message { status, ..Message::default() });
        }
        match daemon.engine.image_import(import, archive).await {
            Ok(id) => send(&sender, &Message { status: id.to_string(), ..Message::default() }),
            Err(why) => fail(&sender, why),
        }
    })
    .await
}

pub(super) async fn push(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let reference = match call.query().get("tag") {
        Some(tag) => {
            reference(call.param("name"), None)?.with_tag(tag).map_err(|_| invalid("invalid tag format"))?
        }
        None => reference(call.param("name"), None)?,
    };
    let platform = if call.since(46) { parse::oci_platform(call.query(), "platform")? } else { None };
    provide(&daemon, &reference.familiar(), platform.as_slice())?;
    let auth = parse::registry_auth(&call.headers);
    progress_stream(
        move |sink| async move { daemon.engine.image_push(&reference, platform, auth, sink).await },
    )
    .await
}

pub(super) async fn load(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let platforms = archive_platforms(&call)?;
    let quiet = call.query().flag_or("quiet", true);
    let archive = body_reader(call);
    messages(move |sender| async move {
        let progress = sender.clone();
        let sink = Sink::new(move |step: Progress| {
            if !quiet {
                send(&progress, &render::progress(&step));
            }
        });
        match daemon.engine.image_load(archive, platforms, sink).await {
            Ok(loaded) => loaded.iter().for_each(|loaded| {
                for line in loaded.to_string().lines() {
                    send(&sender, &Message { stream: format!("{line}\n"), ..Message::default() });
                }
            }),
            Err(why) => send(&sender, &Message::failure(&why.message)),
        }
    })
    .await
}

pub(super) async fn save(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let names: Vec<String> = call.query().all("names").map(str::to_owned).collect();
    saved(&daemon, names, archive_platforms(&call)?)
}

pub(super) async fn save_one(daemon: Arc<Daemon>, call: Call) -> Outcome {
    saved(&daemon, vec![call.param("name").to_owned()], archive_platforms(&call)?)
}

/// An archive of images. Names are checked before the answer begins: afterwards an error can only cut it short.
fn saved(daemon: &Daemon, names: Vec<String>, platforms: Vec<Platform>) -> Outcome {
    if names.is_empty() {
        return Err(invalid("no images to save"));
    }
    daemon.engine.images().check_saved(&names)?;
    names.iter().try_for_each(|name| provide(daemon, name, &platforms))?;
    let archive = daemon.engine.image_save(names, platforms);
    Ok(streamed("application/x-tar", streams::chunks(archive)))
}

pub(super) async fn commit(daemon: Arc<Daemon>, call: Call) -> Outcome {
    let query = call.query();
    let target = repo_tag(query)?;
    let mut request = hull_engine::CommitRequest {
        container: query.get("container").unwrap_or("").to_owned(),
        container_config: serde_json::Value::Null,
        target,
        comment: query.get("comment").unwrap_or("").to_owned(),
        author: query.get("author").unwrap_or("").to_owned(),
        pause: query.flag_or("pause", true),
        changes: query.all("changes").flat_map(str::lines).map(str::to_owned).collect(),
    };
    // The body may change the configuration; today's clients send it empty.
    let body: ContainerConfig = call.json_or_default().await?;
    let config = (body != ContainerConfig::default()).then(|| parse::container_config(body)).transpose()?;
    let committed = parse::wire_config(&daemon.engine.container(&request.container)?.config);
    request.container_config = serde_json::to_value(committed).unwrap_or_default();
    let id = daemon.engine.commit(request, config).await?;
    json(StatusCode::CREATED, &IdResponse { id: id.to_string() })
}

/// Where a long request sends its lines, and at last perhaps an error.
type Lines = mpsc::UnboundedSender<Result<Bytes, Error>>;

/// Answers with one JSON line per message, made by `work`. An error before the first message is the answer; later it
/// can only be one more line.
async fn messages<F>(work: impl FnOnce(Lines) -> F) -> Outcome
where
    F: Future<Output = ()> + Send + 'static,
{
    let (sender, mut receiver) = mpsc::unbounded_channel();
    // Not tied to the answer: what was begun is finished when the client leaves, except what says otherwise.
    tokio::spawn(work(sender));
    let first = match receiver.recv().await {
        Some(Err(why)) => return Err(why),
        first => first,
    };
    let lines = stream::unfold((first, receiver), async |(first, mut receiver)| {
        let next = match first {
            Some(first) => first,
            None => receiver.recv().await?,
        };
        let line = next.unwrap_or_else(|why| line(&Message::failure(&why.message)));
        Some((Ok(line), (None, receiver)))
    });
    Ok(streamed("application/json", lines))
}

/// The same for what reports progress.
async fn progress_stream<F>(work: impl FnOnce(Sink) -> F + Send + 'static) -> Outcome
where
    F: Future<Output = Result<(), Error>> + Send + 'static,
{
    messages(move |sender| {
        let progress = sender.clone();
        let work = work(Sink::new(move |step: Progress| send(&progress, &render::progress(&step))));
        async move {
            tokio::select! {
                outcome = work => {
                    if let Err(why) = outcome {
                        fail(&sender, why);
                    }
                }
                // The client left, and with it goes what was begun.
                () = sender.closed() => {}
            }
        }
    })
    .await
}

// Where nobody listens any more, the work goes on or ends by itself.
fn send(lines: &Lines, message: &Message) {
    let _ = lines.send(Ok(line(message)));
}

fn fail(lines: &Lines, why: Error) {
    let _ = lines.send(Err(why));
}

fn line(message: &Message) -> Bytes {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.extend_from_slice(b"\r\n");
    Bytes::from(line)
}
