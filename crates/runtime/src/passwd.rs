//! Users and groups as a container's own files name them: passwd(5), group(5).
//!
//! The rules are Docker's: a number is never taken for a name, a name must be in the files, and who names no group
//! is in all groups that list him. The files are the container's, so they are read below its root, only if they are
//! regular, and only up to [`FILE_MAX`] bytes.

use hull_sys::root::Root;
use hull_sys::{Error, Result};
use rustix::io::Errno;

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";

/// The largest file that is read, in bytes; a larger one is an error (a gigantic one would be our memory).
const FILE_MAX: usize = 1 << 20;

/// The largest id: what fits a signed number of 32 bits.
const ID_MAX: u32 = i32::MAX as u32;

/// Who a process is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Identity {
    /// User.
    pub uid: u32,
    /// Primary group.
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The home directory, if the files know one.
    pub home: Option<String>,
}

/// The identity that `user` (`name|uid[:group|gid]`, or nothing for root) and `extra` groups have below `root`.
///
/// # Errors
/// A name that is not in the files, or files that cannot be read.
pub fn resolve(root: &Root, user: &str, extra: &[String]) -> Result<Identity> {
    let (user, group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let passwd = read(root, PASSWD)?;
    let entry = find_user(&passwd, user)?;
    let groups = if group.is_some() || !extra.is_empty() || entry.name.is_some() {
        read(root, GROUP)?
    } else {
        String::new()
    };
    let gid = match group {
        Some(group) => find_group(&groups, group, "no matching entries in group file")?,
        None => entry.gid,
    };
    // The primary group is one of the supplementary ones, too: leaving it out would let a process shed it and so
    // get around what is denied to that group.
    let mut all = vec![gid];
    if let (None, Some(name)) = (group, entry.name) {
        all.extend(memberships(&groups, name));
    }
    for name in extra {
        all.push(find_group(&groups, name, "no matching entries in group file")?);
    }
    dedup(&mut all);
    Ok(Identity { uid: entry.uid, gid, groups: all, home: entry.home.map(str::to_owned) })
}

/// The user and group ids of `user` (as [`resolve`] takes it) below `root`: whose files they are that he makes.
///
/// # Errors
/// A name that is not in the files, or files that cannot be read.
pub fn owner(root: &Root, user: &str) -> Result<(u32, u32)> {
    resolve(root, user, &[]).map(|identity| (identity.uid, identity.gid))
}

/// The home directory of a user, if the files know one.
pub(crate) fn home(root: &Root, uid: u32) -> Result<Option<String>> {
    let passwd = read(root, PASSWD)?;
    Ok(users(&passwd).find(|user| user.uid == uid).and_then(|user| user.home).map(str::to_owned))
}

/// The groups of `extra` by name or number.
pub(crate) fn groups(root: &Root, extra: &[String]) -> Result<Vec<u32>> {
    if extra.is_empty() {
        return Ok(Vec::new());
    }
    let file = read(root, GROUP)?;
    extra.iter().map(|name| find_group(&file, name, "no matching entries in group file")).collect()
}

/// A line of passwd(5).
#[derive(Debug, Clone, Copy, Default)]
struct User<'a> {
    name: Option<&'a str>,
    uid: u32,
    gid: u32,
    home: Option<&'a str>,
}

/// A missing file is an empty one.
fn read(root: &Root, path: &str) -> Result<String> {
    match root.read_file(path, FILE_MAX) {
        Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(error) if error.is(Errno::NOENT) || error.is(Errno::NOTDIR) => Ok(String::new()),
        Err(error) => Err(error),
    }
}

fn find_user<'a>(passwd: &'a str, user: &'a str) -> Result<User<'a>> {
    let wanted = if user.is_empty() { Some(0) } else { number(user, "user")? };
    match wanted {
        Some(uid) => {
            Ok(users(passwd).find(|entry| entry.uid == uid).unwrap_or(User { uid, ..User::default() }))
        }
        None => users(passwd)
            .find(|entry| entry.name == Some(user))
            .ok_or_else(|| unknown("user", user, "no matching entries in passwd file")),
    }
}

fn find_group(file: &str, group: &str, why: &str) -> Result<u32> {
    match number(group, "group")? {
        Some(gid) => Ok(gid),
        None => lines(file)
            .find(|fields| fields.first() == Some(&group))
            .and_then(|fields| fields.get(2)?.parse().ok())
            .ok_or_else(|| unknown("group", group, why)),
    }
}

/// `text` as an id, if it is made of digits (a sign does not make it a name).
fn number(text: &str, what: &str) -> Result<Option<u32>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    match text.parse::<u32>() {
        Ok(id) if id <= ID_MAX => Ok(Some(id)),
        _ => Err(unknown(what, text, "uids and gids must be in range 0-2147483647")),
    }
}

fn unknown(what: &str, name: &str, why: &str) -> Error {
    let op = if what == "user" { "unable to find user" } else { "unable to find group" };
    Error::new(op, format!("{name}: {why}"), 0)
}

fn users(passwd: &str) -> impl Iterator<Item = User<'_>> {
    lines(passwd).filter_map(|fields| {
        let [name, _, uid, gid, rest @ ..] = fields.as_slice() else { return None };
        let home = rest.get(1).copied().filter(|home| !home.is_empty());
        Some(User { name: Some(name), uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
    })
}

fn memberships<'a>(file: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    lines(file).filter_map(move |fields| {
        let member = fields.get(3)?.split(',').any(|member| member == user);
        fields.get(2)?.parse().ok().filter(|_| member)
    })
}

fn lines(file: &str) -> impl Iterator<Item = Vec<&str>> {
    file.lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(':').collect())
}

fn dedup(groups: &mut Vec<u32>) {
    let mut seen = std::collections::HashSet::new();
    groups.retain(|gid| seen.insert(*gid));
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str =
        "root:x:0:0:root:/root:/bin/sh\n# bin\nweb:x:33:33::/var/www:/bin/false\n1234:x:7:7::/:\nbroken\n";
    const GROUPS: &str = "root:x:0:\nwheel:x:10:root,web\nwww:x:33:\naudio:x:29:web\n";

    fn root() -> (std::path::PathBuf, Root) {
        let name = format!("hull-passwd-{}-{:?}", std::process::id(), std::thread::current().id());
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir_all(path.join("etc")).unwrap();
        std::fs::write(path.join("etc/passwd"), USERS).unwrap();
        std::fs::write(path.join("etc/group"), GROUPS).unwrap();
        let root = Root::open(&path).unwrap();
        (path, root)
    }

    fn resolved(user: &str, extra: &[&str]) -> Result<Identity> {
        let (path, root) = root();
        let extra: Vec<String> = extra.iter().map(|name| (*name).to_owned()).collect();
        let identity = resolve(&root, user, &extra);
        std::fs::remove_dir_all(path).unwrap();
        identity
    }

    fn identity(uid: u32, gid: u32, groups: &[u32], home: Option<&str>) -> Identity {
        Identity { uid, gid, groups: groups.to_vec(), home: home.map(str::to_owned) }
    }

    #[test]
    fn names_and_numbers_are_found() {
        assert_eq!(resolved("", &[]).unwrap(), identity(0, 0, &[0, 10], Some("/root")));
        assert_eq!(resolved("web", &[]).unwrap(), identity(33, 33, &[33, 10, 29], Some("/var/www")));
        assert_eq!(resolved("33", &[]).unwrap(), identity(33, 33, &[33, 10, 29], Some("/var/www")));
        assert_eq!(resolved("999", &[]).unwrap(), identity(999, 0, &[0], None));
        assert_eq!(resolved("web:audio", &[]).unwrap(), identity(33, 29, &[29], Some("/var/www")));
        assert_eq!(resolved("5:6", &["audio", "77"]).unwrap(), identity(5, 6, &[6, 29, 77], None));
    }

    #[test]
    fn a_number_is_never_a_name() {
        // The file has a user by the name of 1234, with uid 7.
        assert_eq!(resolved("1234", &[]).unwrap().uid, 1234);
    }

    #[test]
    fn what_is_unknown_or_out_of_range_is_refused() {
        let text = |user| resolved(user, &[]).unwrap_err();
        assert_eq!(
            (text("nobody").op, text("nobody").object.as_str()),
            ("unable to find user", "nobody: no matching entries in passwd file")
        );
        assert_eq!(text("web:none").op, "unable to find group");
        for user in ["4294967296", "2147483648", "-1", "0:4294967295"] {
            assert!(text(user).object.contains("must be in range"), "{user}");
        }
    }

    #[test]
    fn only_small_regular_files_are_read() {
        let (path, root) = root();
        std::fs::write(path.join("etc/group"), vec![b'#'; FILE_MAX + 1]).unwrap();
        assert!(resolve(&root, "web", &[]).unwrap_err().is(Errno::FBIG));
        std::fs::remove_file(path.join("etc/passwd")).unwrap();
        std::os::unix::fs::symlink("/proc/self/environ", path.join("etc/passwd")).unwrap();
        // The link leads to a /proc below this root, where there is none.
        assert_eq!(home(&root, 0).unwrap(), None);
        std::fs::remove_dir_all(path).unwrap();
    }
}
