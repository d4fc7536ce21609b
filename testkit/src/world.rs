//! All that a daemon has made, as a list of lines: to compare before and after.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use rusqlite::{Connection, OpenFlags};

use crate::{Daemon, leaks, namespaces};

/// Below the roots, files that deep are named one by one; deeper are the contents of images and volumes.
const DEPTH: usize = 3;

/// Everything outside of the daemon's memory: files, rows, processes, cgroups, mounts, links, firewall.
///
/// # Panics
/// If the database cannot be read.
pub fn look(daemon: &Daemon) -> BTreeSet<String> {
    let mut world = BTreeSet::new();
    for root in [daemon.data_root(), daemon.exec_root()] {
        files(&root, DEPTH, &mut world);
    }
    world.extend(rows(&daemon.data_root().join("hull.db")));
    world.extend(daemon.processes().iter().map(|process| format!("process {}", process.command)));
    let cgroups = leaks::cgroups_below(daemon.cgroup().trim_start_matches('/'));
    world.extend(cgroups.iter().map(|path| format!("cgroup {}", path.display())));
    let mounts = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    world.extend(mounts.lines().map(|mount| format!("mount {mount}")));
    world.extend(namespaces::links().iter().map(|link| format!("link {link}")));
    world.extend(firewall().lines().map(|line| format!("firewall {}", line.trim())));
    world
}

fn files(directory: &Path, depth: usize, world: &mut BTreeSet<String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        // SQLite's own files come and go.
        if !path.to_string_lossy().contains("hull.db") {
            world.insert(format!("file {}", path.display()));
        }
        if depth > 1 && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            files(&path, depth - 1, world);
        }
    }
}

/// The keys of every table.
fn rows(database: &Path) -> Vec<String> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let list = |query: &str| -> Vec<String> {
        let mut statement = connection.prepare(query).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.map(|row| row.unwrap()).collect()
    };
    let tables = list("SELECT name FROM sqlite_master WHERE type = 'table'");
    let keys = |table: &String| {
        let keys = list(&format!("SELECT * FROM {table}"));
        keys.into_iter().map(|key| format!("row of {table}: {key}")).collect::<Vec<_>>()
    };
    tables.iter().flat_map(keys).collect()
}

fn firewall() -> String {
    let output = Command::new("nft").args(["list", "ruleset"]).output().expect("tests need nftables");
    String::from_utf8_lossy(&output.stdout).into_owned()
}
