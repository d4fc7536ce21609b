//! `hull-log`: hands the output of one container to a destination that is no file. Started by its supervisor.
//!
//! ```text
//! (nothing) ──reached the destination──► Open ──the supervisor closes the pipe──► Closing ──all handed on──► (ended)
//!     └──did not──► (says why, ended)      └──outage: reached anew, message by message──┘   └──10 s──► (ended)
//! ```
//!
//! One that takes the place of another ([`RemoteLog::waits`]) says nothing, and goes on trying.
//!
//! Standard input: one line of JSON, a [`RemoteLog`], then entries ([`hull_shim::entry`]). Standard output: one answer.
//! It blocks where the destination blocks; then the pipe fills, and the supervisor decides what that means. Nothing
//! survives it: what it has read and not handed on is lost when it is killed.

mod fluentd;
mod gelf;
mod journald;
mod syslog;
mod wire;

use std::io::{self, BufRead, BufReader, Read};
use std::process::ExitCode;
use std::time::Duration;

use hull_shim::entry::{self, Entry};
use hull_shim::protocol::{self, Answer, Destination, RemoteLog};
use hull_sys::Context;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::OFlags;

use crate::creation::open_null;

/// The name of this program when it is a logger.
pub(crate) const NAME: &str = "hull-log";
/// Bytes of the longest description of a destination.
const MAX_CONFIG: u64 = 1 << 20;
/// How long a destination has to take what is left when the container has ended.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Between two attempts to reach a destination that is away.
const PAUSE: Duration = Duration::from_secs(1);
/// What the thread that watches the time needs.
const STACK: usize = 64 << 10;

/// Someone who gets entries.
trait Sink {
    /// Hands one on, and tries again where that is worth it. Docker drops what does not go; so does this.
    fn send(&mut self, entry: &Entry<'_>);
}

/// Why a destination was not reached, in the words that users of Docker know.
type Outcome<T> = Result<T, String>;

pub(crate) fn run() -> ExitCode {
    // As the supervisor's own; without the privilege it is as mortal as others.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-998");
    let mut input = BufReader::new(io::stdin().lock());
    let config = read_config(&mut input);
    watch_the_time();
    let sink = config.and_then(|config| match config.waits {
        true => Ok(wait_for(&config.destination)),
        false => open(config.destination),
    });
    let answer = match &sink {
        Ok(_) => Answer::Ok,
        Err(why) => Answer::Invalid(why.clone()),
    };
    // If the supervisor is gone, so is the pipe.
    let _ = say(&answer);
    let Ok(mut sink) = sink else { return ExitCode::FAILURE };
    hand_on(&mut input, sink.as_mut());
    ExitCode::SUCCESS
}

/// The first and only line for the supervisor, who waits for its end.
fn say(answer: &Answer) -> hull_sys::Result<()> {
    let line = protocol::encode(answer).map_err(io::Error::from).op("encode")?;
    rustix::io::write(rustix::stdio::stdout(), &line).op("write answer")?;
    rustix::stdio::dup2_stdout(&open_null(OFlags::WRONLY)?).op("dup2")
}

fn read_config(input: &mut impl BufRead) -> Outcome<RemoteLog> {
    let mut line = Vec::new();
    input.take(MAX_CONFIG).read_until(b'\n', &mut line).map_err(|error| error.to_string())?;
    protocol::decode(&line).map_err(|error| error.to_string())
}

fn open(destination: Destination) -> Outcome<Box<dyn Sink>> {
    Ok(match destination {
        Destination::Journald { fields } => Box::new(journald::Journal::open(&fields)?),
        Destination::Syslog(config) => Box::new(syslog::Sender::open(config)?),
        Destination::Gelf(config) => Box::new(gelf::Sender::open(config)?),
        Destination::Fluentd(config) => Box::new(fluentd::Sender::open(config)?),
    })
}

/// Reaches a destination, however long that takes.
fn wait_for(destination: &Destination) -> Box<dyn Sink> {
    loop {
        match open(destination.clone()) {
            Ok(sink) => return sink,
            Err(_) => std::thread::sleep(PAUSE),
        }
    }
}

/// Ends this process when the pipe has been closed for a while, whatever it waits for.
fn watch_the_time() {
    let watch = || {
        let hung_up = PollFlags::HUP | PollFlags::ERR;
        let ends = |poll: &PollFd<'_>| poll.revents().intersects(hung_up);
        loop {
            let mut input = [PollFd::from_borrowed_fd(rustix::stdio::stdin(), PollFlags::empty())];
            if poll(&mut input, None).is_ok() && ends(&input[0]) {
                std::thread::sleep(LAST_WORDS);
                std::process::exit(1);
            }
        }
    };
    // Without the thread it only lasts longer.
    drop(std::thread::Builder::new().stack_size(STACK).spawn(watch));
}

fn hand_on(input: &mut impl Read, sink: &mut dyn Sink) {
    let mut frame = Vec::new();
    while read_frame(input, &mut frame).is_ok() {
        if let Some(entry) = entry::decode(&frame) {
            sink.send(&entry);
        }
    }
}

fn read_frame(input: &mut impl Read, frame: &mut Vec<u8>) -> io::Result<()> {
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let size = usize::try_from(entry::size_of_last(length)).map_err(io::Error::other)?;
    frame.clear();
    frame.extend_from_slice(&length);
    frame.resize(size, 0);
    input.read_exact(&mut frame[length.len()..])
}
