//! Whether the host's own mounts are as open as a bind asks for: mount_namespaces(7).

use std::path::{Path, PathBuf};

use hull_sys::Context;

use crate::create::is_at;
use crate::model::{Container, MountKind, MountPoint};
use crate::{Error, Result};

/// Refuses the start of a container whose mounts could not travel as it was asked for.
/// Where the daemon keeps its own, `root`, they follow only as far as they can: nobody may have asked for it.
pub(crate) fn check(container: &Container, root: &Path) -> Result<()> {
    let open = |mount: &&MountPoint| match mount.propagation.as_str() {
        "rslave" => !is_at(root, Path::new(&mount.source)),
        other => other.ends_with("shared") || other.ends_with("slave"),
    };
    let binds = container.mounts.iter().filter(|mount| mount.kind == MountKind::Bind);
    let wanted: Vec<_> = binds.filter(open).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let table = std::fs::read_to_string("/proc/self/mountinfo").on("read", "/proc/self/mountinfo")?;
    for mount in wanted {
        let source = std::fs::canonicalize(&mount.source).on("resolve", &mount.source)?;
        let Some((place, tags)) = mount_of(&table, &source) else { continue };
        let (needed, what) = match mount.propagation.ends_with("shared") {
            true => (&["shared:"][..], "a shared mount"),
            false => (&["shared:", "master:"][..], "a shared or slave mount"),
        };
        if !tags.iter().any(|tag| needed.iter().any(|prefix| tag.starts_with(prefix))) {
            return Err(Error::invalid(format!(
                "path {} is mounted on {} but it is not {what}",
                mount.source,
                place.display()
            )));
        }
    }
    Ok(())
}

/// The mount that a path is in, by a proc_pid_mountinfo(5): where it is, and its optional fields.
fn mount_of<'a>(table: &'a str, path: &Path) -> Option<(PathBuf, Vec<&'a str>)> {
    let read = |line: &'a str| {
        let mut fields = line.split(' ');
        let place = PathBuf::from(unescaped(fields.nth(4)?));
        let tags = fields.skip(1).take_while(|field| *field != "-").collect();
        Some((place, tags))
    };
    // Of two on one place the later covers the former.
    table.lines().filter_map(read).filter(|(place, _)| path.starts_with(place)).fold(
        None,
        |best: Option<(PathBuf, Vec<&str>)>, one| match best {
            Some(best) if best.0.as_os_str().len() > one.0.as_os_str().len() => Some(best),
            _ => Some(one),
        },
    )
}

/// Blanks and the like stand as octal numbers there.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (number, letter)| text.replace(number, letter))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_in_the_longest_and_last_mount() {
        let table = "1 0 8:1 / / rw shared:1 - ext4 /dev/a rw\n\
                     2 1 8:1 / /srv rw - ext4 /dev/a rw\n\
                     3 1 8:1 / /srv/a\\040b rw shared:7 master:2 - ext4 /dev/a rw\n\
                     4 1 8:1 / /srv rw master:9 - ext4 /dev/a rw\n";
        let found = |path: &str| mount_of(table, Path::new(path)).unwrap();
        assert_eq!(found("/etc"), ("/".into(), vec!["shared:1"]));
        assert_eq!(found("/srv/x"), ("/srv".into(), vec!["master:9"]));
        assert_eq!(found("/srv/a b/c"), ("/srv/a b".into(), vec!["shared:7", "master:2"]));
    }
}
