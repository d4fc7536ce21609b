//! `docker top`: the processes of a container, in the columns of ps(1), read from /proc.
//!
//! Docker executes the host's ps. Hull executes nothing; it knows the forms that are used: `-ef`, `aux`, `-C NAME`, and
//! `-o COLUMN=HEAD,…` with ps's names of columns, each with `--sort COLUMN,…`.

mod arguments;

use std::fs;
use std::os::unix::fs::MetadataExt;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::model::{Status, Top};
use crate::{Engine, Error, Result};
use arguments::{Asked, asked};

/// Clock ticks of proc_pid_stat(5) in a second: USER_HZ is 100 on every architecture.
const HERTZ: u64 = 100;
/// Bytes of a page.
const PAGE: u64 = 4096;

/// One column: its name for `-o`, its head, and what stands in it.
struct Column {
    names: &'static [&'static str],
    title: &'static str,
    show: fn(&Process, &Host) -> String,
}

/// Every column there is.
const COLUMNS: &[Column] = &[
    Column {
        names: &["uid_name", "user", "euser", "uname"],
        title: "USER",
        show: |p, host| host.user(p.uid),
    },
    Column { names: &["uid", "euid"], title: "UID", show: |p, _| p.uid.to_string() },
    Column { names: &["pid"], title: "PID", show: |p, _| p.pid.to_string() },
    Column { names: &["ppid"], title: "PPID", show: |p, _| p.ppid.to_string() },
    Column { names: &["c", "cp"], title: "C", show: |p, host| format!("{}", host.percent_cpu(p) as u64) },
    Column { names: &["pcpu", "%cpu"], title: "%CPU", show: |p, host| format!("{:.1}", host.percent_cpu(p)) },
    Column {
        names: &["pmem", "%mem"],
        title: "%MEM",
        show: |p, host| format!("{:.1}", host.percent_memory(p)),
    },
    Column { names: &["vsz", "vsize"], title: "VSZ", show: |p, _| (p.virtual_bytes / 1024).to_string() },
    Column {
        names: &["rss", "rssize"],
        title: "RSS",
        show: |p, _| (p.resident_pages * PAGE / 1024).to_string(),
    },
    Column { names: &["tty", "tt", "tname"], title: "TTY", show: |p, _| terminal(p.terminal) },
    Column { names: &["stat", "state", "s"], title: "STAT", show: |p, _| p.state.to_string() },
    Column { names: &["stime", "start", "start_time"], title: "STIME", show: |p, host| host.started(p) },
    Column { names: &["time", "cputime"], title: "TIME", show: |p, _| clock(p.ticks / HERTZ) },
    Column { names: &["etime"], title: "ELAPSED", show: |p, host| elapsed(host.age(p) as u64) },
    Column { names: &["comm", "ucmd", "ucomm"], title: "COMMAND", show: |p, _| p.name.clone() },
    Column { names: &["cmd"], title: "CMD", show: |p, _| p.command.clone() },
    Column { names: &["args", "command"], title: "COMMAND", show: |p, _| p.command.clone() },
    Column { names: &["cgroup"], title: "CGROUP", show: |p, _| groups(p.pid) },
];

impl Engine {
    /// A container's processes; `ps_args` as for ps(1), empty: "-ef".
    pub async fn top(&self, name: &str, ps_args: &str) -> Result<Top> {
        let container = self.container(name)?;
        match container.state.status {
            Status::Running | Status::Paused => {}
            Status::Restarting => {
                return Err(Error::conflict(format!(
                    "Container {} is restarting, wait until the container is running",
                    container.id
                )));
            }
            _ => return Err(Error::conflict(format!("container {} is not running", container.id))),
        }
        let asked = asked(ps_args)?;
        if !asked.columns.iter().any(|(_, head)| head == "PID") {
            return Err(Error::invalid("Couldn't find PID field in ps output"));
        }
        let cgroup = container.cgroup_path(&self.options.cgroup_parent);
        let ended = Error::conflict(format!("container {} is not running", container.id));
        let top = tokio::task::spawn_blocking(move || -> Result<Top> {
            let host = Host::look();
            // Its end may come between the look at its state and this one.
            let pids = match hull_cgroup::Cgroup::open(&cgroup).and_then(|cgroup| cgroup.pids()) {
                Err(hull_cgroup::Error::NotFound(_)) => return Err(ended),
                pids => pids?,
            };
            // Those that ended between the two looks are left out.
            let processes = pids.into_iter().filter_map(Process::read).collect();
            Ok(asked.shown(processes, &host))
        })
        .await??;
        self.emit(&container, "top");
        Ok(top)
    }
}

impl Asked {
    fn shown(&self, mut processes: Vec<Process>, host: &Host) -> Top {
        processes.retain(|process| self.commands.is_empty() || self.commands.contains(&process.name));
        for (column, downwards) in self.order.iter().rev() {
            let place = |process: &Process| {
                let cell = (column.show)(process, host);
                (cell.parse::<f64>().ok(), cell)
            };
            // Numbers by their worth, all else as text; equals stay as they are.
            processes.sort_by(|one, other| {
                let order = place(one).partial_cmp(&place(other)).unwrap_or(std::cmp::Ordering::Equal);
                if *downwards { order.reverse() } else { order }
            });
        }
        let row =
            |process: Process| self.columns.iter().map(|(column, _)| (column.show)(&process, host)).collect();
        Top {
            titles: self.columns.iter().map(|(_, head)| head.clone()).collect(),
            processes: processes.into_iter().map(row).collect(),
        }
    }
}

fn column(name: &str) -> Option<&'static Column> {
    COLUMNS.iter().find(|column| column.names.contains(&name))
}

/// A process as proc_pid_stat(5) has it.
struct Process {
    pid: i32,
    ppid: i32,
    uid: u32,
    name: String,
    command: String,
    state: char,
    terminal: u32,
    ticks: u64,
    start: u64,
    virtual_bytes: u64,
    resident_pages: u64,
}

impl Process {
    fn read(pid: i32) -> Option<Self> {
        let directory = format!("/proc/{pid}");
        let stat = fs::read_to_string(format!("{directory}/stat")).ok()?;
        // The name may hold anything, parentheses and line ends, too: the last one closes it.
        let (head, tail) = stat.rsplit_once(')')?;
        let name = head.split_once('(')?.1.to_owned();
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        let number =
            |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
        let arguments = fs::read(format!("{directory}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&arguments).trim_end_matches('\0').replace('\0', " ");
        Some(Self {
            pid,
            ppid: fields.get(1)?.parse().ok()?,
            uid: fs::metadata(&directory).ok()?.uid(),
            command: if command.is_empty() { format!("[{name}]") } else { command },
            name,
            state: fields.first()?.chars().next()?,
            terminal: u32::try_from(number(4)).unwrap_or(0),
            ticks: number(11) + number(12),
            start: number(19),
            virtual_bytes: number(20),
            resident_pages: number(21),
        })
    }
}

/// The control groups of a process, as ps(1) joins them.
fn groups(pid: i32) -> String {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    text.lines().collect::<Vec<_>>().join(",")
}

/// What shares and names are reckoned against.
struct Host {
    uptime: f64,
    memory: u64,
    passwd: String,
}

impl Host {
    fn look() -> Self {
        let uptime = fs::read_to_string("/proc/uptime").unwrap_or_default();
        let info = rustix::system::sysinfo();
        Self {
            uptime: uptime.split(' ').next().and_then(|text| text.parse().ok()).unwrap_or(0.0),
            memory: info.totalram.saturating_mul(u64::from(info.mem_unit)),
            passwd: fs::read_to_string("/etc/passwd").unwrap_or_default(),
        }
    }

    /// The host's name of a user; the number where it has none.
    fn user(&self, uid: u32) -> String {
        let mut entries = self.passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let found = entries.find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(uid)));
        found.map_or_else(|| uid.to_string(), |fields| fields[0].to_owned())
    }

    fn age(&self, process: &Process) -> f64 {
        (self.uptime - process.start as f64 / HERTZ as f64).max(0.0)
    }

    fn percent_cpu(&self, process: &Process) -> f64 {
        let age = self.age(process);
        if age < 0.01 { 0.0 } else { process.ticks as f64 / HERTZ as f64 * 100.0 / age }
    }

    fn percent_memory(&self, process: &Process) -> f64 {
        process.resident_pages as f64 * PAGE as f64 * 100.0 / self.memory.max(1) as f64
    }

    /// The hour of today, else the day.
    fn started(&self, process: &Process) -> String {
        let started = Timestamp::now().as_second() - self.age(process) as i64;
        let zone = TimeZone::system();
        let Ok(started) = Timestamp::from_second(started) else { return String::new() };
        let (started, now) = (started.to_zoned(zone.clone()), Timestamp::now().to_zoned(zone));
        let form = if started.date() == now.date() { "%H:%M" } else { "%b%d" };
        started.strftime(form).to_string()
    }
}

/// The name of a terminal's device number: Unix98 terminals have the major numbers 136 to 143.
fn terminal(device: u32) -> String {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xfff00));
    match major {
        136..=143 => format!("pts/{}", (major - 136) * 256 + minor),
        4 => format!("tty{minor}"),
        _ => "?".to_owned(),
    }
}

/// `HH:MM:SS`.
fn clock(seconds: u64) -> String {
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

/// `[[DD-]HH:]MM:SS`.
fn elapsed(seconds: u64) -> String {
    let (days, hours) = (seconds / 86400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_sorted_by_columns() {
        let own = std::process::id() as i32;
        let parent = Process::read(own).unwrap().ppid;
        let shown = |args: &str| {
            let processes = [own, parent].into_iter().filter_map(Process::read).collect();
            let top = asked(args).unwrap().shown(processes, &Host::look());
            top.processes.into_iter().map(|row| row[0].parse().unwrap()).collect::<Vec<i32>>()
        };
        assert_eq!(shown("-o pid"), [own, parent]);
        assert_eq!(shown("-o pid --sort pid"), [own.min(parent), own.max(parent)]);
        assert_eq!(shown("-o pid --sort=uid,-pid"), [own.max(parent), own.min(parent)]);
        let name = Process::read(own).unwrap().name;
        assert!(shown(&format!("-C nosuch,{name} -o pid")).contains(&own));
        assert!(shown("-Cnosuch -o pid").is_empty());
    }

    #[test]
    fn a_process_is_read() {
        let own = Process::read(std::process::id() as i32).expect("our own process");
        assert!(own.ppid > 0 && own.virtual_bytes > 0 && !own.command.is_empty());
        assert!(Process::read(i32::MAX).is_none());
    }

    #[test]
    fn terminals_and_times_read_as_in_ps() {
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(136 << 8 | 3), "pts/3");
        assert_eq!(clock(3661), "01:01:01");
        assert_eq!(elapsed(90_061), "1-01:01:01");
    }
}
