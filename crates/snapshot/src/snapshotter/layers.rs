//! Layers of images: applied once, used by whoever stands on them.

use std::fs;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use hull_oci::Digest;
use hull_oci::digest::Algorithm;
use hull_sys::root::Root;
use hull_sys::{Context, mount};

use super::{Snapshotter, list, make_dir};
use crate::unpack::{self, Unpacked};
use crate::{Error, Limits, Result, overlay, settle};

/// What unpacking a layer found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Applied {
    /// SHA-256 of the uncompressed archive, as read.
    pub diff_id: Digest,
    /// Bytes in the layer's regular files.
    pub size: u64,
    /// Entries of the archive.
    pub entries: u64,
}

impl Snapshotter {
    /// Whether the layer is usable.
    pub fn has_layer(&self, chain: &Digest) -> bool {
        self.layer_dir(chain).join("facts").exists()
    }

    /// Unpacks an uncompressed layer archive and makes it usable under its chain id.
    ///
    /// Layers do not need each other, so an image's are applied in parallel. The archive is read to its end,
    /// whatever it holds. If the layer is there already (somebody else was faster), this one is dropped.
    pub fn apply(&self, chain: &Digest, tar: impl Read, limits: &Limits) -> Result<Applied> {
        self.apply_if(chain, None, tar, limits)
    }

    /// Like [`apply`](Self::apply), of an archive whose digest is known: one of another digest is not kept.
    pub fn apply_verified(
        &self,
        chain: &Digest,
        diff_id: &Digest,
        tar: impl Read,
        limits: &Limits,
    ) -> Result<Applied> {
        self.apply_if(chain, Some(diff_id), tar, limits)
    }

    fn apply_if(
        &self,
        chain: &Digest,
        diff_id: Option<&Digest>,
        tar: impl Read,
        limits: &Limits,
    ) -> Result<Applied> {
        let unfinished = self.unfinished()?;
        let tree = unfinished.path.join("fs");
        make_dir(&tree)?;
        let Unpacked { applied, inherit } = unpack::layer(&Root::open(&tree)?, tar, limits)?;
        if let Some(expected) = diff_id.filter(|expected| **expected != applied.diff_id) {
            let found = &applied.diff_id;
            return Err(Error::Invalid(format!(
                "layer is not what it should be: expected {expected}, found {found}"
            )));
        }
        settle::write_list(&unfinished.path.join("inherit"), &inherit)?;
        let facts = Facts { applied, boot: self.shared.boot.clone() };
        facts.write(&unfinished.path.join("facts"))?;
        if unfinished.keep_as(&self.layer_dir(chain))? {
            self.sync_later();
        }
        Ok(facts.applied)
    }

    /// What [`Snapshotter::apply`] said of the layer.
    pub fn layer(&self, chain: &Digest) -> Result<Applied> {
        let path = self.layer_dir(chain).join("facts");
        match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(no_layer(chain)),
            read => match Facts::parse(&read.on("read", &path)?) {
                Some(facts) => Ok(facts.applied),
                None => Err(Error::Invalid(format!("{} is damaged", path.display()))),
            },
        }
    }

    /// Bytes in the layer's regular files.
    pub fn layer_size(&self, chain: &Digest) -> Result<u64> {
        Ok(self.layer(chain)?.size)
    }

    /// The chain ids of all usable layers, in no order.
    pub fn layers(&self) -> Result<Vec<Digest>> {
        let names = list(&self.shared.root.join("layers"))?;
        Ok(names.iter().filter_map(|name| Digest::from_hex(Algorithm::Sha256, name).ok()).collect())
    }

    /// Removes a layer that no snapshot stands on.
    pub fn remove_layer(&self, chain: &Digest) -> Result<()> {
        let gone = {
            let snapshots = self.snapshots_locked();
            let user = snapshots.iter().find(|(_, below)| below.iter().any(|below| below.has(chain)));
            if let Some((key, _)) = user {
                return Err(Error::InUse(format!("layer {} is below snapshot {key}", chain.short())));
            }
            match self.take_name(&self.layer_dir(chain)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(no_layer(chain)),
                renamed => renamed.on("rename", self.layer_dir(chain))?,
            }
        };
        self.reaper.push(gone);
        Ok(())
    }

    /// The layers of an image (bottom first) as one read-only tree, mounted nowhere.
    pub fn view(&self, chains: &[Digest]) -> Result<OwnedFd> {
        if let Some(missing) = chains.iter().find(|chain| !self.has_layer(chain)) {
            return Err(no_layer(missing));
        }
        self.settle(chains)?;
        // The kernel wants two layers where nothing is writable.
        let mut lower = self.lower(chains);
        lower.push(self.shared.root.join("empty/two"));
        Ok(mount::overlay(&lower, None)?)
    }

    /// The trees of layers (bottom first), the top one first, only to tell of them.
    pub fn trees(&self, chains: &[Digest]) -> Vec<PathBuf> {
        chains.iter().rev().map(|chain| self.layer_dir(chain).join("fs")).collect()
    }

    /// The trees of `chains` (bottom first), top first.
    pub(super) fn lower(&self, chains: &[Digest]) -> Vec<PathBuf> {
        if chains.is_empty() {
            return vec![self.shared.root.join("empty/one")];
        }
        let mut lower = self.trees(chains);
        // The kernel does not look whether the root of a layer is opaque: leave out what it hides.
        let opaque = |tree: &PathBuf| Root::open(tree).and_then(overlay::is_opaque).unwrap_or(false);
        if let Some(top) = lower.iter().position(opaque) {
            lower.truncate(top + 1);
        }
        lower
    }

    /// Gives directories that a layer's archive did not list the attributes they have in the layers below.
    pub(super) fn settle(&self, chains: &[Digest]) -> Result<()> {
        for (index, chain) in chains.iter().enumerate() {
            let inherit = self.layer_dir(chain).join("inherit");
            if inherit.exists() {
                settle::settle(&inherit, &self.lower(&chains[..=index]))?;
            }
        }
        Ok(())
    }

    /// Removes the layers that a crash of the machine may have torn; makes the others durable.
    pub(super) fn check_layers(&self) -> Result<()> {
        let layers = Root::open(self.shared.root.join("layers"))?;
        let mut lacking = false;
        for entry in layers.read_dir(".")? {
            let dir = self.shared.root.join("layers").join(&entry.name);
            if dir.join("durable").exists() {
                continue;
            }
            let facts = fs::read_to_string(dir.join("facts")).unwrap_or_default();
            match Facts::parse(&facts) {
                Some(facts) if facts.boot == self.shared.boot => lacking = true,
                _ => layers.remove_all(&entry.name)?,
            }
        }
        if lacking {
            self.sync_later();
        }
        Ok(())
    }
}

/// What the file `facts` of a layer holds.
pub(super) struct Facts {
    pub(super) applied: Applied,
    boot: String,
}

impl Facts {
    fn write(&self, path: &Path) -> Result<()> {
        let Applied { diff_id, size, entries } = &self.applied;
        fs::write(path, format!("{diff_id} {size} {entries} {}\n", self.boot)).on("write", path)?;
        Ok(())
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut words = text.strip_suffix('\n')?.split(' ');
        let diff_id = Digest::parse(words.next()?).ok()?;
        let size = words.next()?.parse().ok()?;
        let entries = words.next()?.parse().ok()?;
        Some(Self { applied: Applied { diff_id, size, entries }, boot: words.next()?.to_owned() })
    }
}

pub(super) fn no_layer(chain: &Digest) -> Error {
    Error::NotFound(format!("no such layer: {chain}"))
}
