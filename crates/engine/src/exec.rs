//! Further programs in running containers.
//!
//! A session is *created* (a promise), *running* from its start, and *ended* with an exit code. Sessions live in
//! memory: after a restart of the daemon those that ran go on under their supervisor, but nobody can ask for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hull_shim::protocol::{self, Answer, Request, Terminal};

use crate::attach::{AttachInput, AttachOutput, Attachment, DetachKeys, detach_by};
use crate::launch::NotStarted;
use crate::model::{Container, ExecConfig, ExecStart, ExecState, Status};
use crate::spec::{self, SecurityOptions};
use crate::supervisor::{self, Connection};
use crate::{Engine, Error, Result, identity};

/// How long an ended session can still be asked for.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// Every session that somebody may ask for.
#[derive(Default)]
pub(crate) struct Execs {
    by_id: Mutex<HashMap<String, Arc<Session>>>,
}

struct Session {
    /// Whether somebody has begun to start it.
    state: Mutex<(ExecState, bool)>,
}

impl Session {
    fn now(&self) -> ExecState {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).0.clone()
    }

    fn change(&self, change: impl FnOnce(&mut ExecState)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).0);
    }

    /// Takes the right to start it; there is one.
    fn claim(&self) -> Result<ExecState> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let id = &state.0.id;
        if state.0.exit_code.is_some() {
            return Err(Error::conflict(format!("exec command {id} has already run")));
        }
        if state.1 {
            return Err(Error::conflict(format!("exec command {id} is already running")));
        }
        state.1 = true;
        Ok(state.0.clone())
    }
}

impl Execs {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.by_id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets every session of a container that is gone.
    pub(crate) fn forget(&self, container: &str) {
        self.lock().retain(|_, session| session.now().container_id != container);
    }

    fn find(&self, id: &str) -> Result<Arc<Session>> {
        let found = self.lock().get(id).cloned();
        found.ok_or_else(|| Error::not_found(format!("No such exec instance: {id}")))
    }
}

impl Engine {
    /// Registers a program to run in a running container; returns the session's id.
    pub async fn exec_create(&self, name: &str, config: ExecConfig) -> Result<String> {
        let container = self.container(name)?;
        require_running(&container)?;
        if config.cmd.is_empty() {
            return Err(Error::invalid("no exec command specified"));
        }
        DetachKeys::parse(config.detach_keys.as_deref())?;
        let id = identity::fresh()?;
        self.emit_exec(&container, &format!("exec_create: {}", config.cmd.join(" ")), &id, None);
        let state = ExecState {
            id: id.clone(),
            container_id: container.id.clone(),
            config,
            running: false,
            exit_code: None,
            pid: 0,
        };
        let session = Arc::new(Session { state: Mutex::new((state, false)) });
        self.execs.lock().insert(id.clone(), session);
        self.containers
            .find(&container.id)?
            .change_in_memory(|container| container.exec_ids.push(id.clone()));
        Ok(id)
    }

    /// Runs it. `None` if detached.
    pub async fn exec_start(self: &Arc<Self>, id: &str, start: ExecStart) -> Result<Option<Attachment>> {
        let session = self.execs.find(id)?;
        let container = self.container(&session.now().container_id)?;
        require_running(&container)?;
        let mut state = session.claim()?;
        if start.console_size.is_some() {
            state.config.console_size = start.console_size;
        }
        self.emit_exec(&container, &format!("exec_start: {}", state.config.cmd.join(" ")), id, None);
        let begun = self.exec_begin(&container, &state, start.detach).await;
        let (pid, Connection { stream, ahead }) = match begun {
            Ok(begun) => begun,
            Err(NotStarted { error, code }) => {
                self.exec_ended(&container, &session, Some(code));
                if start.detach {
                    return Err(error);
                }
                // As in Docker, who is attached reads it where the output would be.
                let output = AttachOutput::said(&format!("{error}\r\n"), start.tty);
                return Ok(Some(Attachment { tty: start.tty, output, input: AttachInput::closed() }));
            }
        };
        session.change(|state| (state.running, state.pid) = (true, pid));
        let (output, input) = stream.into_split();
        let on_exit = {
            let (engine, session, container) =
                (Arc::clone(self), Arc::clone(&session), Arc::clone(&container));
            Box::new(move |code| engine.exec_ended(&container, &session, code))
        };
        let mut output = AttachOutput::exec(output, &ahead, start.tty, on_exit);
        if start.detach {
            drop(input);
            tokio::spawn(output.drain());
            return Ok(None);
        }
        let mut input = AttachInput::open(input);
        if state.config.tty {
            detach_by(DetachKeys::parse(state.config.detach_keys.as_deref())?, &mut input, &mut output);
        }
        Ok(Some(Attachment { tty: start.tty, output, input }))
    }

    async fn exec_begin(
        &self,
        container: &Container,
        state: &ExecState,
        detach: bool,
    ) -> Result<(i32, Connection), NotStarted> {
        let request = self.exec_request(container, state, detach)?;
        match supervisor::ask(&self.shim_dir(&container.id), &request).await? {
            (Answer::Started { pid, .. }, connection) => Ok((pid, connection)),
            (Answer::NotRunning, _) => Err(not_running(container).into()),
            (answer, _) => Err(NotStarted::exec(&answer)),
        }
    }

    fn exec_request(&self, container: &Container, state: &ExecState, detach: bool) -> Result<Request> {
        let config = &state.config;
        let cgroup = container.cgroup_path(&self.options.cgroup_parent);
        let facts = self.facts(container, &cgroup)?;
        let process = spec::exec_process(container, config, &facts)?;
        let privileged = container.host.privileged || config.privileged;
        let security = SecurityOptions::parse(container.host.security_opt.as_deref().unwrap_or_default())?;
        let capabilities = match privileged {
            true => self.machine.capabilities.clone(),
            false => spec::capabilities_of(&container.host, &self.machine.capabilities)?,
        };
        let [rows, cols] = config.console_size.unwrap_or_default();
        let user = if config.user.is_empty() { &container.config.user } else { &config.user };
        Ok(Request::Exec(Box::new(protocol::Exec {
            id: state.id.clone(),
            process,
            user: Some(user.clone()),
            extra_groups: container.host.group_add.clone().unwrap_or_default(),
            terminal: config.tty.then_some(Terminal { rows, cols }),
            stdin: config.attach_stdin && !detach,
            seccomp: self.filters.of(&security, privileged, &capabilities)?,
        })))
    }

    /// A session has ended; `None`: with its supervisor, nobody knows how.
    fn exec_ended(self: &Arc<Self>, container: &Container, session: &Arc<Session>, code: Option<i32>) {
        let code = code.unwrap_or(137);
        session.change(|state| (state.running, state.exit_code) = (false, Some(code)));
        let id = session.now().id;
        if let Ok(entry) = self.containers.find(&container.id) {
            entry.change_in_memory(|container| container.exec_ids.retain(|other| *other != id));
        }
        self.emit_exec(container, "exec_die", &id, Some(code));
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            engine.execs.lock().remove(&id);
        });
    }

    fn emit_exec(&self, container: &Container, action: &str, id: &str, code: Option<i32>) {
        let code = code.map(|code| ("exitCode".to_owned(), code.to_string()));
        self.emit_with(container, action, [("execID".to_owned(), id.to_owned())].into_iter().chain(code));
    }

    /// The session as it is.
    pub fn exec_inspect(&self, id: &str) -> Result<ExecState> {
        Ok(self.execs.find(id)?.now())
    }

    /// Sets the size of its terminal.
    pub async fn exec_resize(&self, id: &str, rows: u16, cols: u16) -> Result<()> {
        let state = self.execs.find(id)?.now();
        if !state.running {
            return Err(Error::conflict(format!("exec process is not started: {id}")));
        }
        let request = Request::Resize(protocol::Resize { exec: Some(state.id), rows, cols });
        match supervisor::ask(&self.shim_dir(&state.container_id), &request).await? {
            (Answer::Ok, _) => Ok(()),
            (answer, _) => Err(supervisor::unexpected(&answer)),
        }
    }

    /// Ends a session by a signal; one that has ended is no error.
    pub(crate) async fn exec_kill(&self, state: &ExecState, signal: i32) -> Result<()> {
        let kill = protocol::Kill { signal, exec: Some(state.id.clone()), all: false };
        supervisor::ask(&self.shim_dir(&state.container_id), &Request::Kill(kill)).await.map(drop)
    }
}

fn not_running(container: &Container) -> Error {
    Error::conflict(format!("container {} is not running", container.id))
}

fn require_running(container: &Container) -> Result<()> {
    let id = &container.id;
    match container.state.status {
        Status::Running => Ok(()),
        Status::Paused => {
            Err(Error::conflict(format!("container {id} is paused, unpause the container before exec")))
        }
        Status::Restarting => {
            Err(Error::conflict(format!("container {id} is restarting, wait until the container is running")))
        }
        _ => Err(not_running(container)),
    }
}
