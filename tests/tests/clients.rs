//! Clients that others wrote, unmodified, as `scripts/clients` installs them: their tests are in `clients/`. Each runs
//! against hulld, and against Debian's Docker, so that a test is known to test Docker's behaviour and not ours.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fs;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hull_sys::mount;
use hull_testkit::{Daemon, Dockerd, Running, images, namespaces};
use serde_json::json;

/// Longer than a whole suite takes on two busy cores.
const PATIENCE: Duration = Duration::from_secs(230);

/// The daemon that a client speaks to.
enum Server {
    Hull(Daemon),
    Docker(Dockerd),
}

impl Server {
    fn hull() -> Self {
        own_run();
        Self::Hull(Daemon::start()).with_busybox()
    }

    fn docker() -> Self {
        own_run();
        Self::Docker(Dockerd::start()).with_busybox()
    }

    /// A program that finds the daemon, and keeps its files beside it.
    fn command(&self, program: &Path) -> Command {
        let mut command = match self {
            Self::Hull(daemon) => daemon.command(program),
            Self::Docker(daemon) => daemon.command(program),
        };
        command.env("TMPDIR", self.dir());
        command
    }

    fn dir(&self) -> &Path {
        match self {
            Self::Hull(daemon) => daemon.dir(),
            Self::Docker(daemon) => daemon.dir(),
        }
    }

    fn socket(&self) -> PathBuf {
        match self {
            Self::Hull(daemon) => daemon.socket(),
            Self::Docker(daemon) => daemon.socket(),
        }
    }

    fn with_busybox(self) -> Self {
        self.load(&images::Image::busybox(), images::BUSYBOX);
        self
    }

    /// No registry is at hand: what a client asks for by name is made here.
    fn load(&self, image: &images::Image, name: &str) {
        let archive = self.dir().join("image.tar");
        fs::write(&archive, image.docker_archive(name)).unwrap();
        Running::start(self.command(Path::new("docker")).arg("load").arg("-i").arg(&archive)).finish().ok();
        fs::remove_file(archive).unwrap();
    }

    /// Runs a client's tests, which must all pass.
    fn passes(&self, command: &mut Command) {
        let output = Running::start(command).finish_within(PATIENCE);
        assert_eq!(output.code, 0, "{}\n{}\n{}", output.command, output.stdout, output.stderr);
    }

    /// pytest on files of `clients/python`.
    fn pytest(&self, file: &str) -> Command {
        let mut command = self.command(&installed("python/bin/python"));
        command.args(["-m", "pytest", "-q", "--timeout", "120", "-p", "no:cacheprovider", "--tb", "short"]);
        command.arg("--basetemp").arg(self.dir().join("pytest")).env("PYTHONDONTWRITEBYTECODE", "1");
        command.arg(sources(file)).current_dir(self.dir());
        command
    }

    /// Node's own runner on a file of `clients/node`, beside the packages that it needs.
    fn node(&self, file: &str) -> Command {
        let beside = installed("node").join(file);
        fs::copy(sources("node").join(file), &beside).unwrap();
        let mut command = self.command(&installed("node/node_modules/.bin/node"));
        command.args(["--test", "--test-timeout", "120000"]).arg(beside).current_dir(self.dir());
        command
    }

    /// Testcontainers as it finds a daemon by itself: at the usual place, with the reaper that it starts first. That
    /// one's image cannot be had here; what stands in for it takes the connection and agrees.
    fn testcontainers(&self, mut command: Command, reaper: &str) {
        let agree = "echo Now Started!; exec nc -ll -p 8080 -e sh -c 'while read -r line; do echo ACK; done'";
        let image = images::Image::busybox()
            .set("Cmd", json!(["sh", "-c", agree]))
            .set("ExposedPorts", json!({ "8080/tcp": {} }));
        self.load(&image, reaper);
        std::os::unix::fs::symlink(self.socket(), "/run/docker.sock").unwrap();
        self.passes(command.env_remove("DOCKER_HOST"));
    }

    fn compose(&self, program: &Path) {
        self.passes(self.pytest("python/test_compose.py").env("COMPOSE", program));
    }
}

/// What daemons and clients keep in /run is the test's own.
fn own_run() {
    namespaces::enter();
    let tmpfs = mount::new_fs("tmpfs", &[], mount::Attr::empty()).unwrap();
    mount::move_to_path(tmpfs.as_fd(), "/run").unwrap();
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(1).unwrap().to_owned()
}

fn sources(name: &str) -> PathBuf {
    root().join("clients").join(name)
}

fn installed(name: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let path = target.join("clients").join(name);
    assert!(path.exists(), "{} is missing: scripts/clients installs it", path.display());
    path
}

/// A test of a client against either daemon.
macro_rules! both {
    ($($name:ident => $test:expr;)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn with_hull() {
                let test: fn(&Server) = $test;
                test(&Server::hull());
            }

            #[test]
            fn with_docker() {
                let test: fn(&Server) = $test;
                test(&Server::docker());
            }
        }
    )*};
}

both! {
    docker_py => |server| server.passes(&mut server.pytest("python/test_docker_py.py"));
    dockerode => |server| server.passes(&mut server.node("dockerode.test.mjs"));
    bollard => |server| server.passes(&mut server.command(&installed("bin/bollard")));
    compose_1 => |server| server.compose(Path::new("docker-compose"));
    compose_2 => |server| server.compose(&installed("sources/compose"));
    testcontainers_python => |server| {
        server.testcontainers(server.pytest("python/test_testcontainers.py"), "testcontainers/ryuk:0.8.1");
    };
    testcontainers_node => |server| {
        server.testcontainers(server.node("testcontainers.test.mjs"), "testcontainers/ryuk:0.14.0");
    };
    // It starts no reaper.
    testcontainers_rust => |server| server.passes(&mut server.command(&installed("bin/testcontainers")));
}

/// docker-py's own tests of a daemon, by its newest release. Which of them ask for what no newer Docker does, or is not
/// to be had here, is in `clients/python/left-out.txt`, each with its reason.
#[test]
fn docker_pys_own_tests() {
    let server = Server::hull();
    for name in ["alpine:latest", "alpine:3.10"] {
        server.load(&images::Image::busybox(), name);
    }
    std::os::unix::fs::symlink(server.socket(), "/run/docker.sock").unwrap();
    let mut command = server.command(&installed("python/bin/python"));
    command.args(["-m", "pytest", "-q", "--timeout", "60", "-p", "no:cacheprovider", "--tb", "short"]);
    command.arg("tests/integration").current_dir(installed("sources"));
    for line in fs::read_to_string(sources("python/left-out.txt")).unwrap().lines() {
        if let Some(left_out) = line.split_whitespace().next().filter(|word| *word != "#") {
            command.arg(format!("--deselect=tests/integration/{left_out}"));
        }
    }
    command.env("DOCKER_TEST_API_VERSION", "1.41").env("PYTHONDONTWRITEBYTECODE", "1");
    server.passes(&mut command);
}
