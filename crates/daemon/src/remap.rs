//! `userns-remap`: which ids of the host the users of containers get, by passwd(5) and subuid(5).
//!
//! Forms, as dockerd's: `default` (the user and group `dockremap`), `name[:group]`, `uid[:gid]`. The ranges of that user
//! and that group follow each other, from id 0 inside.

use std::path::Path;

use hull_engine::{IdRange, Remap};

/// The user that `default` means.
const DEFAULT: &str = "dockremap";

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
    let user = Known::find(user, "/etc/passwd", "user").map_err(|why| format!("{why}{hint}"))?;
    // One name alone, or one number, is the user's; a group of that name or number is his.
    let group = Known::find(group, "/etc/group", "group").map_err(|why| format!("{why}{hint}"))?;
    let users = user.ranges(Path::new("/etc/subuid"), "subuid").map_err(|why| format!("{why}{hint}"))?;
    let groups = group.ranges(Path::new("/etc/subgid"), "subgid").map_err(|why| format!("{why}{hint}"))?;
    Ok(Remap { users, groups })
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
