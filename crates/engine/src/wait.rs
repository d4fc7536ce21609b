//! Waiting for containers to end.

use tokio::sync::watch;

use crate::containers::Progress;
use crate::model::{Exit, Status, WaitCondition};
use crate::{Engine, Result};

/// A registered wait: from its creation on no exit is missed.
pub struct Waiter {
    progress: watch::Receiver<Progress>,
    goal: Goal,
}

enum Goal {
    Now,
    ExitsAbove(u64),
    Removed,
}

impl Waiter {
    /// Waits until the condition holds.
    pub async fn wait(mut self) -> Result<Exit> {
        let reached = self.progress.wait_for(|progress| match self.goal {
            Goal::Now => true,
            Goal::ExitsAbove(exits) => progress.exits > exits || progress.removed,
            Goal::Removed => progress.removed,
        });
        let last = reached.await.map(|progress| progress.last.clone());
        // The sender lives in the container's entry; without it the container is gone.
        Ok(last.unwrap_or_default())
    }
}

impl Engine {
    /// Registers a wait for `condition` on a container.
    pub fn wait(&self, name: &str, condition: WaitCondition) -> Result<Waiter> {
        let entry = self.containers.find(name)?;
        // Subscribed before the state is looked at: an exit in between is seen twice, never missed.
        let progress = entry.progress.subscribe();
        let exits = progress.borrow().exits;
        let status = entry.now().state.status;
        let goal = match condition {
            WaitCondition::NotRunning if status.is_running() || status == Status::Restarting => {
                Goal::ExitsAbove(exits)
            }
            WaitCondition::NotRunning => Goal::Now,
            WaitCondition::NextExit => Goal::ExitsAbove(exits),
            WaitCondition::Removed => Goal::Removed,
        };
        Ok(Waiter { progress, goal })
    }
}
