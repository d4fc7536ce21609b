//! A registry to push to and pull from.

use std::fs;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use crate::Daemon;
use crate::output::{PATIENCE, eventually};

/// Debian's docker-registry on a port of the test's own network; it ends with the test.
#[derive(Debug)]
pub struct Registry(Child);

impl Registry {
    /// Starts it, on port 5000.
    ///
    /// # Panics
    /// If there is none: `make test` installs it.
    pub fn start(daemon: &Daemon) -> Self {
        let root = daemon.dir().join("registry");
        let config = daemon.dir().join("registry.yml");
        let text = format!(
            "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\nhttp:\n  addr: 127.0.0.1:5000\n",
            root.display()
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(&config).stdout(Stdio::null()).stderr(Stdio::null());
        let registry = Self(command.spawn().expect("docker-registry: `make test` installs it"));
        assert!(eventually(PATIENCE, || TcpStream::connect("127.0.0.1:5000").is_ok()));
        registry
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
