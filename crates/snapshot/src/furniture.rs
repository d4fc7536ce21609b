//! What every container has on top of its image, as Docker's have: the places of what is mounted by default, the file
//! that says that this is a container, and the link to what is mounted. It is never part of an image.
//!
//! It is a tree of its own, made once for each image and shared by the image's containers as one more lower layer:
//! nothing of it is made, copied up or removed again with each of them.

use std::os::fd::AsFd;
use std::path::Path;

use hull_sys::root::Root;
use rustix::fs::FileType;
use rustix::io::Errno;

use crate::{Result, settle};

/// The empty file that says that this is a container.
pub(crate) const MARK: &str = ".dockerenv";
/// The link to what is mounted.
pub(crate) const MTAB: &str = "etc/mtab";
pub(crate) const MOUNTS: &str = "/proc/mounts";

enum Piece {
    Directory,
    File,
    Link(&'static str),
}

/// What is made where an image has nothing; none lies deeper than in a directory of the root.
const PIECES: [(&str, Piece); 10] = [
    (MARK, Piece::File),
    ("dev/console", Piece::File),
    ("dev/pts", Piece::Directory),
    ("dev/shm", Piece::Directory),
    ("etc/hostname", Piece::File),
    ("etc/hosts", Piece::File),
    (MTAB, Piece::Link(MOUNTS)),
    ("etc/resolv.conf", Piece::File),
    ("proc", Piece::Directory),
    ("sys", Piece::Directory),
];

/// Makes in `tree`, which is empty, what `image` lacks.
pub(crate) fn make(image: &Root, tree: &Root) -> Result<()> {
    for (place, piece) in &PIECES {
        let (place, above) = (Path::new(place), above(place));
        if image.lstat(place).is_err() && make_above(image, tree, above)? {
            match piece {
                Piece::Directory => tree.mkdir(place, 0o755)?,
                Piece::File => drop(tree.create_file(place, 0o755)?),
                Piece::Link(target) => tree.symlink(target, place)?,
            }
        }
    }
    // An overlay shows the topmost directory's attributes.
    for directory in ["dev", "etc", "."] {
        if let (Ok(from), Ok(to)) = (image.open_dir(directory), tree.open_dir(directory)) {
            settle::copy_attributes(from.as_fd(), to.as_fd())?;
        }
    }
    Ok(())
}

fn above(place: &str) -> Option<&str> {
    place.split_once('/').map(|(above, _)| above)
}

/// Makes the directory of a piece; `false` where the image has something else, such as a link, which may lead anywhere.
fn make_above(image: &Root, tree: &Root, above: Option<&str>) -> Result<bool> {
    let Some(above) = above else { return Ok(true) };
    match image.lstat(above) {
        Ok(stat) if FileType::from_raw_mode(stat.st_mode) != FileType::Directory => return Ok(false),
        _ => {}
    }
    match tree.mkdir(above, 0o755) {
        Err(error) if !error.is(Errno::EXIST) => Err(error.into()),
        _ => Ok(true),
    }
}
