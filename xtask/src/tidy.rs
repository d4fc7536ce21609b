//! Source rules that neither rustfmt nor clippy know.

use std::fs;
use std::path::{Path, PathBuf};

use crate::{Outcome, say};

/// A longer file is two modules.
const MAX_LINES: usize = 800;

/// A module without a noun belongs to its only caller.
const NAMELESS: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "manager", "core", "types", "misc"];

/// Checks every source file that git tracks or would track.
pub(crate) fn check() -> Outcome {
    let mut faults = Vec::new();
    let mut files = 0;
    for root in ["crates", "testkit", "tests", "xtask"] {
        for path in sources(Path::new(root))? {
            let text = fs::read_to_string(&path).map_err(|why| format!("read {}: {why}", path.display()))?;
            files += 1;
            faults.extend(faults_of(&path, &text));
        }
    }
    if faults.is_empty() {
        say(format!("tidy: {files} files"));
        return Ok(());
    }
    Err(faults.join("\n"))
}

fn sources(root: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let mut open = vec![root.to_path_buf()];
    while let Some(directory) = open.pop() {
        let entries =
            fs::read_dir(&directory).map_err(|why| format!("read {}: {why}", directory.display()))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn faults_of(path: &Path, text: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut fault = |line: usize, what: &str| faults.push(format!("{}:{line}: {what}", path.display()));
    if !text.starts_with("//!") {
        fault(1, "the first line says what the file is (//!)");
    }
    let generated = text.lines().take(3).any(|line| line.contains("generated"));
    let lines = text.lines().count();
    if lines > MAX_LINES && !generated {
        fault(lines, &format!("{lines} lines; more than {MAX_LINES} are two modules"));
    }
    let module = if path.ends_with("mod.rs") { path.parent().unwrap_or(path) } else { path };
    let name = module.file_stem().unwrap_or_default().to_string_lossy();
    if NAMELESS.contains(&name.as_ref()) || name.ends_with("_impl") {
        fault(1, &format!("'{name}' is not a noun of the field"));
    }
    let in_sys = path.starts_with("crates/sys");
    for (number, line) in text.lines().enumerate() {
        let code = line.trim_start();
        if !in_sys
            && (code.contains(concat!("unsafe", " {")) || code.contains(concat!("allow(unsafe", "_code")))
        {
            fault(number + 1, "unsafe is for crates/sys alone");
        }
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X:")] {
            if code.contains(mark) {
                fault(number + 1, "an open end belongs in the issue tracker");
            }
        }
    }
    faults
}
