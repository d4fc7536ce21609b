//! What is packed and unpacked, and what is refused.

use super::*;
use std::fs;

/// A directory of the test's own, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hull-archive-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Scratch(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

fn unpack(root: &Path, name: &str, archive: &[u8]) -> io::Result<u64> {
    let unpack = Unpack { root: root.to_owned(), replaces_base: true, name: name.into(), keep_owner: false };
    unpack.run(archive)
}

/// An archive of entries: kind, name, content or target. Names are written as they are, honest or not.
fn archive(entries: &[(tar::EntryType, &str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, name, content) in entries {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(*kind);
        header.set_mode(0o644);
        let is_link = matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link);
        if is_link {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(if is_link { 0 } else { content.len() as u64 });
        header.set_cksum();
        builder.append(&header, if is_link { &b""[..] } else { content.as_bytes() }).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn what_is_packed_is_unpacked_under_another_name() {
    let scratch = Scratch::new("round");
    let (from, to) = (scratch.0.join("from"), scratch.0.join("to"));
    fs::create_dir_all(from.join("sub")).unwrap();
    fs::create_dir(&to).unwrap();
    fs::write(from.join("sub/file"), "text").unwrap();
    std::os::unix::fs::symlink("/etc/passwd", from.join("link")).unwrap();
    let mut packed = Vec::new();
    pack(&from, "from", &mut packed).unwrap();
    assert_eq!(unpack(&to, "other", &packed).unwrap(), 4);
    assert_eq!(fs::read_to_string(to.join("other/sub/file")).unwrap(), "text");
    assert_eq!(fs::read_link(to.join("other/link")).unwrap(), Path::new("/etc/passwd"));
}

#[test]
fn an_archive_cannot_leave_its_directory() {
    use tar::EntryType::{Link, Regular, Symlink};
    let scratch = Scratch::new("hostile");
    let (root, outside) = (scratch.0.join("root"), scratch.0.join("outside"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("secret"), "kept").unwrap();
    let up = outside.to_str().unwrap();
    for entries in [
        &[(Regular, "x/../../outside/file", "!")][..],
        &[(Symlink, "x/link", up), (Regular, "x/link/file", "!")],
        &[(Symlink, "x/link", "../../outside"), (Regular, "x/link/secret", "!")],
        &[(Link, "x/hard", "x/../../outside/secret")],
        &[(Symlink, "x/link", up), (Link, "x/hard", "x/link/secret")],
    ] {
        assert!(unpack(&root, "x", &archive(entries)).is_err(), "{entries:?}");
    }
    // A link in the place of a file is replaced, not written through.
    let through = [(Symlink, "y/file", "../../outside/secret"), (Regular, "y/file", "!")];
    unpack(&root, "y", &archive(&through)).unwrap();
    assert_eq!(fs::read_to_string(outside.join("secret")).unwrap(), "kept");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1);
}

#[test]
fn directories_and_files_do_not_replace_each_other() {
    use tar::EntryType::{Directory, Regular};
    let scratch = Scratch::new("clash");
    fs::create_dir(scratch.0.join("x")).unwrap();
    assert!(unpack(&scratch.0, "x", &archive(&[(Regular, "x", "!")])).is_err());
    fs::write(scratch.0.join("y"), "").unwrap();
    assert!(unpack(&scratch.0, "y", &archive(&[(Directory, "y", "")])).is_err());
}

#[test]
fn a_cut_archive_is_an_error() {
    let scratch = Scratch::new("cut");
    let whole = archive(&[(tar::EntryType::Regular, "x", "some content")]);
    assert!(unpack(&scratch.0, "x", &whole[..515]).is_err());
}
