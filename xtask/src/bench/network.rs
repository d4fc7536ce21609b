//! Published ports: how soon one works, how many connections a second go through, and how much, with one published port
//! and with thousands.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::contest::{Task, race};
use super::engine::Engine;
use super::engines::Number;
use super::http::Connection;
use super::report::Report;
use super::{Bench, status};

/// An address of the host that is not its loopback's, so that no engine's proxy is asked where rules would do.
const HOST: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
/// How many ports are published besides the one that is asked.
const OTHERS: [usize; 3] = [0, 99, 4999];
/// More would be as many processes of Docker's proxy.
const MOST_FOR_DOCKER: usize = 99;
/// How long connections are counted, and bytes.
const SECONDS: &str = "3";
const CLIENTS: &str = "8";
const PATIENCE: Duration = Duration::from_secs(10);
/// The first port that is asked. Every measurement has one of its own: a minute of ended connections to the same would
/// use up the client's ports.
const WEB: u16 = 18_000;
const SINK: u16 = 17_999;
/// Every second port from here on, so that no two of them make a range.
const FIRST_OTHER: usize = 20_000;
/// A server of short answers.
const SERVE: &str = "mkdir -p /www; echo hello >/www/index.html; exec httpd -f -p 80 -h /www";
/// With iperf3 beside it, which is the host's.
const SERVE_ALL: &str = "/usr/bin/iperf3 -s -p 81 >/dev/null & /bin/busybox mkdir -p /www; echo hello >/www/index.html; exec /bin/busybox httpd -f -p 80 -h /www";
const OF_THE_HOST: [&str; 3] = ["/usr:/usr:ro", "/usr/lib:/lib:ro", "/usr/lib64:/lib64:ro"];

/// What is measured of a container that serves at a port of the host; `inspect` shows it so.
type Measure = fn(&Value, u16) -> Number;

pub(super) fn run(bench: &Bench, engines: &[Engine], report: &mut Report) -> Result<(), String> {
    status(Command::new("ip").args(["link", "add", "bench0", "type", "bridge"]))?;
    status(Command::new("ip").args(["address", "add", "198.18.0.1/32", "dev", "bench0"]))?;
    status(Command::new("ip").args(["link", "set", "bench0", "up"]))?;
    first_answers(bench, engines, report);
    let mut web = WEB;
    let mut measured = |engine: &Engine, others, measure| {
        web += 1;
        with_server(engine, web, others, measure)
    };
    for others in OTHERS {
        let mut found = Vec::new();
        for engine in engines.iter().filter(|engine| engine.socket.is_some()) {
            let name = engine.contestant.name;
            if name != "docker" || others <= MOST_FOR_DOCKER {
                found.push((name, measured(engine, others, connections)));
            }
        }
        let what = format!("short connections through a published port, of {} published", others + 1);
        report.values(&what, "a second", found, "flat");
    }
    let ways: [(&str, Measure); 2] =
        [("through the bridge", bridged), ("through a published port", published)];
    for (way, measure) in ways {
        let found = engines.iter().filter(|engine| engine.socket.is_some());
        let found = found.map(|engine| (engine.contestant.name, measured(engine, 0, measure))).collect();
        report.values(&format!("one connection into a container {way}"), "Gbit/s", found, "≥ Docker's");
    }
    Ok(())
}

/// From the word of the user to the first answer.
fn first_answers(bench: &Bench, engines: &[Engine], report: &mut Report) {
    let publish = format!("{WEB}:80");
    let up = ["run", "-d", "--name", "web", "-p", publish.as_str(), "box", "sh", "-c", SERVE];
    let tasks = engines.iter().map(|engine| {
        let start = move || engine.call(&up).and_then(|()| answered(WEB));
        Task::new(&engine.contestant, start).after(move || engine.call(&["rm", "-f", "web"]))
    });
    report.times("`run -d -p`, until its port answers", race(bench.rounds, tasks.collect()), &[]);
}

/// Measures while a container serves, whose port is published at the two places that are asked and at others.
fn with_server(engine: &Engine, web: u16, others: usize, measure: Measure) -> Number {
    engine.contestant.within(|| {
        let mut connection = Connection::open(engine.socket.as_deref().ok_or("no socket")?)?;
        let at = |port: usize| json!({"HostPort": port.to_string()});
        let mut ports = vec![at(web.into())];
        ports.extend((0..others).map(|number| at(FIRST_OTHER + 2 * number)));
        let body = json!({
            "Image": "box", "Cmd": ["/bin/sh", "-c", SERVE_ALL],
            "HostConfig": {"Binds": OF_THE_HOST, "PortBindings": {"80/tcp": ports, "81/tcp": [at(SINK.into())]}},
            "ExposedPorts": {"80/tcp": {}, "81/tcp": {}},
        });
        let answer = connection.ask("POST", "/v1.41/containers/create", &body.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|why| why.to_string())?;
        let id = answer["Id"].as_str().ok_or("no Id")?;
        let started = connection.ask("POST", &format!("/v1.41/containers/{id}/start"), "");
        let measured = started.and_then(|_| answered(web)).and_then(|()| {
            let container = connection.ask("GET", &format!("/v1.41/containers/{id}/json"), "")?;
            measure(&serde_json::from_str(&container).map_err(|why| why.to_string())?, web)
        });
        connection.ask("DELETE", &format!("/v1.41/containers/{id}?force=1"), "")?;
        measured
    })
}

/// Waits until somebody answers at a port.
fn answered(port: u16) -> Result<(), String> {
    let started = Instant::now();
    loop {
        match fetch(port) {
            Ok(()) => return Ok(()),
            Err(why) if started.elapsed() > PATIENCE => return Err(format!("port {port}: {why}")),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}

/// One connection, one request, one answer.
fn fetch(port: u16) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(SocketAddrV4::new(HOST, port))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    match answer.ends_with(b"hello\n") {
        true => Ok(()),
        false => Err(std::io::ErrorKind::InvalidData.into()),
    }
}

/// Connections a second of some clients at a time (wrk).
fn connections(_: &Value, web: u16) -> Number {
    let url = format!("http://{HOST}:{web}/");
    let flags =
        ["--threads", "2", "--connections", CLIENTS, "--duration", SECONDS, "--header", "Connection: close"];
    let said = said_by(Command::new("wrk").args(flags).arg(url))?;
    let failed = said.lines().find(|line| line.contains("Socket errors") || line.contains("Non-2xx"));
    let rate = said.lines().find_map(|line| line.strip_prefix("Requests/sec:"));
    match (failed, rate.and_then(|rate| rate.trim().parse().ok())) {
        (None, Some(rate)) => Ok(rate),
        (failed, _) => Err(failed.unwrap_or("wrk tells no rate").trim().to_owned()),
    }
}

/// Billions of bits a second through the published port (iperf3).
fn published(_: &Value, _: u16) -> Number {
    throughput(&HOST.to_string(), SINK)
}

/// The same to the container's own address, through the bridge.
fn bridged(container: &Value, _: u16) -> Number {
    let address = container["NetworkSettings"]["Networks"]["bridge"]["IPAddress"].as_str();
    throughput(address.ok_or("no address")?, 81)
}

fn throughput(address: &str, port: u16) -> Number {
    let port = port.to_string();
    let said = said_by(Command::new("iperf3").args(["-c", address, "-p", &port, "-t", SECONDS, "-J"]))?;
    let answer: Value = serde_json::from_str(&said).map_err(|why| why.to_string())?;
    let rate = answer["end"]["sum_received"]["bits_per_second"].as_f64();
    Ok(rate.ok_or("iperf3 tells no rate")? / 1e9)
}

fn said_by(command: &mut Command) -> Result<String, String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(|why| format!("{program}: {why}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => {
            Err(format!("{program}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()))
        }
    }
}
