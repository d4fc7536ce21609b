//! `hull images`.

use crate::command::{Operands, command};
use crate::complain::{Complaint, DONE, Outcome};
use crate::human;
use crate::output;
use crate::session::Session;
use crate::table::{Listing, Row};
use crate::values::pairs;
use hull_api::wire::image::ImageSummary;

command! {
    names: ["image ls", "image list", "images"], about: "List images",
    usage: "[OPTIONS] [REPOSITORY[:TAG]]", operands: Operands::AtMost(1), flags: Flags
}

#[derive(Debug, clap::Args)]
struct Flags {
    /// Show intermediate images, too
    #[arg(short, long)]
    all: bool,
    /// Show digests
    #[arg(long)]
    digests: bool,
    /// Show those that match
    #[arg(short, long, value_name = "filter", value_parser = pairs::filter)]
    filter: Vec<(String, String)>,
    /// Show by 'table', 'table TEMPLATE', 'json' or a Go template
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Cut nothing off
    #[arg(long)]
    no_trunc: bool,
    /// Show only IDs
    #[arg(short, long)]
    quiet: bool,
    /// Not supported yet
    #[arg(long)]
    tree: bool,
}

const TITLES: &[(&str, &str)] = &[
    ("ID", "IMAGE ID"),
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("Containers", "CONTAINERS"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("VirtualSize", "SIZE"),
];

async fn run(flags: Flags, operands: Vec<String>, session: Session) -> Outcome {
    if flags.tree {
        return Err(Complaint::new("hull: 'images --tree' is not supported yet"));
    }
    let client = session.connect().await?;
    let mut filters = pairs::filters(&flags.filter);
    if let Some(name) = operands.first() {
        filters.add("reference", name);
    }
    let call = client.get(["images", "json"]).flag("all", flags.all);
    let call = call.query_if("filters", (!filters.is_empty()).then(|| filters.to_json()).as_deref());
    let mut images: Vec<ImageSummary> = call.read().await?;
    images.sort_by_key(|image| std::cmp::Reverse(image.created));
    if flags.quiet && flags.format.is_none() {
        for image in &images {
            // One line for each of its names, as the table has.
            for _ in 0..lines(image, flags.digests).len() {
                output::line(shown_id(&image.id, flags.no_trunc))?;
            }
        }
        return Ok(DONE);
    }
    let table = match flags.digests {
        true => "{{.Repository}}\t{{.Tag}}\t{{.Digest}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
        false => "{{.Repository}}\t{{.Tag}}\t{{.ID}}\t{{.CreatedSince}}\t{{.Size}}",
    };
    let asks_digest = flags.digests || flags.format.as_ref().is_some_and(|format| format.contains(".Digest"));
    let rows = images
        .iter()
        .flat_map(|image| lines(image, asks_digest).into_iter().map(move |name| (image, name)))
        .map(|(image, name)| row(image, &name, flags.no_trunc))
        .collect();
    Listing { titles: TITLES, table }.show(flags.format.as_deref(), rows)?;
    Ok(DONE)
}

fn shown_id(id: &str, whole: bool) -> &str {
    if whole { id } else { human::short_id(id) }
}

/// A name of an image: repository, tag, digest.
#[derive(Debug, PartialEq, Eq)]
struct Name {
    repository: String,
    tag: String,
    digest: String,
}

/// The lines of one image: one for each tag, with the repository's digest beside it; one for each digest without a
/// tag if digests are shown; and one without a name if it has none.
fn lines(image: &ImageSummary, with_digests: bool) -> Vec<Name> {
    let none = || "<none>".to_owned();
    let digests: Vec<(&str, &str)> =
        image.repo_digests.iter().filter_map(|text| text.split_once('@')).collect();
    let tags: Vec<(&str, &str)> = image
        .repo_tags
        .iter()
        .filter_map(|text| text.rsplit_once(':'))
        .filter(|(repository, _)| *repository != "<none>")
        .collect();
    let mut lines: Vec<Name> = tags
        .iter()
        .map(|(repository, tag)| {
            let digest =
                digests.iter().find(|(of, _)| of == repository).map(|(_, digest)| (*digest).to_owned());
            Name {
                repository: (*repository).to_owned(),
                tag: (*tag).to_owned(),
                digest: digest.unwrap_or_else(none),
            }
        })
        .collect();
    let untagged = digests
        .iter()
        .filter(|(of, _)| *of != "<none>" && !tags.iter().any(|(repository, _)| repository == of));
    let mut untagged = untagged.map(|(repository, digest)| Name {
        repository: (*repository).to_owned(),
        tag: none(),
        digest: (*digest).to_owned(),
    });
    if with_digests {
        lines.extend(untagged);
    } else if lines.is_empty() {
        lines.extend(untagged.next());
    }
    if lines.is_empty() {
        lines.push(Name { repository: none(), tag: none(), digest: none() });
    }
    lines
}

fn row(image: &ImageSummary, name: &Name, whole: bool) -> Row {
    let counted = |number: i64, shown: String| if number < 0 { "N/A".to_owned() } else { shown };
    let unique = if image.shared_size < 0 { -1 } else { image.size - image.shared_size };
    Row::new()
        .with("ID", shown_id(&image.id, whole))
        .with("Repository", name.repository.as_str())
        .with("Tag", name.tag.as_str())
        .with("Digest", name.digest.as_str())
        .with("CreatedSince", human::ago(image.created))
        .with("CreatedAt", human::local_time(image.created))
        .with("Size", human::size(image.size, 3))
        .with("VirtualSize", human::size(image.size, 4))
        .with("Containers", counted(image.containers, image.containers.to_string()))
        .with("SharedSize", counted(image.shared_size, human::size(image.shared_size, 3)))
        .with("UniqueSize", counted(unique, human::size(unique, 3)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(tags: &[&str], digests: &[&str]) -> ImageSummary {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        ImageSummary { repo_tags: owned(tags), repo_digests: owned(digests), ..ImageSummary::default() }
    }

    fn shown(image: &ImageSummary, with_digests: bool) -> Vec<String> {
        lines(image, with_digests)
            .iter()
            .map(|n| format!("{} {} {}", n.repository, n.tag, n.digest))
            .collect()
    }

    #[test]
    fn an_image_has_a_line_for_each_name() {
        let two = image(&["a:1", "localhost:5000/b:2"], &["a@sha256:0"]);
        assert_eq!(shown(&two, false), ["a 1 sha256:0", "localhost:5000/b 2 <none>"]);
        assert_eq!(shown(&image(&[], &[]), false), ["<none> <none> <none>"]);
        assert_eq!(shown(&image(&["<none>:<none>"], &["<none>@<none>"]), true), ["<none> <none> <none>"]);
        assert_eq!(shown(&image(&[], &["a@sha256:0"]), false), ["a <none> sha256:0"]);
    }
}
