//! Further programs in running containers.
//!
//! A session is *created* (a promise), *running* from its start, and *ended* with an exit code. It lives under the
//! container's supervisor, and so does its record: a daemon that comes back knows it, and learns how it ends. Who was
//! attached to it is not any more.

mod sessions;

use std::sync::Arc;
use std::time::Duration;

use hull_shim::protocol::{self, Answer, Request, Terminal};
use hull_sys::root::Root;

use crate::attach::{AttachInput, AttachOutput, Attachment, DetachKeys, detach_by};
use crate::containers::Entry;
use crate::launch::NotStarted;
use crate::model::{Container, ExecConfig, ExecStart, ExecState, Status};
use crate::spec::{self, SecurityOptions};
use crate::supervisor::{self, Connection};
use crate::{Engine, Error, Result, identity};

pub(crate) use sessions::Execs;
use sessions::Session;

/// How long an ended session can still be asked for.
const KEPT_FOR: Duration = Duration::from_secs(300);
/// How long a new size waits for the session's start.
const START_PATIENCE: Duration = Duration::from_secs(1);

impl Engine {
    /// Registers a program to run in a running container; returns the session's id.
    pub async fn exec_create(&self, name: &str, config: ExecConfig) -> Result<String> {
        let container = self.container(name)?;
        require_running(&container, name)?;
        if config.cmd.is_empty() {
            return Err(Error::invalid("No exec command specified"));
        }
        require_user(&container, &config.user).await?;
        self.exec_register(&container, config, true)
    }

    /// The same for a probe of ours, which is not kept for a daemon to come.
    pub(crate) fn exec_create_probe(&self, entry: &Entry, config: ExecConfig) -> Result<String> {
        let container = entry.now();
        require_running(&container, &entry.id)?;
        self.exec_register(&container, config, false)
    }

    fn exec_register(&self, container: &Container, config: ExecConfig, keep: bool) -> Result<String> {
        let detach_keys = match config.detach_keys.as_deref() {
            None | Some("") => Vec::new(),
            Some(keys) => match DetachKeys::parse(Some(keys)) {
                Ok(keys) => keys.bytes().to_vec(),
                Err(_) => return Err(Error::invalid(format!("Invalid escape keys ({keys}) provided"))),
            },
        };
        let id = identity::fresh()?;
        self.emit_exec(container, &format!("exec_create: {}", spelled(&config.cmd)), &id, None);
        let state = ExecState {
            id: id.clone(),
            container_id: container.id.clone(),
            config,
            running: false,
            exit_code: None,
            pid: 0,
            detach_keys,
        };
        let dir = self.shim_dir(&container.id);
        self.execs.add(&Session::new(state, keep.then_some(dir.as_path())));
        self.containers
            .find(&container.id)?
            .change_in_memory(|container| container.exec_ids.push(id.clone()));
        Ok(id)
    }

    /// Runs it. `None` if detached.
    pub async fn exec_start(self: &Arc<Self>, id: &str, start: ExecStart) -> Result<Option<Attachment>> {
        let session = self.execs.find(id)?;
        let container = self.container(&session.now().container_id)?;
        require_running(&container, &container.id)?;
        let mut state = match session.claim() {
            Ok(state) => state,
            Err(error) if start.detach => return Err(error),
            Err(error) => return Ok(Some(told(&error, start.tty))),
        };
        if start.console_size.is_some() && start.tty {
            state.config.console_size = start.console_size;
        }
        self.emit_exec(&container, &format!("exec_start: {}", spelled(&state.config.cmd)), id, None);
        let begun = self.exec_begin(&container, &state, start.detach).await;
        let (pid, Connection { stream, ahead }) = match begun {
            Ok(begun) => begun,
            Err(NotStarted { error, code }) => {
                // One that never ran did not die: nobody is told.
                self.exec_over(&container, &session, code);
                if start.detach {
                    return Err(error);
                }
                return Ok(Some(told(&error, start.tty)));
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
            let keys = DetachKeys::parse(state.config.detach_keys.as_deref())?;
            let (engine, container, id) = (Arc::clone(self), Arc::clone(&container), id.to_owned());
            let left = Box::new(move || engine.emit_exec(&container, "exec_detach", &id, None));
            detach_by(keys, left, &mut input, &mut output);
        }
        // The end of any other session's input is the program's.
        let leaves_with_input = state.config.tty && state.config.attach_stdin;
        Ok(Some(Attachment { tty: start.tty, output, input, leaves_with_input }))
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
            stdout: config.attach_stdout && !detach,
            stderr: config.attach_stderr && !detach,
            seccomp: self.filters.of(&security, privileged, &capabilities)?,
        })))
    }

    /// A session has ended; `None`: with its supervisor, nobody knows how.
    fn exec_ended(self: &Arc<Self>, container: &Container, session: &Arc<Session>, code: Option<i32>) {
        let code = code.unwrap_or(137);
        let id = self.exec_over(container, session, code);
        self.emit_exec(container, "exec_die", &id, Some(code));
    }

    /// Records the end of a session; returns its id.
    fn exec_over(self: &Arc<Self>, container: &Container, session: &Arc<Session>, code: i32) -> String {
        session.change(|state| (state.running, state.exit_code) = (false, Some(code)));
        let id = session.now().id;
        if let Ok(entry) = self.containers.find(&container.id) {
            entry.change_in_memory(|container| container.exec_ids.retain(|other| *other != id));
        }
        self.exec_forget_later(id.clone());
        id
    }

    fn exec_forget_later(self: &Arc<Self>, id: String) {
        let engine = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(KEPT_FOR).await;
            engine.execs.remove(&id);
        });
    }

    /// Takes over what a former daemon has begun in a container that runs on; `running` as its supervisor says.
    pub(crate) fn exec_take_over(self: &Arc<Self>, entry: &Arc<Entry>, running: &[String]) {
        let dir = self.shim_dir(&entry.id);
        for session in Session::kept(&dir) {
            let state = session.now();
            self.execs.add(&session);
            if state.exit_code.is_some() {
                self.exec_forget_later(state.id);
                continue;
            }
            entry.change_in_memory(|container| container.exec_ids.push(state.id.clone()));
            if !session.is_claimed() {
                continue;
            }
            session.change(|session| session.running = running.contains(&state.id));
            let (engine, container, dir) = (Arc::clone(self), entry.now(), dir.clone());
            tokio::spawn(async move {
                let code = match supervisor::ask(&dir, &Request::WaitExec(state.id)).await {
                    Ok((Answer::Exited(exit), _)) => Some(exit.code),
                    _ => None,
                };
                engine.exec_ended(&container, &session, code);
            });
        }
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
        let session = self.execs.find(id)?;
        let container = self.container(&session.now().container_id)?;
        require_running(&container, &container.id)?;
        // Clients ask for it beside the start, not after it.
        let asked = tokio::time::Instant::now();
        while session.may_start() && asked.elapsed() < START_PATIENCE {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let state = session.now();
        if !state.running {
            return Err(Error::conflict("exec process is not started"));
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

/// A command in an event: Docker puts a space behind the program, whatever follows.
fn spelled(command: &[String]) -> String {
    let (program, arguments) =
        command.split_first().map_or(("", [].as_slice()), |(first, rest)| (first.as_str(), rest));
    format!("{program} {}", arguments.join(" "))
}

/// As in Docker, who is attached reads why there is nothing where the output would be.
fn told(why: &Error, tty: bool) -> Attachment {
    let output = AttachOutput::said(&format!("{why}\r\n"), tty);
    Attachment { tty, output, input: AttachInput::closed(), leaves_with_input: false }
}

/// Whether a running container knows him; who is not named is the container's own.
async fn require_user(container: &Container, user: &str) -> Result<()> {
    if user.is_empty() {
        return Ok(());
    }
    let (root, user) = (format!("/proc/{}/root", container.state.pid), user.to_owned());
    let known = move || hull_runtime::owner(&Root::open(&root)?, &user).map(drop);
    tokio::task::spawn_blocking(known).await?.map_err(|why| Error::invalid(why.to_string()))
}

fn not_running(container: &Container) -> Error {
    Error::conflict(format!("container {} is not running", container.id))
}

/// `name`: what the user calls it.
fn require_running(container: &Container, name: &str) -> Result<()> {
    let id = &container.id;
    match container.state.status {
        Status::Running => Ok(()),
        Status::Paused => {
            Err(Error::conflict(format!("Container {name} is paused, unpause the container before exec")))
        }
        Status::Restarting => {
            Err(Error::conflict(format!("Container {id} is restarting, wait until the container is running")))
        }
        _ => Err(not_running(container)),
    }
}
