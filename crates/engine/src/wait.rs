//! Waiting for containers to end.

use tokio::sync::watch;

use crate::containers::Progress;
use crate::model::{Exit, State, Status, WaitCondition};
use crate::{Engine, Result};

/// A registered wait: from its creation on no exit is missed.
pub struct Waiter {
    progress: watch::Receiver<Progress>,
    goal: Goal,
}

enum Goal {
    /// It does not run, and ended so. Waiters are told of an end after the record, so the record is asked.
    Now(Exit),
    ExitsAbove(u64),
    Removed,
}

impl Waiter {
    /// Waits until the condition holds.
    pub async fn wait(mut self) -> Result<Exit> {
        let reached = match self.goal {
            Goal::Now(exit) => return Ok(exit),
            Goal::ExitsAbove(exits) => {
                self.progress.wait_for(|progress| progress.exits > exits || progress.removed).await
            }
            Goal::Removed => {
                let gone = self.progress.wait_for(|progress| progress.removed).await;
                // As with Docker: a removal that succeeds is no error, whatever the container's last one was.
                return Ok(gone.map_or_else(
                    |_| Exit::default(),
                    |last| Exit { error: String::new(), ..last.last.clone() },
                ));
            }
        };
        // As in Docker, who hears of the removal does not hear why an earlier start failed.
        let last = reached.map(|progress| match progress.removed {
            true => Exit { code: progress.last.code, ..Exit::default() },
            false => progress.last.clone(),
        });
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
        Ok(Waiter { progress, goal: goal(condition, exits, &entry.now().state) })
    }
}

fn goal(condition: WaitCondition, exits: u64, state: &State) -> Goal {
    match condition {
        WaitCondition::NotRunning if !state.status.is_running() && state.status != Status::Restarting => {
            Goal::Now(Exit { code: state.exit_code, error: state.error.clone() })
        }
        WaitCondition::NotRunning | WaitCondition::NextExit => Goal::ExitsAbove(exits),
        WaitCondition::Removed => Goal::Removed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fixture;

    #[tokio::test]
    async fn who_comes_between_the_record_and_the_word_of_an_end_is_told_the_recorded_end() {
        let mut state = fixture().state;
        (state.status, state.exit_code) = (Status::Exited, 4);
        // No exit has been told of yet.
        let (_sender, progress) = watch::channel(Progress::default());
        let waiter = Waiter { progress, goal: goal(WaitCondition::NotRunning, 0, &state) };
        assert_eq!(waiter.wait().await.unwrap().code, 4);
    }
}
