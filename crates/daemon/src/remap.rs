//! `userns-remap`: which ids of the host the users of containers get, by passwd(5) and subuid(5).
//!
//! Forms, as dockerd's: `default` (the user and group `dockremap`), `name[:group]`, `uid[:gid]`. The ranges of that user
//! and that group follow each other, from id 0 inside. A host without `dockremap` gets it, from its own programs.

use std::path::Path;
use std::process::{Command, Stdio};

use hull_engine::{IdRange, Remap};

/// The user that `default` means.
const DEFAULT: &str = "dockremap";

/// How many ids it gets, and from which on.
const SIZE: u32 = 65536;
const FIRST: u32 = 100_000;

/// The maps.
///
/// # Errors
/// A message that names what is missing: the user, the group, or their ranges.
pub(crate) fn of(setting: &str) -> Result<Remap, String> {
    let (user, group) = match setting {
        "default" => (DEFAULT, DEFAULT),
        text => text.split_once(':').unwrap_or((text, text)),
    };
    let hint = if setting == "default" {
        format!(" (hint: useradd --system --user-group --add-subids-for-system {DEFAULT})")
    } else {
        String::new()
    };
    if setting == "default" && Known::find(user, "/etc/passwd", "user").is_err() {
        make_default().map_err(|why| format!("{why}{hint}"))?;
    }
    let user = Known::find(user, "/etc/passwd", "user").map_err(|why| format!("{why}{hint}"))?;
    // One name alone, or one number, is the user's; a group of that name or number is his.
    let group = Known::find(group, "/etc/group", "group").map_err(|why| format!("{why}{hint}"))?;
    let users = user.ranges(Path::new("/etc/subuid"), "subuid").map_err(|why| format!("{why}{hint}"))?;
    let groups = group.ranges(Path::new("/etc/subgid"), "subgid").map_err(|why| format!("{why}{hint}"))?;
    Ok(Remap { users, groups })
}

/// Makes the user and group that `default` means, with ranges of ids that nobody has.
fn make_default() -> Result<(), String> {
    let own = ["--system", "--user-group", "--no-create-home", "--shell", "/bin/false", DEFAULT];
    run("useradd", &own)?;
    for (file, option) in [("/etc/subuid", "--add-subuids"), ("/etc/subgid", "--add-subgids")] {
        let text = std::fs::read_to_string(file).unwrap_or_default();
        let (has, first) = (text.lines().any(|line| line.starts_with("dockremap:")), free_from(&text));
        if !has {
            run("usermod", &[option, &format!("{first}-{}", first.saturating_add(SIZE - 1)), DEFAULT])?;
        }
    }
    Ok(())
}

/// The first id that no range of subuid(5) has, and none behind it.
fn free_from(text: &str) -> u32 {
    let ends = text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1).map(|field| field.trim().parse::<u32>().ok());
        fields.next()??.checked_add(fields.next()??)
    });
    ends.max().unwrap_or(FIRST).max(FIRST)
}

/// Runs a program of the host's whose business its users are.
fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let failed = |why: String| format!("userns-remap: {program} {}: {why}", arguments.join(" "));
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.map_err(|why| failed(why.to_string()))?;
    match done.status.success() {
        true => Ok(()),
        false => Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned())),
    }
}

/// A user or group by name and number.
#[derive(Debug)]
struct Known {
    name: String,
    id: String,
}

impl Known {
    fn find(wanted: &str, file: &str, what: &str) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(file).map_err(|why| format!("userns-remap: read {file}: {why}"))?;
        Self::among(&text, wanted).ok_or_else(|| format!("userns-remap: {what} {wanted:?} is not in {file}"))
    }

    fn among(text: &str, wanted: &str) -> Option<Self> {
        text.lines().find_map(|line| {
            let mut fields = line.split(':');
            let (name, id) = (fields.next()?, fields.nth(1)?);
            (name == wanted || id == wanted).then(|| Self { name: name.to_owned(), id: id.to_owned() })
        })
    }

    fn ranges(&self, file: &Path, what: &str) -> Result<Vec<IdRange>, String> {
        // Without the file nobody has ranges.
        let text = std::fs::read_to_string(file).unwrap_or_default();
        match self.ranges_in(&text) {
            ranges if ranges.is_empty() => {
                Err(format!("Can't create ID mappings: no {what} ranges found for {:?}", self.name))
            }
            ranges => Ok(ranges),
        }
    }

    fn ranges_in(&self, text: &str) -> Vec<IdRange> {
        let (mut ranges, mut inside) = (Vec::new(), 0_u32);
        for line in text.lines() {
            let mut fields = line.split(':');
            let (Some(owner), Some(first), Some(size)) = (fields.next(), fields.next(), fields.next()) else {
                continue;
            };
            let (Ok(outside), Ok(size)) = (first.trim().parse(), size.trim().parse()) else { continue };
            if owner == self.name || owner == self.id {
                ranges.push(IdRange { inside, outside, size });
                inside = inside.saturating_add(size);
            }
        }
        ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_ranges_are_behind_all_others() {
        assert_eq!(free_from(""), 100_000);
        assert_eq!(free_from("a:5:10\nb:100000:65536\nbroken\nc:165536:65536\n"), 231_072);
    }

    #[test]
    fn ranges_follow_each_other() {
        let passwd = "root:x:0:0::/:/bin/sh\ndockremap:x:998:997::/:/bin/false\n";
        let user = Known::among(passwd, "dockremap").unwrap();
        assert_eq!(Known::among(passwd, "998").unwrap().name, "dockremap");
        assert!(Known::among(passwd, "nobody").is_none());
        let ranges = user.ranges_in("other:1:2\ndockremap:100000:65536\n998:300000:10\nbroken\n");
        let range = |inside, outside, size| IdRange { inside, outside, size };
        assert_eq!(ranges, [range(0, 100_000, 65536), range(65536, 300_000, 10)]);
        assert!(user.ranges_in("other:1:2\n").is_empty());
    }
}
