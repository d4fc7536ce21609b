//! The words of mount options: mount(8), and the table of the OCI runtime specification.

use hull_sys::mount::{Attr, Change, Propagation};

/// What the options of one mount say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Options {
    /// Whether this is a bind mount, and of what is below its source, too.
    pub(crate) bind: Option<Bind>,
    /// Attributes of the mount itself.
    pub(crate) attr: Change,
    /// Attributes of the mount and all below it (`rro` and its like).
    pub(crate) recursive: Change,
    /// The propagation type, and whether that of all below it, too.
    pub(crate) propagation: Option<(Propagation, bool)>,
    /// Whether the files are shown with other ids, and those below, too.
    pub(crate) idmap: Option<bool>,
    /// Whether a tmpfs begins with what it covers.
    pub(crate) copy_up: bool,
    /// Whether what is mounted there already is meant.
    pub(crate) remount: bool,
    /// What is meant for the file system: names and values.
    pub(crate) data: Vec<(String, Option<String>)>,
}

/// How much a bind mount shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    /// The source alone.
    Alone,
    /// The source and what is mounted below it.
    Tree,
}

/// One word's meaning for the attributes: to be set or to be cleared.
enum Effect {
    Set(Attr),
    Clear(Attr),
    /// A mode of access times; there is always exactly one.
    Time(Attr),
}

impl Options {
    /// Reads the words. The error is the word that is known, but cannot be had.
    pub(crate) fn parse<'a>(words: impl IntoIterator<Item = &'a String>) -> Result<Self, String> {
        let mut options = Self::default();
        for word in words {
            options.take(word)?;
        }
        Ok(options)
    }

    fn take(&mut self, word: &str) -> Result<(), String> {
        if let Some(propagation) = propagation(word) {
            self.propagation = Some(propagation);
        } else if let Some(effect) = effect(word) {
            apply(&mut self.attr, effect);
        } else if let Some(effect) = word.strip_prefix('r').and_then(effect) {
            apply(&mut self.recursive, effect);
        } else {
            match word {
                "" | "defaults" | "rw,defaults" => {}
                "bind" => self.bind = Some(self.bind.unwrap_or(Bind::Alone)),
                "rbind" => self.bind = Some(Bind::Tree),
                "async" | "nomand" | "loud" | "silent" | "noiversion" | "nolazytime" => {}
                "idmap" => self.idmap = Some(self.idmap.unwrap_or(false)),
                "ridmap" => self.idmap = Some(true),
                "tmpcopyup" => self.copy_up = true,
                "remount" => self.remount = true,
                "copy-symlink" | "dest-nofollow" | "src-nofollow" => return Err(word.to_owned()),
                word => self.data.push(pair(word)),
            }
        }
        Ok(())
    }

    /// Whether writing is refused.
    pub(crate) fn read_only(&self) -> bool {
        (self.attr.set | self.recursive.set).contains(Attr::MOUNT_ATTR_RDONLY)
    }
}

fn pair(word: &str) -> (String, Option<String>) {
    match word.split_once('=') {
        Some((key, value)) => (key.to_owned(), Some(value.to_owned())),
        None => (word.to_owned(), None),
    }
}

fn apply(change: &mut Change, effect: Effect) {
    let (set, clear) = match effect {
        Effect::Set(attr) => (attr, Attr::empty()),
        Effect::Clear(attr) => (Attr::empty(), attr),
        Effect::Time(mode) => {
            change.set.remove(Attr::MOUNT_ATTR__ATIME);
            (mode, Attr::MOUNT_ATTR__ATIME)
        }
    };
    // The last word counts.
    change.set = change.set.difference(clear) | set;
    change.clear = change.clear.difference(set) | clear;
    if set.intersects(Attr::MOUNT_ATTR__ATIME) {
        change.clear |= Attr::MOUNT_ATTR__ATIME;
    }
}

fn effect(word: &str) -> Option<Effect> {
    use Effect::{Clear, Set, Time};
    Some(match word {
        "ro" => Set(Attr::MOUNT_ATTR_RDONLY),
        "rw" => Clear(Attr::MOUNT_ATTR_RDONLY),
        "nosuid" => Set(Attr::MOUNT_ATTR_NOSUID),
        "suid" => Clear(Attr::MOUNT_ATTR_NOSUID),
        "nodev" => Set(Attr::MOUNT_ATTR_NODEV),
        "dev" => Clear(Attr::MOUNT_ATTR_NODEV),
        "noexec" => Set(Attr::MOUNT_ATTR_NOEXEC),
        "exec" => Clear(Attr::MOUNT_ATTR_NOEXEC),
        "nodiratime" => Set(Attr::MOUNT_ATTR_NODIRATIME),
        "diratime" => Clear(Attr::MOUNT_ATTR_NODIRATIME),
        "nosymfollow" => Set(Attr::MOUNT_ATTR_NOSYMFOLLOW),
        "symfollow" => Clear(Attr::MOUNT_ATTR_NOSYMFOLLOW),
        "noatime" => Time(Attr::MOUNT_ATTR_NOATIME),
        "strictatime" => Time(Attr::MOUNT_ATTR_STRICTATIME),
        // The kernel's default is relative times.
        "atime" | "relatime" | "norelatime" | "nostrictatime" => Time(Attr::MOUNT_ATTR_RELATIME),
        _ => return None,
    })
}

/// A propagation type by its name; with an `r` in front it is meant for all that is below, too.
pub(crate) fn propagation(word: &str) -> Option<(Propagation, bool)> {
    let plain = |word: &str| match word {
        "private" => Some(Propagation::Private),
        "slave" => Some(Propagation::Slave),
        "shared" => Some(Propagation::Shared),
        "unbindable" => Some(Propagation::Unbindable),
        _ => None,
    };
    let deep = || Some((plain(word.strip_prefix('r')?)?, true));
    plain(word).map(|propagation| (propagation, false)).or_else(deep)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Options {
        let words: Vec<String> = words.split(',').map(str::to_owned).collect();
        Options::parse(&words).unwrap()
    }

    #[test]
    fn words_become_attributes() {
        let options = parse("nosuid,noexec,nodev,ro,mode=755,size=65536k");
        assert!(options.read_only());
        assert!(options.attr.set.contains(Attr::MOUNT_ATTR_NOSUID | Attr::MOUNT_ATTR_NODEV));
        let pair = |key: &str, value: &str| (key.to_owned(), Some(value.to_owned()));
        assert_eq!(options.data, [pair("mode", "755"), pair("size", "65536k")]);
    }

    #[test]
    fn the_last_word_counts() {
        assert!(!parse("ro,rw").read_only());
        assert!(parse("rw,ro").read_only());
        let times = parse("noatime,strictatime").attr;
        assert_eq!(times.set, Attr::MOUNT_ATTR_STRICTATIME);
        assert!(times.clear.contains(Attr::MOUNT_ATTR__ATIME));
    }

    #[test]
    fn deep_words_are_told_from_plain_ones() {
        let options = parse("rbind,rro,rslave");
        assert_eq!(options.bind, Some(Bind::Tree));
        assert!(options.attr.is_empty() && options.read_only());
        assert_eq!(options.propagation, Some((Propagation::Slave, true)));
        // Not a deep "elatime".
        assert!(parse("relatime").recursive.is_empty());
    }

    #[test]
    fn what_cannot_be_had_is_said() {
        assert_eq!(Options::parse(&["copy-symlink".to_owned()]).unwrap_err(), "copy-symlink");
    }
}
