//! Removing names and images, with the rules and words of `docker rmi` and `docker image prune`.
//!
//! What may go is decided on a copy of the table, which then replaces the table at once; blobs and layers go after
//! that. A crash between leaves content without an entry, for the next sweep.

use std::collections::HashSet;

use hull_oci::{Digest, Platform, Reference};

use crate::error::{Error, Result};
use crate::image::{Image, Pruned, Removed, Use};
use crate::query::{best, by_name, has_children, image, is_id_of, meant, resolve};
use crate::store::{Named, Store, drop_name, drop_needless, group};

/// A removal that is being decided: the table as it will be, and what was done to it.
struct Removal<'a> {
    table: &'a mut Vec<Named>,
    uses: &'a [Use],
    removed: Vec<Removed>,
    /// What the images that went referred to.
    content: Vec<Digest>,
}

/// Why an image stays.
struct Reason {
    forcible: bool,
    used: bool,
    text: String,
}

impl Store {
    /// `docker rmi name`.
    pub(crate) fn remove(
        &self,
        name: &str,
        force: bool,
        keep_parents: bool,
        uses: &[Use],
    ) -> Result<Vec<Removed>> {
        let (removed, content) = self.change(|table| {
            let mut removal = Removal { table, uses, removed: Vec::new(), content: Vec::new() };
            removal.remove(name, force, !keep_parents)?;
            Ok((removal.removed, removal.content))
        })?;
        self.finish_removal(removed, content).map(|pruned| pruned.removed)
    }

    /// `docker rmi --platform`: of what a name has, some platforms' images.
    pub(crate) fn remove_platforms(
        &self,
        name: &str,
        platforms: &[Platform],
        force: bool,
        uses: &[Use],
    ) -> Result<Vec<Removed>> {
        let (removed, content) = self.change(|table| {
            let mut removal = Removal { table, uses, removed: Vec::new(), content: Vec::new() };
            removal.remove_platforms(name, platforms, force)?;
            Ok((removal.removed, removal.content))
        })?;
        self.finish_removal(removed, content).map(|pruned| pruned.removed)
    }

    /// `docker image prune`.
    pub(crate) fn prune(&self, all: bool, wanted: impl Fn(&Image) -> bool, uses: &[Use]) -> Result<Pruned> {
        let (removed, content) = self.change(|table| {
            let mut removal = Removal { table, uses, removed: Vec::new(), content: Vec::new() };
            removal.prune(all, wanted);
            Ok((removal.removed, removal.content))
        })?;
        let pruned = self.finish_removal(removed, content)?;
        self.sweep_all()?;
        Ok(pruned)
    }

    /// Frees what the removed images alone referred to, and lists the layers among it, top first.
    fn finish_removal(&self, mut removed: Vec<Removed>, content: Vec<Digest>) -> Result<Pruned> {
        let swept = self.sweep(content)?;
        removed.extend(swept.layers.into_iter().map(Removed::DeletedLayer));
        Ok(Pruned { removed, reclaimed: swept.unpacked })
    }
}

impl Removal<'_> {
    fn remove(&mut self, name: &str, force: bool, parents: bool) -> Result<()> {
        let others = meant(self.table, name)?;
        let others: Vec<Digest> = others.into_iter().map(|other| other.record.id.clone()).collect();
        self.remove_one(name, force, parents)?;
        // Other platforms' images go with the names they were under.
        for id in others {
            let is_left = self.table.iter().any(|named| named.record.id == id);
            if is_left && self.references(&id).is_empty() {
                self.delete(&id, force, parents, true)?;
            }
        }
        Ok(())
    }

    /// Removes the images for these platforms that a name has beside others.
    fn remove_platforms(&mut self, name: &str, platforms: &[Platform], force: bool) -> Result<()> {
        let all: Vec<Named> = meant(self.table, name)?.into_iter().cloned().collect();
        let suits =
            |named: &&Named| platforms.iter().any(|wanted| wanted.matches(&named.record.config.platform()));
        let chosen: Vec<Digest> = all.iter().filter(suits).map(|named| named.record.id.clone()).collect();
        if chosen.len() == all.len() {
            return self.remove(name, force, true);
        }
        for id in chosen {
            if let Some(reason) = self.conflict(&id, force, false) {
                return Err(reason.into_error(&id));
            }
            self.collect(&id);
            self.table.retain(|named| named.record.id != id);
            self.removed.push(Removed::Deleted(id));
        }
        Ok(())
    }

    fn remove_one(&mut self, name: &str, force: bool, parents: bool) -> Result<()> {
        let id = resolve(self.table, name)?.record.id.clone();
        let references = self.references(&id);
        if !is_id_of(name, &id) {
            if !force && is_single(&references) {
                self.refuse_unnaming(name, &id)?;
            }
            if self.unname(name, &id)? {
                return Ok(());
            }
            return self.delete(&id, force, parents, true);
        }
        if is_single(&references) {
            if let Some(reason) = self.conflict(&id, force, false) {
                return Err(reason.into_error(&id));
            }
            references.iter().for_each(|reference| self.untag(reference, &id));
        }
        self.delete(&id, force, parents, false)
    }

    /// The last name of an image that a container uses stays: without it the image would be hard to find again.
    fn refuse_unnaming(&self, name: &str, id: &Digest) -> Result<()> {
        let Some(user) = self.uses.iter().find(|user| user.image == *id) else { return Ok(()) };
        let container = short(&user.container);
        Err(Error::Conflict(format!(
            "conflict: unable to remove repository reference {name:?} (must force) - container {container} is using \
             its referenced image {}",
            id.short()
        )))
    }

    /// Removes the name, and the repository's digests with its last tag. Whether the image has other names left.
    fn unname(&mut self, name: &str, id: &Digest) -> Result<bool> {
        let reference = Reference::parse(name)?.with_default_tag();
        let found = by_name(self.table, &reference).and_then(|named| named.entry.name.clone());
        let reference = found.ok_or_else(|| Error::no_such_image(name))?;
        self.untag(&reference, id);
        let left = self.references(id);
        let same = |other: &&Reference| other.name() == reference.name();
        if reference.digest().is_none() && left.iter().filter(same).all(|other| other.digest().is_some()) {
            left.iter().filter(same).for_each(|digest| self.drop(digest, id, false));
        }
        Ok(!self.references(id).is_empty())
    }

    /// Removes the image, and the nameless images it was committed on that nobody else needs.
    fn delete(&mut self, id: &Digest, force: bool, parents: bool, quiet: bool) -> Result<()> {
        if let Some(reason) = self.conflict(id, force, true) {
            // A name was removed, which was the wish; the image may stay if something holds it.
            let dangling = self.references(id).is_empty() && !has_children(self.table, id);
            return match quiet && (!dangling || reason.used) {
                true => Ok(()),
                false => Err(reason.into_error(id)),
            };
        }
        for reference in self.references(id) {
            self.untag(&reference, id);
        }
        let parent = self.parent(id);
        self.collect(id);
        self.table.retain(|named| named.record.id != *id);
        self.removed.push(Removed::Deleted(id.clone()));
        match parent.filter(|_| parents) {
            Some(parent) => self.delete(&parent, false, true, true),
            None => Ok(()),
        }
    }

    /// Notes what the image refers to, for the sweep: the top layer first, as Docker lists them.
    fn collect(&mut self, id: &Digest) {
        for named in self.table.iter().filter(|named| named.record.id == *id) {
            self.content.push(named.entry.target.digest.clone());
            self.content.extend(named.entry.index.iter().map(|index| index.digest.clone()));
            self.content.push(id.clone());
            self.content.extend(named.record.layers.iter().map(|layer| layer.digest.clone()));
            self.content.extend(named.record.chain_ids.iter().rev().cloned());
        }
    }

    fn prune(&mut self, all: bool, wanted: impl Fn(&Image) -> bool) {
        let mut seen = HashSet::new();
        let firsts: Vec<Named> =
            self.table.iter().filter(|named| seen.insert(named.record.id.clone())).cloned().collect();
        let used: HashSet<&Digest> = self.uses.iter().map(|user| &user.image).collect();
        for named in firsts {
            let Some(current) = self.table.iter().find(|other| other.record.id == named.record.id) else {
                continue;
            };
            let found = image(self.table, current);
            // A name stays as long as a container uses any platform's image of it.
            let is_used = |named: &Named| used.contains(&named.record.id);
            let is_used = group(self.table, current).any(is_used);
            let is_meant =
                best(group(self.table, current)).is_none_or(|best| best.record.id == current.record.id);
            let mut names = self.references(&found.id);
            let is_parent = has_children(self.table, &found.id) && (!all || names.is_empty());
            if is_parent || !is_meant || !wanted(&found) || (!all && !found.is_dangling()) {
                continue;
            }
            if names.is_empty() {
                // Refused if something uses it, and then it stays.
                let _ = self.delete(&found.id, false, true, true);
            }
            names.sort_by_cached_key(ToString::to_string);
            for name in names {
                // The last name of what is used stays, in the order of the alphabet.
                if !is_used || !is_single(&self.references(&found.id)) {
                    let _ = self.remove(&name.to_string(), false, true);
                }
            }
        }
    }

    fn references(&self, id: &Digest) -> Vec<Reference> {
        let entries = self.table.iter().filter(|named| named.record.id == *id);
        entries.filter_map(|named| named.entry.name.clone()).collect()
    }

    fn parent(&self, id: &Digest) -> Option<Digest> {
        let mut entries = self.table.iter().filter(|named| named.record.id == *id);
        let parent = entries.find_map(|named| named.entry.parent.clone())?;
        self.table.iter().any(|named| named.record.id == parent).then_some(parent)
    }

    fn untag(&mut self, reference: &Reference, id: &Digest) {
        self.drop(reference, id, true);
    }

    /// Removes a name; whether everybody is told of it is Docker's choice.
    fn drop(&mut self, reference: &Reference, id: &Digest, told: bool) {
        let named = self.table.iter().find(|named| named.record.id == *id);
        let labels = named.and_then(|named| named.record.config.config.labels.clone()).unwrap_or_default();
        drop_name(self.table, reference);
        drop_needless(self.table);
        let (reference, image) = (reference.familiar(), id.clone());
        self.removed.push(Removed::Untagged { reference, image, labels: told.then_some(labels) });
    }

    /// What keeps the image here. Force overcomes names and stopped containers only.
    fn conflict(&self, id: &Digest, force: bool, names_count: bool) -> Option<Reason> {
        if has_children(self.table, id) {
            return Some(Reason::hard("image has dependent child images".to_owned(), false));
        }
        let user = |running| self.uses.iter().find(move |user| user.image == *id && user.running == running);
        if let Some(user) = user(true) {
            let container = short(&user.container);
            return Some(Reason::hard(format!("image is being used by running container {container}"), true));
        }
        if force {
            return None;
        }
        if names_count && !self.references(id).is_empty() {
            return Some(Reason::soft("image is referenced in multiple repositories".to_owned(), false));
        }
        let container = short(&user(false)?.container);
        Some(Reason::soft(format!("image is being used by stopped container {container}"), true))
    }
}

impl Reason {
    fn hard(text: String, used: bool) -> Self {
        Self { forcible: false, used, text }
    }

    fn soft(text: String, used: bool) -> Self {
        Self { forcible: true, used, text }
    }

    fn into_error(self, id: &Digest) -> Error {
        let force = match self.forcible {
            true => "must be forced",
            false => "cannot be forced",
        };
        Error::Conflict(format!("conflict: unable to delete {} ({force}) - {}", id.short(), self.text))
    }
}

fn short(container: &str) -> &str {
    container.get(..12).unwrap_or(container)
}

/// All names are of one repository, with at most one tag.
fn is_single(references: &[Reference]) -> bool {
    let tags = references.iter().filter(|reference| reference.digest().is_none()).count();
    let mut names = references.iter().map(Reference::name);
    let Some(first) = names.next() else { return false };
    tags <= 1 && names.all(|name| name == first)
}
