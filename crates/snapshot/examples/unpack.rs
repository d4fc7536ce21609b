//! Applies a layer archive again and again and says how long it took: `unpack LAYER.tar [TIMES] [DIRECTORY]`.

use std::fs::File;
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Instant;

use hull_oci::Digest;
use hull_snapshot::{Limits, Snapshotter};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let archive = arguments.next().ok_or("which archive?")?;
    let times: u32 = arguments.next().map_or(Ok(5), |times| times.parse())?;
    let directory = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = directory.join(format!("hull-unpack-{}", std::process::id()));
    let snapshotter = Snapshotter::open(&directory)?;
    // Nothing is removed in between: ext4 avoids inodes that were freed a moment ago, and searches long for others.
    for number in 0..times {
        let chain = Digest::sha256(&number.to_le_bytes());
        let start = Instant::now();
        let applied = snapshotter.apply(&chain, File::open(&archive)?, &Limits::default())?;
        let time = start.elapsed();
        let each = time / u32::try_from(applied.entries.max(1))?;
        writeln!(
            io::stdout(),
            "{} entries, {} bytes: {time:.1?}, {each:.2?} each",
            applied.entries,
            applied.size
        )?;
    }
    drop(snapshotter);
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
