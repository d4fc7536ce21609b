//! Starting hulld where nobody has: for root, at the default address, and never in silence.

use crate::complain::Complaint;
use crate::output;
use hull_api::client::{Client, Error};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a daemon may take until it answers: with many containers to find again it takes longest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a daemon in a session of its own and waits until it answers.
pub(crate) async fn start(client: &Client) -> Result<(), Complaint> {
    let Some(program) = find() else {
        return Err(Complaint::new(format!(
            "Cannot connect to the Hull daemon at {}. Is the hull daemon running?\n\
             hulld was not found beside hull or in PATH, so it was not started.",
            client.host()
        )));
    };
    output::warn(&format!("hull: no daemon answers at {}: starting {}", client.host(), program.display()));
    let failed = |reason| Complaint::new(format!("hull: start {}: {reason}", program.display()));
    let mut child = Command::new(&program)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .current_dir("/")
        .spawn()
        .map_err(failed)?;
    wait(client, &mut child).await.map_err(|complaint| Complaint {
        text: format!("{}\nRun {} to see why.", complaint.text, program.display()),
        ..complaint
    })
}

/// Beside this binary, or else in PATH.
fn find() -> Option<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|own| Some(own.parent()?.join("hulld")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    beside
        .into_iter()
        .chain(std::env::split_paths(&path).map(|dir| dir.join("hulld")))
        .find(|file| file.is_file())
}

async fn wait(client: &Client, child: &mut Child) -> Result<(), Complaint> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.open().await {
            Err(Error::Unreachable { .. }) if Instant::now() < deadline => {}
            opened => return Ok(opened?),
        }
        // Another client may have started one at the same moment: then ours gives up and theirs answers.
        if let Some(status) = child.try_wait()? {
            tokio::time::sleep(Duration::from_millis(100)).await;
            return match client.open().await {
                Ok(()) => Ok(()),
                Err(_) => Err(Complaint::new(format!("hull: hulld ended at once ({status})"))),
            };
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
