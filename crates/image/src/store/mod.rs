//! What the store keeps, and who refers to what.
//!
//! ```text
//! <root>/                 0700, an OCI image layout
//!   oci-layout
//!   index.json            the names: see `table`
//!   blobs/sha256/<hex>    manifests, configurations, layers as they came: see `blobs`
//!   ingest/               blobs that are being written
//!   partial/              downloads that were cut: see `partial`
//! ```
//!
//! An image is an entry of the table whose manifest, configuration and layers are all here, the layers also unpacked
//! in the snapshotter. The entry comes last when an image is made and goes first when it is removed, so a crash
//! between leaves only blobs and layers without an entry, which [`Store::open`] sweeps. While the process runs, a
//! [`Lease`] keeps what has no entry yet.

mod blobs;
mod lease;
mod partial;
mod record;
mod table;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use hull_oci::{Digest, Reference};
use hull_snapshot::Snapshotter;

pub(crate) use blobs::{Blobs, Ingest, check_document_size, verify};
pub(crate) use lease::Lease;
pub(crate) use partial::Partial;
pub(crate) use record::{Record, chain_ids, parse_config};
pub(crate) use table::{Entry, NAME, REF_NAME, to_json};

use crate::error::{Error, Result};
use crate::manifest::Descriptor;
use crate::pull::InFlight;
use crate::settings::Settings;

/// The state behind an [`ImageStore`](crate::ImageStore).
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    pub(crate) blobs: Blobs,
    pub(crate) snapshotter: Arc<Snapshotter>,
    settings: RwLock<Arc<Settings>>,
    pub(crate) leases: lease::Leases,
    pub(crate) in_flight: InFlight,
    names: Mutex<Vec<Named>>,
}

/// An entry of the table with what its manifest says.
#[derive(Debug, Clone)]
pub(crate) struct Named {
    pub(crate) entry: Entry,
    pub(crate) record: Arc<Record>,
}

impl Store {
    /// Opens the layout, gives up entries whose content a crash of the machine tore, and sweeps.
    pub(crate) fn open(root: &Path, snapshotter: Arc<Snapshotter>, settings: Settings) -> Result<Self> {
        blobs::private_dir(root)?;
        let blobs = Blobs::open(root)?;
        table::mark(root)?;
        let entries = table::read(root)?;
        let store = Self {
            root: root.to_owned(),
            blobs,
            snapshotter,
            settings: RwLock::new(Arc::new(settings)),
            leases: lease::Leases::default(),
            in_flight: InFlight::default(),
            names: Mutex::default(),
        };
        let count = entries.len();
        let whole: Vec<Named> = entries.into_iter().filter_map(|entry| store.readmit(entry)).collect();
        if whole.len() < count {
            store.write_table(&whole)?;
        }
        *store.locked() = whole;
        store.sweep_all()?;
        Ok(store)
    }

    /// The settings as they are now. What is under way keeps those it has begun with.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_settings(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// An entry of the file, if its image is still whole. Layers that the snapshotter gave up are unpacked again.
    fn readmit(&self, mut entry: Entry) -> Option<Named> {
        // Without its index it is an image of its own.
        entry.index = entry.index.filter(|index| self.blobs.document(&index.digest).is_ok());
        let admitted = self.record(&entry.target).and_then(|record| {
            crate::unpack::restore(self, &record)?;
            // Sizes are known only now where layers were restored.
            self.record(&entry.target)
        });
        match admitted {
            Ok(record) => Some(Named { entry, record: Arc::new(record) }),
            Err(error) => {
                let name = entry.name.as_ref().map(Reference::to_string).unwrap_or_default();
                tracing::warn!(%error, name, manifest = %entry.target.digest, "image is damaged and given up");
                None
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<Named>> {
        // The list is replaced as a whole: a panic elsewhere cannot leave half a change.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_table(&self, names: &[Named]) -> Result<()> {
        let entries: Vec<Entry> = names.iter().map(|named| named.entry.clone()).collect();
        table::write(&self.root, &entries)
    }

    /// Looks at the table without copying it.
    pub(crate) fn with_names<T>(&self, look: impl FnOnce(&[Named]) -> T) -> T {
        look(&self.locked())
    }

    /// Changes the table, in the file first. If the change or the writing fails, nothing is changed.
    pub(crate) fn change<T>(&self, change: impl FnOnce(&mut Vec<Named>) -> Result<T>) -> Result<T> {
        let mut names = self.locked();
        let mut next = names.clone();
        let answer = change(&mut next)?;
        self.write_table(&next)?;
        *names = next;
        Ok(answer)
    }

    /// Gives an image that was made here its names. Tags move; an image that loses its last name keeps an entry
    /// without one, and an entry without a name goes where there is one with.
    pub(crate) fn register(
        &self,
        target: &Descriptor,
        names: &[Reference],
        parent: Option<Digest>,
    ) -> Result<Arc<Record>> {
        self.enter(target, None, names, parent, now())
    }

    /// The same for one from elsewhere, a manifest of an index perhaps. Under the same names, the index's other
    /// manifests stay. The names it came with do not count as given here.
    pub(crate) fn register_of(
        &self,
        target: &Descriptor,
        index: Option<&Descriptor>,
        names: &[Reference],
        parent: Option<Digest>,
    ) -> Result<Arc<Record>> {
        self.enter(target, index, names, parent, None)
    }

    fn enter(
        &self,
        target: &Descriptor,
        index: Option<&Descriptor>,
        names: &[Reference],
        parent: Option<Digest>,
        tagged: Option<String>,
    ) -> Result<Arc<Record>> {
        let record = Arc::new(self.record(target)?);
        self.change(|table| {
            let tagged = tagged.or_else(|| last_tagged(table, &record.id));
            let parent = parent.or_else(|| known_parent(table, &record.id));
            for name in names {
                let is_sibling = |entry: &Entry| entry.is_of(index) && entry.target.digest != target.digest;
                drop_name_unless(table, name, is_sibling);
                let (target, parent, tagged) = (target.clone(), parent.clone(), tagged.clone());
                let entry = Entry { name: Some(name.clone()), target, index: index.cloned(), parent, tagged };
                table.push(Named { entry, record: Arc::clone(&record) });
            }
            if !table.iter().any(|named| named.record.id == record.id) {
                let (target, index) = (target.clone(), index.cloned());
                let entry = Entry { name: None, target, index, parent, tagged: None };
                table.push(Named { entry, record: Arc::clone(&record) });
            }
            drop_needless(table);
            Ok(())
        })?;
        Ok(record)
    }

    /// Puts another manifest in the place of `manifest`: the same image, packed differently.
    pub(crate) fn retarget(&self, manifest: &Digest, target: &Descriptor) -> Result<()> {
        let record = Arc::new(self.record(target)?);
        let before = self.change(|table| {
            let mut before = Vec::new();
            for named in table.iter_mut().filter(|named| named.entry.target.digest == *manifest) {
                before.push(std::mem::replace(&mut named.entry.target, target.clone()).digest);
                before.extend(named.record.layers.iter().map(|layer| layer.digest.clone()));
                named.record = Arc::clone(&record);
                // The index has the other one.
                before.extend(named.entry.index.take().map(|index| index.digest));
            }
            Ok(before)
        })?;
        self.sweep(before).map(drop)
    }

    /// Gives an image one more name.
    pub(crate) fn tag(&self, word: &str, target: Reference) -> Result<(Reference, Digest)> {
        if target.digest().is_some() {
            return Err(Error::Invalid("refusing to create a tag with a digest reference".to_owned()));
        }
        let name = target.with_default_tag();
        let (id, meant) = self.with_names(|names| {
            let found = crate::query::resolve(names, word)?;
            let meant = crate::query::meant(names, word)?.into_iter();
            Ok::<_, Error>((
                found.record.id.clone(),
                meant.map(|named| named.entry.clone()).collect::<Vec<_>>(),
            ))
        })?;
        for entry in meant {
            let names = std::slice::from_ref(&name);
            self.enter(&entry.target, entry.index.as_ref(), names, None, now())?;
        }
        Ok((name, id))
    }

    /// Removes those of `candidates` (blobs and layers) that nothing refers to; how many bytes that freed, and the
    /// layers that went.
    pub(crate) fn sweep(&self, candidates: impl IntoIterator<Item = Digest>) -> Result<Swept> {
        // Held all along: whoever wants to use a candidate waits here, and then finds it gone.
        let leases = self.leases.lock();
        let referenced = self.with_names(referenced);
        let mut swept = Swept::default();
        for digest in candidates {
            if leases.contains_key(&digest) || referenced.contains(&digest) {
                continue;
            }
            swept.bytes += self.blobs.remove(&digest)?;
            self.sweep_layer(digest, &mut swept)?;
        }
        Ok(swept)
    }

    fn sweep_layer(&self, chain: Digest, swept: &mut Swept) -> Result<()> {
        let Ok(size) = self.snapshotter.layer_size(&chain) else { return Ok(()) };
        match self.snapshotter.remove_layer(&chain) {
            Ok(()) => {
                swept.bytes += size;
                swept.unpacked += size;
                swept.layers.push(chain);
                Ok(())
            }
            // A container stands on it; the sweep after the container's end takes it.
            Err(hull_snapshot::Error::InUse(_) | hull_snapshot::Error::NotFound(_)) => Ok(()),
            Err(error) => Err(Error::System(error.to_string())),
        }
    }

    /// Removes everything that nothing refers to.
    pub(crate) fn sweep_all(&self) -> Result<Swept> {
        let mut candidates = self.blobs.all()?;
        candidates.extend(self.snapshotter.layers().map_err(|error| Error::System(error.to_string()))?);
        self.sweep(candidates)
    }
}

/// What a sweep took.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub(crate) bytes: u64,
    /// Of them, those of unpacked layers.
    pub(crate) unpacked: u64,
    pub(crate) layers: Vec<Digest>,
}

/// Everything the table refers to: manifests, configurations, layers packed and unpacked.
fn referenced(names: &[Named]) -> HashSet<Digest> {
    let mut all = HashSet::new();
    for Named { entry, record } in names {
        all.insert(entry.target.digest.clone());
        all.extend(entry.index.iter().map(|index| index.digest.clone()));
        all.insert(record.id.clone());
        all.extend(record.layers.iter().map(|layer| layer.digest.clone()));
        all.extend(record.chain_ids.iter().cloned());
    }
    all
}

fn now() -> Option<String> {
    Some(jiff::Timestamp::now().to_string())
}

/// When the image was last given a name here.
pub(crate) fn last_tagged(table: &[Named], id: &Digest) -> Option<String> {
    let entries = table.iter().filter(|named| named.record.id == *id);
    entries.filter_map(|named| named.entry.tagged.clone()).max()
}

fn known_parent(table: &[Named], id: &Digest) -> Option<Digest> {
    table.iter().filter(|named| named.record.id == *id).find_map(|named| named.entry.parent.clone())
}

/// The entries of the same name and index, which differ by platform; the entry itself is one of them.
pub(crate) fn group<'a>(table: &'a [Named], of: &'a Named) -> impl Iterator<Item = &'a Named> + Clone {
    let same = |named: &&Named| {
        let index = of.entry.index.as_ref();
        named.entry.name == of.entry.name
            && (named.entry.target.digest == of.entry.target.digest || named.entry.is_of(index))
    };
    table.iter().filter(same)
}

/// Takes a name from whoever has it; the image stays, if need be without a name.
pub(crate) fn drop_name(table: &mut [Named], name: &Reference) {
    drop_name_unless(table, name, |_| false);
}

fn drop_name_unless(table: &mut [Named], name: &Reference, keeps: impl Fn(&Entry) -> bool) {
    let has = |named: &&mut Named| named.entry.name.as_ref() == Some(name) && !keeps(&named.entry);
    for named in table.iter_mut().filter(has) {
        named.entry.name = None;
        named.entry.tagged = None;
    }
}

/// One entry without a name is enough for an image, and none if it has a name.
pub(crate) fn drop_needless(table: &mut Vec<Named>) {
    let named: HashSet<Digest> = table
        .iter()
        .filter(|named| named.entry.name.is_some())
        .map(|named| named.record.id.clone())
        .collect();
    let mut seen = HashSet::new();
    table.retain(|each| {
        each.entry.name.is_some() || (!named.contains(&each.record.id) && seen.insert(each.record.id.clone()))
    });
}
