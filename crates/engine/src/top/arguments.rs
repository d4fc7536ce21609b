//! The arguments of ps(1), as far as `top` knows them.

use super::{Column, column};
use crate::{Error, Result};

/// `ps -ef`.
const FULL: &[(&str, &str)] = &[
    ("user", "UID"),
    ("pid", "PID"),
    ("ppid", "PPID"),
    ("c", "C"),
    ("stime", "STIME"),
    ("tty", "TTY"),
    ("time", "TIME"),
    ("cmd", "CMD"),
];

/// `ps -e`.
const SHORT: &[(&str, &str)] = &[("pid", "PID"), ("tty", "TTY"), ("time", "TIME"), ("comm", "CMD")];

/// `ps ax`.
const BSD_SHORT: &[(&str, &str)] =
    &[("pid", "PID"), ("tty", "TTY"), ("stat", "STAT"), ("time", "TIME"), ("cmd", "COMMAND")];

/// `ps aux`.
const BSD: &[(&str, &str)] = &[
    ("user", "USER"),
    ("pid", "PID"),
    ("pcpu", "%CPU"),
    ("pmem", "%MEM"),
    ("vsz", "VSZ"),
    ("rss", "RSS"),
    ("tty", "TTY"),
    ("stat", "STAT"),
    ("stime", "START"),
    ("time", "TIME"),
    ("cmd", "COMMAND"),
];

/// What the arguments ask for.
pub(super) struct Asked {
    /// The columns with their heads.
    pub(super) columns: Vec<(&'static Column, String)>,
    /// What rows are sorted by, the weightiest first; true is downwards.
    pub(super) order: Vec<(&'static Column, bool)>,
    /// The names of programs whose processes are meant; empty for all.
    pub(super) commands: Vec<String>,
}

/// Reads the arguments of ps(1). Which processes they select does not matter, except by `-C`: they are the container's.
pub(super) fn asked(ps_args: &str) -> Result<Asked> {
    let unsupported = || {
        Error::invalid(format!(
            "top: ps arguments {ps_args:?} are not supported; use -ef, aux, -C NAME or -o COLUMN,…, with --sort \
             COLUMN,…"
        ))
    };
    let words = Words::read(ps_args).ok_or_else(unsupported)?;
    if words.headless {
        return Err(Error::invalid("Couldn't find PID field in ps output"));
    }
    let column = |name: &str| column(name).ok_or_else(unsupported);
    let named = |list: &[(&str, &str)]| {
        let one = |(name, head): &(&str, &str)| Ok((column(name)?, (*head).to_owned()));
        list.iter().map(one).collect::<Result<Vec<_>>>()
    };
    let columns = match words.form {
        _ if !words.lists.is_empty() => {
            let lists = words.lists.iter().map(|list| chosen(list, unsupported));
            lists.collect::<Result<Vec<_>>>()?.concat()
        }
        Form::Full => named(FULL)?,
        Form::User => named(BSD)?,
        Form::Bsd => named(BSD_SHORT)?,
        Form::Short => named(SHORT)?,
    };
    let order = words.sort.split(',').filter(|key| !key.is_empty()).map(|key| {
        let name = key.trim_start_matches(['+', '-']);
        Ok((column(name)?, key.starts_with('-')))
    });
    let commands = words.commands.iter().flat_map(|list| list.split(',')).map(str::to_owned).collect();
    Ok(Asked { columns, order: order.collect::<Result<_>>()?, commands })
}

/// Which of its tables ps(1) prints.
enum Form {
    Short,
    Bsd,
    Full,
    User,
}

/// The arguments, taken apart.
struct Words<'a> {
    form: Form,
    /// What stands behind `-o`, each.
    lists: Vec<&'a str>,
    /// What stands behind `-C`, each.
    commands: Vec<&'a str>,
    sort: &'a str,
    headless: bool,
}

impl<'a> Words<'a> {
    /// `None`: there is something that is not known.
    fn read(ps_args: &'a str) -> Option<Self> {
        let mut this =
            Self { form: Form::Full, lists: Vec::new(), commands: Vec::new(), sort: "", headless: false };
        let mut words = ps_args.split_ascii_whitespace().peekable();
        if words.peek().is_some() {
            this.form = Form::Short;
        }
        while let Some(word) = words.next() {
            if let Some(long) = word.strip_prefix("--") {
                this.long(long, &mut words)?;
            } else {
                this.letters(word, &mut words)?;
            }
        }
        Some(this)
    }

    fn long(&mut self, word: &'a str, words: &mut impl Iterator<Item = &'a str>) -> Option<()> {
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        match name {
            "sort" => self.sort = value.or_else(|| words.next())?,
            "format" => self.lists.push(value.or_else(|| words.next())?),
            "no-headers" | "no-header" | "no-heading" | "noheaders" | "noheader" | "noheading" => {
                self.headless = true;
            }
            _ => return None,
        }
        Some(())
    }

    /// A word of letters: `-ef`, `aux`, `-opid`, `eo`. What a letter wants is the rest of its word, or the next one.
    fn letters(&mut self, word: &'a str, words: &mut impl Iterator<Item = &'a str>) -> Option<()> {
        let (is_bsd, letters) = match word.strip_prefix('-') {
            // ps(1) takes it for the one without the dash.
            Some("aux") | None => (true, word.trim_start_matches('-')),
            Some(letters) => (false, letters),
        };
        if is_bsd && matches!(self.form, Form::Short) {
            self.form = Form::Bsd;
        }
        for (at, letter) in letters.char_indices() {
            let rest = Some(&letters[at + letter.len_utf8()..]).filter(|rest| !rest.is_empty());
            match (letter, is_bsd) {
                ('o', _) => {
                    self.lists.push(rest.or_else(|| words.next())?);
                    return Some(());
                }
                ('C', false) => {
                    self.commands.push(rest.or_else(|| words.next())?);
                    return Some(());
                }
                ('f' | 'F', false) => self.form = Form::Full,
                ('u', true) => self.form = Form::User,
                // They select processes, or are of the look of a terminal.
                ('A' | 'a' | 'd' | 'e' | 'w' | 'H', false) | ('a' | 'e' | 'f' | 'w' | 'x', true) => {}
                _ => return None,
            }
        }
        (!letters.is_empty()).then_some(())
    }
}

/// The columns of one list of `-o`: `pid,user=WHO`; a head of one's own goes on to the end of the list. Only the
/// process id may be called one: by the head it is found.
fn chosen(list: &str, unsupported: impl Fn() -> Error) -> Result<Vec<(&'static Column, String)>> {
    let (names, own) = match list.split_once('=') {
        Some((names, head)) => (names, Some(head)),
        None => (list, None),
    };
    let names: Vec<&str> = names.split(',').filter(|name| !name.is_empty()).collect();
    let last = names.len().checked_sub(1).ok_or_else(&unsupported)?;
    if let Some(head) = own.filter(|head| head.starts_with("PID") && names[last] != "pid") {
        return Err(Error::invalid(format!("specifying \"{}={head}\" is not allowed", names[last])));
    }
    let head = |at: usize, name: &str, column: &Column| match own {
        Some(own) if at == last => own.to_owned(),
        _ if name == "user" => "USER".to_owned(),
        _ => column.title.to_owned(),
    };
    let columns = names.iter().enumerate().map(|(at, name)| {
        // As wide as `user:20` asks for it is anyway.
        let name = name.split(':').next().unwrap_or_default();
        let found = column(name).ok_or_else(&unsupported)?;
        Ok((found, head(at, name, found)))
    });
    columns.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_columns_of_ps_are_known() {
        let heads = |args| -> Vec<String> {
            asked(args).unwrap().columns.into_iter().map(|(_, head)| head).collect()
        };
        assert_eq!(heads(""), ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]);
        assert_eq!(heads("aux").len(), 11);
        assert_eq!(heads("-o pid,comm"), ["PID", "COMMAND"]);
        assert_eq!(heads("-o pid,user=WHO -o pid="), ["PID", "WHO", ""]);
        assert_eq!(heads("-eo comm=A,B --sort=-pid"), ["A,B"]);
        let refused = |args| asked(args).map(|_| ()).unwrap_err().message;
        assert_eq!(refused("-o comm=PID"), "specifying \"comm=PID\" is not allowed");
        for args in
            ["--forest", "-o pid,frob", "aux --sort", "aux --sort=frob", "-o =x", "-o", "-Z", "-", "-C"]
        {
            assert!(refused(args).contains("not supported"), "{args}");
        }
        let args = ["-opid,cmd", "opid,cmd", "o pid,cmd", "eopid,cmd", "--format pid,cmd", "-eo pid:9,cmd"];
        for args in args {
            assert_eq!(heads(args), ["PID", "CMD"], "{args}");
        }
        assert_eq!(heads("-o pid,cmd oargs,uid --format %cpu"), ["PID", "CMD", "COMMAND", "UID", "%CPU"]);
        assert_eq!(heads("-C sleep"), ["PID", "TTY", "TIME", "CMD"]);
        assert_eq!(heads("-e"), heads("-C sleep"));
        assert_eq!(heads("axf"), ["PID", "TTY", "STAT", "TIME", "COMMAND"]);
        assert_eq!(heads("-aux"), heads("aux"));
        for args in ["--no-headers", "aux --sort pid --noheader"] {
            assert_eq!(refused(args), "Couldn't find PID field in ps output", "{args}");
        }
    }
}
