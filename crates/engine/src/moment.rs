//! What fails because a container ends, or goes, at this very moment: who asked is told just that, and not by what it
//! was noticed (a directory of proc(5) that is gone, a supervisor that does not answer any more).

use std::time::Duration;

use crate::containers::{Entry, NextExit};
use crate::model::Status;
use crate::{Error, Kind, Result};

/// Time between a container's end and its record of it.
const KNOWN_BY: Duration = Duration::from_secs(1);

/// A container as it was before something was tried with it.
pub(crate) struct Moment<'a> {
    entry: &'a Entry,
    exit: NextExit,
    ran: bool,
}

impl Entry {
    /// The container at this moment.
    pub(crate) fn moment(&self) -> Moment<'_> {
        let exit = self.next_exit();
        Moment { entry: self, exit, ran: self.now().state.status.is_running() }
    }

    /// Does `work`, which must not leave the gate taken.
    ///
    /// # Errors
    /// Those of `work`; where the machine has failed it, and the container has ended or gone since it began, that.
    pub(crate) async fn unless_over<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let moment = self.moment();
        match work.await {
            Err(error) => Err(moment.explain(error).await),
            done => done,
        }
    }
}

impl Moment<'_> {
    /// Why something has failed: `error`, unless that has come of the container's end.
    pub(crate) async fn explain(mut self, error: Error) -> Error {
        if error.kind != Kind::System {
            return error;
        }
        let status = self.entry.now().state.status;
        let may_end = self.ran || status.is_running() || status == Status::Removing;
        let patience = if may_end { KNOWN_BY } else { Duration::ZERO };
        if !self.exit.within(Some(patience)).await {
            return error;
        }
        match self.entry.progress.borrow().removed {
            true => self.entry.absent(),
            false => Error::conflict(format!("container {} is not running", self.entry.id)),
        }
    }
}
