//! Which field of an answer belongs to which version of the API: the only place that says so.
//!
//! An answer is made with every field that any version has. [`Versioned::speak`] then takes away what the client's
//! version does not have: a version that is newer or older than a field gets its default, which is left out.

use super::container::{ContainerInspect, ContainerSummary};
use super::events::Event;
use super::image::{ImageConfig, ImageInspect, ImageSummary};
use super::network::Network;
use super::system::{DiskUsage, Info};
use crate::version::ApiVersion;

/// An answer that differs by version.
pub trait Versioned {
    /// Leaves of the answer what `version` has of it.
    fn speak(&mut self, version: ApiVersion);
}

/// Rows: `has`, a field and the minor versions that have it; `even_empty`, and the versions that show it when it is empty,
/// too; `within`, and the fields that have rows of their own; `also`, and what is no matter of being there.
macro_rules! versions {
    ($( $answer:ty {
        has { $( $($field:ident).+ => $has:expr, )* }
        $( even_empty { $( $($hollow:ident).+ => $shows:expr, )* } )?
        $( within { $( $($inner:ident).+ ),* } )?
        $( also $more:path; )?
    } )*) => { $(
        impl Versioned for $answer {
            fn speak(&mut self, version: ApiVersion) {
                $( if !($has).contains(&version.minor) { self.$($field).+ = Default::default(); } )*
                $( $( if !($shows).contains(&version.minor) { leave_out_empty(&mut self.$($hollow).+); } )* )?
                $( $( self.$($inner).+.speak(version); )* )?
                $( $more(self, version); )?
            }
        }
    )* };
}

versions! {
    ContainerSummary {
        has {
            host_config.annotations => 46..,
            image_manifest_descriptor => 48..,
            health => 52..,
        }
    }
    ContainerInspect {
        has {
            host_config.umask => 56..,
            image_manifest_descriptor => 48..,
            network_settings.of_bridge => ..52,
        }
        also short_id_as_alias;
    }
    ImageSummary {
        has {
            descriptor => 48..,
            manifests => 47..,
            virtual_size => ..44,
        }
        also names_in_place;
    }
    ImageInspect {
        has {
            descriptor => 48..,
            manifests => 48..,
            identity => 53..,
            virtual_size => ..44,
            container => ..45,
            container_config => ..45,
        }
        even_empty {
            created => ..44,
            parent => ..52,
            comment => ..52,
            docker_version => ..52,
            author => ..52,
        }
        within { config }
        also never_created;
    }
    ImageConfig {
        has {
            of_containers => ..50,
        }
        even_empty {
            user => ..52,
            working_dir => ..52,
            env => ..52,
            entrypoint => ..52,
            cmd => ..52,
            volumes => ..52,
            labels => ..52,
            on_build => ..52,
        }
    }
    Info {
        has {
            containerd => 46..,
            firewall_backend => 49..,
            discovered_devices => 50..,
            nri => 53..,
            registry_config.nondistributable => ..49,
            containerd_commit.expected => ..49,
            runc_commit.expected => ..49,
            init_commit.expected => ..49,
            bridge_nf => ..50,
        }
        also plainer_before;
    }
    Network {
        has {
            status => 52..,
        }
    }
    DiskUsage {
        has {
            image_usage => 52..,
            container_usage => 52..,
            volume_usage => 52..,
            build_cache_usage => 52..,
        }
        within { images, containers }
    }
    Event {
        has {
            status => ..52,
            id => ..52,
            from => ..52,
        }
    }
}

/// Up to 1.44 a container was known by its short id and its host name in its own networks.
fn short_id_as_alias(container: &mut ContainerInspect, version: ApiVersion) {
    if version.minor >= 45 {
        return;
    }
    let short = container.id.get(..12).unwrap_or(&container.id).to_owned();
    for (network, endpoint) in &mut container.network_settings.networks {
        if !matches!(network.as_str(), "bridge" | "host" | "none") {
            let aliases = endpoint.aliases.get_or_insert_default();
            for name in [&short, &container.config.hostname] {
                if !name.is_empty() && !aliases.contains(name) {
                    aliases.push(name.clone());
                }
            }
        }
    }
}

/// Up to 1.43 a runtime had no status, and up to 1.24 a security option nothing but its name.
fn plainer_before(info: &mut Info, version: ApiVersion) {
    if version.minor < 25 {
        for option in &mut info.security_options {
            let name = option.split(',').find_map(|part| part.strip_prefix("name="));
            *option = name.unwrap_or(option).to_owned();
        }
    }
    if version.minor < 44 {
        info.runtimes.values_mut().for_each(|runtime| runtime.status.clear());
    }
}

/// Up to 1.42 an image without names was called so in its place.
fn names_in_place(image: &mut ImageSummary, version: ApiVersion) {
    if version.minor < 43 && image.repo_tags.is_empty() && image.repo_digests.is_empty() {
        image.repo_tags.push("<none>:<none>".to_owned());
        image.repo_digests.push("<none>@<none>".to_owned());
    }
}

/// Up to 1.43 an image that does not say when it was created was so at Go's zero time.
fn never_created(image: &mut ImageInspect, version: ApiVersion) {
    if version.minor < 44 && image.created.as_ref().is_none_or(String::is_empty) {
        image.created = Some("0001-01-01T00:00:00Z".to_owned());
    }
}

/// A field whose emptiness may be shown.
trait Hollow {
    fn is_hollow(&self) -> bool;
}

impl Hollow for String {
    fn is_hollow(&self) -> bool {
        self.is_empty()
    }
}

impl<T> Hollow for Option<T> {
    fn is_hollow(&self) -> bool {
        self.is_none()
    }
}

fn leave_out_empty<T: Hollow>(field: &mut Option<T>) {
    if field.as_ref().is_some_and(Hollow::is_hollow) {
        *field = None;
    }
}

impl<T: Versioned> Versioned for Option<T> {
    fn speak(&mut self, version: ApiVersion) {
        if let Some(answer) = self {
            answer.speak(version);
        }
    }
}

impl<T: Versioned> Versioned for Vec<T> {
    fn speak(&mut self, version: ApiVersion) {
        self.iter_mut().for_each(|answer| answer.speak(version));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::image::EmptyContainerConfig;
    use crate::wire::network::EndpointSettings;
    use serde::Serialize;
    use serde_json::{Value, json};

    fn spoken<T: Versioned + Serialize>(mut answer: T, minor: u16) -> Value {
        answer.speak(ApiVersion::v1(minor));
        serde_json::to_value(answer).unwrap()
    }

    fn image() -> ImageInspect {
        ImageInspect {
            parent: Some(String::new()),
            virtual_size: Some(5),
            config: Some(ImageConfig {
                of_containers: Some(EmptyContainerConfig::default()),
                user: Some(String::new()),
                cmd: Some(None),
                env: Some(Some(vec!["A=1".to_owned()])),
                ..ImageConfig::default()
            }),
            ..ImageInspect::default()
        }
    }

    #[test]
    fn a_field_is_there_in_its_versions_only() {
        assert_eq!(spoken(image(), 43)["VirtualSize"], 5);
        assert_eq!(spoken(image(), 43)["Created"], "0001-01-01T00:00:00Z");
        assert!(spoken(image(), 44).get("VirtualSize").is_none());
        let old = spoken(image(), 49);
        assert_eq!(
            old["Config"],
            json!({"Hostname": "", "Domainname": "", "AttachStdin": false, "AttachStdout": false,
            "AttachStderr": false, "Tty": false, "OpenStdin": false, "StdinOnce": false, "Image": "", "User": "",
            "Env": ["A=1"], "Cmd": null})
        );
        assert_eq!(old["Parent"], "");
        assert_eq!(spoken(image(), 51)["Config"], json!({"User": "", "Env": ["A=1"], "Cmd": null}));
        let new = spoken(image(), 52);
        assert_eq!(new["Config"], json!({"Env": ["A=1"]}));
        assert!(new.get("Parent").is_none());
    }

    #[test]
    fn nameless_images_had_names() {
        let image = || ImageSummary { containers: 3, ..ImageSummary::default() };
        assert_eq!(spoken(image(), 42)["RepoTags"], json!(["<none>:<none>"]));
        assert_eq!(spoken(image(), 43)["RepoTags"], json!([]));
        assert_eq!(spoken(vec![image()], 51)[0]["Containers"], 3);
    }

    #[test]
    fn aliases_had_the_short_id() {
        let mut container =
            ContainerInspect { id: "0123456789abcdef".to_owned(), ..ContainerInspect::default() };
        container.config.hostname = "host".to_owned();
        for network in ["bridge", "mine"] {
            container.network_settings.networks.insert(network.to_owned(), EndpointSettings::default());
        }
        let old = spoken(container.clone(), 44);
        let networks = |shown: &Value| shown["NetworkSettings"]["Networks"].clone();
        assert_eq!(networks(&old)["mine"]["Aliases"], json!(["0123456789ab", "host"]));
        assert_eq!(networks(&old)["bridge"]["Aliases"], Value::Null);
        assert_eq!(networks(&spoken(container, 45))["mine"]["Aliases"], Value::Null);
    }

    #[test]
    fn the_flat_fields_of_a_bridge_are_old() {
        let mut container = ContainerInspect::default();
        container.network_settings.of_bridge = Some(Default::default());
        assert_eq!(spoken(container.clone(), 51)["NetworkSettings"]["IPAddress"], "");
        assert!(spoken(container, 52)["NetworkSettings"].get("IPAddress").is_none());
    }
}
