//! Work whose effect on its thread must not stay: the thread ends with it.

use crate::{Context, Result};

/// Runs `work` on a thread of its own and waits for it. What it unshares or joins is gone with the thread.
pub(crate) fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("namespace".to_owned())
            .stack_size(256 << 10)
            .spawn_scoped(scope, work)
            .op("spawn thread")?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
