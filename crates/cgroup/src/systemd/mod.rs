//! Cgroups that systemd makes: a container's is a *scope*, a unit around processes that others started.
//!
//! systemd owns the tree of a host that it booted, and takes away what it does not know of. So it is asked for a scope,
//! with `Delegate`, below which the cgroup is ours as any other is. Its limits are told to systemd, too, which would
//! otherwise set its own the next time it looks at its units. Interface: `org.freedesktop.systemd1(5)`; properties:
//! systemd.resource-control(5). No library: see docs/adr/0015.
//!
//! A scope is *active* as long as a process is in it; then systemd forgets it, or keeps it as *failed* until it is told
//! to forget.

mod bus;
mod properties;
#[cfg(test)]
mod tests;
mod wire;

use hull_oci::runtime::LinuxResources;

use bus::Bus;
use wire::{Body, Message, Property, Value};

use crate::error::{Error, Result};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";

/// The scope of one container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    slice: String,
    unit: String,
}

/// One systemd: that of the host or that of a user.
#[derive(Debug)]
pub struct Manager {
    bus: Bus,
    /// The cgroup below which it has its units; empty is the root.
    parent: String,
}

impl Scope {
    /// The scope that `cgroupsPath` names: `slice:prefix:name`, or nothing for the usual one of container `id`.
    pub fn parse(cgroups_path: &str, id: &str, of_user: bool) -> Result<Self> {
        let slice = if of_user { "user.slice" } else { "system.slice" };
        if cgroups_path.is_empty() {
            return Ok(Self { slice: slice.to_owned(), unit: format!("hull-{id}.scope") });
        }
        let [given, prefix, name] = cgroups_path.split(':').collect::<Vec<_>>()[..] else {
            return Err(Error::Invalid(format!(
                "cgroupsPath {cgroups_path:?} is not of the form slice:prefix:name that systemd's cgroups have"
            )));
        };
        let slice = if given.is_empty() { slice } else { given };
        slice_path(slice)?;
        let unit = if prefix.is_empty() { name.to_owned() } else { format!("{prefix}-{name}") };
        if name.is_empty() || unit.contains('/') {
            return Err(Error::Invalid(format!("cgroupsPath {cgroups_path:?} names no unit")));
        }
        Ok(Self { slice: slice.to_owned(), unit: format!("{unit}.scope") })
    }

    /// The unit's name.
    pub fn unit(&self) -> &str {
        &self.unit
    }

    /// Where its cgroup lies below its manager's: `/a.slice/a-b.slice/prefix-name.scope`.
    fn path(&self) -> Result<String> {
        Ok(format!("{}/{}", slice_path(&self.slice)?, self.unit))
    }
}

/// A slice lies in those that its name begins with: `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` is the root.
fn slice_path(slice: &str) -> Result<String> {
    let invalid = || Error::Invalid(format!("{slice:?} is no name of a slice"));
    let name = slice.strip_suffix(".slice").filter(|name| !name.contains('/')).ok_or_else(invalid)?;
    if name == "-" {
        return Ok(String::new());
    }
    let mut path = String::new();
    let mut so_far = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(invalid());
        }
        so_far = if so_far.is_empty() { part.to_owned() } else { format!("{so_far}-{part}") };
        path = format!("{path}/{so_far}.slice");
    }
    Ok(path)
}

impl Manager {
    /// The systemd of the host, or of the calling user.
    pub fn connect(of_user: bool) -> Result<Self> {
        let variable = if of_user { "DBUS_SESSION_BUS_ADDRESS" } else { "DBUS_SYSTEM_BUS_ADDRESS" };
        let usual = || match of_user {
            false => "unix:path=/run/dbus/system_bus_socket".to_owned(),
            true => format!("unix:path={}/bus", std::env::var("XDG_RUNTIME_DIR").unwrap_or_default()),
        };
        let mut bus = Bus::connect(&std::env::var(variable).unwrap_or_else(|_| usual()))?;
        let body = Body::default().text(MANAGER).text("ControlGroup");
        let get = Message::call(PATH, "org.freedesktop.DBus.Properties", "Get", NAME, body);
        let parent = bus.call(get)?.words()?.into_iter().next().unwrap_or_default();
        Ok(Self { bus, parent: parent.trim_end_matches('/').to_owned() })
    }

    /// The path of the scope's cgroup.
    pub fn cgroup(&self, scope: &Scope) -> Result<String> {
        Ok(format!("{}{}", self.parent, scope.path()?))
    }

    /// Makes the scope around a process; returns when it is there.
    pub fn start(
        &mut self,
        scope: &Scope,
        id: &str,
        pid: u32,
        resources: Option<&LinuxResources>,
    ) -> Result<()> {
        // systemd tells of its jobs only where someone has asked to be told.
        self.call("Subscribe", Body::default())?;
        self.bus
            .listen(&format!("type='signal',sender='{NAME}',interface='{MANAGER}',member='JobRemoved'"))?;
        let mut properties: Vec<Property> = vec![
            ("Description", Value::Text(format!("container {id}"))),
            ("Slice", Value::Text(scope.slice.clone())),
            ("Delegate", Value::Bool(true)),
            ("DefaultDependencies", Value::Bool(false)),
            ("CollectMode", Value::Text("inactive-or-failed".to_owned())),
            ("PIDs", Value::Numbers(vec![pid])),
        ];
        let accounting = ["MemoryAccounting", "CPUAccounting", "IOAccounting", "TasksAccounting"];
        properties.extend(accounting.map(|name| (name, Value::Bool(true))));
        properties.extend(resources.map(properties::of).transpose()?.unwrap_or_default());
        let body = Body::default().text(&scope.unit).text("fail").properties(&properties).no_units();
        let start = Message::call(PATH, MANAGER, "StartTransientUnit", NAME, body);
        let job = match self.bus.ask(start.clone())? {
            // What is left of one that failed; a scope that runs stays, and the second try says so.
            Err(refusal) if refusal.name == EXISTS => {
                self.forget(scope)?;
                self.bus.call(start)?
            }
            Err(refusal) => {
                let text =
                    format!("systemd does not start {}: {} ({})", scope.unit, refusal.why, refusal.name);
                return Err(Error::Invalid(text));
            }
            Ok(job) => job,
        };
        self.wait(&job.words()?.concat(), &scope.unit)
    }

    /// Waits for the end of a job.
    fn wait(&mut self, job: &str, unit: &str) -> Result<()> {
        loop {
            let words = self.bus.signal("JobRemoved")?.words()?;
            match words.as_slice() {
                [_, path, _, result] if path == job => match result.as_str() {
                    "done" => return Ok(()),
                    other => return Err(Error::Invalid(format!("systemd could not start {unit}: {other}"))),
                },
                _ => {}
            }
        }
    }

    /// Tells systemd of other limits.
    pub fn update(&mut self, scope: &Scope, resources: &LinuxResources) -> Result<()> {
        let properties = properties::of(resources)?;
        if properties.is_empty() {
            return Ok(());
        }
        let body = Body::default().text(&scope.unit).flag(true).properties(&properties);
        self.call("SetUnitProperties", body)
    }

    /// Ends the scope, with all that is in it. One that is gone counts as ended.
    pub fn stop(&mut self, scope: &Scope) -> Result<()> {
        let body = Body::default().text(&scope.unit).text("replace");
        // A refusal: it has gone with its last process.
        let _ = self.bus.ask(Message::call(PATH, MANAGER, "StopUnit", NAME, body))?;
        self.forget(scope)
    }

    /// Lets systemd forget how it ended. That there is nothing to forget is well.
    fn forget(&mut self, scope: &Scope) -> Result<()> {
        let body = Body::default().text(&scope.unit);
        self.bus.ask(Message::call(PATH, MANAGER, "ResetFailedUnit", NAME, body)).map(drop)
    }

    fn call(&mut self, member: &str, body: Body) -> Result<()> {
        self.bus.call(Message::call(PATH, MANAGER, member, NAME, body)).map(drop)
    }
}
