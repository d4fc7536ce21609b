//! Published ports: how soon one works, how many connections a second go through, and how much, with one published port
//! and with thousands.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
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
const WHILE: Duration = Duration::from_secs(2);
const CLIENTS: usize = 4;
const PATIENCE: Duration = Duration::from_secs(10);
const WEB: u16 = 18_000;
const SINK: u16 = 18_001;
/// Every second port from here on, so that no two of them make a range.
const FIRST_OTHER: usize = 20_000;
/// A server of short answers, and one that takes everything.
const SERVE: &str = "mkdir -p /www; echo hello >/www/index.html; (while true; do nc -l -p 81 >/dev/null; done) & exec httpd -f -p 80 -h /www";

pub(super) fn run(bench: &Bench, engines: &[Engine], report: &mut Report) -> Result<(), String> {
    status(Command::new("ip").args(["link", "add", "bench0", "type", "bridge"]))?;
    status(Command::new("ip").args(["address", "add", "198.18.0.1/32", "dev", "bench0"]))?;
    status(Command::new("ip").args(["link", "set", "bench0", "up"]))?;
    first_answers(bench, engines, report);
    for others in OTHERS {
        let mut found = Vec::new();
        for engine in engines.iter().filter(|engine| engine.socket.is_some()) {
            let name = engine.contestant.name;
            if name != "docker" || others <= MOST_FOR_DOCKER {
                found.push((name, with_server(engine, others, connections)));
            }
        }
        let what = format!("short connections through a published port, of {} published", others + 1);
        report.values(&what, "a second", found, "flat");
    }
    let found = engines.iter().filter(|engine| engine.socket.is_some());
    let found = found.map(|engine| (engine.contestant.name, with_server(engine, 0, throughput))).collect();
    report.values("bytes into a container through a published port", "GB/s", found, "≥ Docker's");
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
fn with_server(engine: &Engine, others: usize, measure: fn() -> Number) -> Number {
    engine.contestant.within(|| {
        let mut connection = Connection::open(engine.socket.as_deref().ok_or("no socket")?)?;
        let at = |port: usize| json!({"HostPort": port.to_string()});
        let mut web = vec![at(WEB.into())];
        web.extend((0..others).map(|number| at(FIRST_OTHER + 2 * number)));
        let body = json!({
            "Image": "box", "Cmd": ["sh", "-c", SERVE],
            "HostConfig": {"PortBindings": {"80/tcp": web, "81/tcp": [at(SINK.into())]}},
            "ExposedPorts": {"80/tcp": {}, "81/tcp": {}},
        });
        let answer = connection.ask("POST", "/v1.41/containers/create", &body.to_string())?;
        let answer: Value = serde_json::from_str(&answer).map_err(|why| why.to_string())?;
        let id = answer["Id"].as_str().ok_or("no Id")?;
        let started = connection.ask("POST", &format!("/v1.41/containers/{id}/start"), "");
        let measured = started.and_then(|_| answered(WEB)).and_then(|()| measure());
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

/// Connections a second of some clients at a time.
fn connections() -> Number {
    let over = AtomicBool::new(false);
    let started = Instant::now();
    let counts: Vec<std::io::Result<u32>> = std::thread::scope(|scope| {
        let client = |_| {
            let over = &over;
            scope.spawn(move || {
                let mut count = 0;
                while !over.load(Ordering::Relaxed) {
                    fetch(WEB)?;
                    count += 1;
                }
                Ok(count)
            })
        };
        let clients: Vec<_> = (0..CLIENTS).map(client).collect();
        std::thread::sleep(WHILE);
        over.store(true, Ordering::Relaxed);
        clients.into_iter().filter_map(|client| client.join().ok()).collect()
    });
    let seconds = started.elapsed().as_secs_f64();
    let counts = counts.into_iter().collect::<std::io::Result<Vec<u32>>>().map_err(|why| why.to_string())?;
    Ok(f64::from(counts.iter().sum::<u32>()) / seconds)
}

/// Billions of bytes a second that one connection takes.
fn throughput() -> Number {
    let piece = vec![0; 256 << 10];
    let send = || {
        let mut stream = TcpStream::connect(SocketAddrV4::new(HOST, SINK))?;
        let (started, mut sent) = (Instant::now(), 0);
        while started.elapsed() < WHILE {
            stream.write_all(&piece)?;
            sent += piece.len();
        }
        Ok(sent as f64 / started.elapsed().as_secs_f64() / 1e9)
    };
    send().map_err(|why: std::io::Error| why.to_string())
}
