//! Showing the messages of pull, push, load and import: bars that move on a terminal, plain lines elsewhere.

use crate::complain::Complaint;
use crate::human;
use crate::terminal;
use hull_api::client::Messages;
use hull_api::wire::progress::{Detail, Message};
use std::collections::HashMap;
use std::io::{self, IsTerminal as _, Write};

/// Where messages are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Screen {
    /// The result of the command.
    Stdout,
    /// Told beside the result, as when `run` pulls.
    Stderr,
    /// Nowhere; failures are still told.
    Nowhere,
}

impl Screen {
    fn open(self) -> (Box<dyn Write>, bool) {
        match self {
            Screen::Stdout => (Box::new(io::stdout()), io::stdout().is_terminal()),
            Screen::Stderr => (Box::new(io::stderr()), io::stderr().is_terminal()),
            Screen::Nowhere => (Box::new(io::sink()), false),
        }
    }
}

/// Shows messages as they come. A message of failure ends it. What was only for programs comes back.
pub(crate) async fn show(
    mut messages: Messages<Message>,
    screen: Screen,
) -> Result<Vec<serde_json::Value>, Complaint> {
    let (writer, terminal) = screen.open();
    let columns = terminal::size().map_or(80, |(_, columns)| usize::from(columns));
    let mut display = Display { writer, terminal, columns, lines: HashMap::new() };
    let mut data = Vec::new();
    while let Some(mut message) = messages.next().await? {
        if let Some(failure) = message.error_detail.take() {
            return Err(Complaint::new(failure.message));
        }
        if !message.error.is_empty() {
            return Err(Complaint::new(message.error));
        }
        match message.aux.take() {
            Some(aux) => data.push(aux),
            None => display.show(&message)?,
        }
    }
    Ok(data)
}

struct Display<W> {
    writer: W,
    terminal: bool,
    columns: usize,
    /// The line of each layer, counted from the first that is shown.
    lines: HashMap<String, usize>,
}

impl<W: Write> Display<W> {
    fn show(&mut self, message: &Message) -> io::Result<()> {
        let mut up = 0;
        if !message.id.is_empty() && message.progress_detail.is_some() {
            let count = self.lines.len();
            let line = *self.lines.entry(message.id.clone()).or_insert(count);
            if line == count && self.terminal {
                writeln!(self.writer)?;
            }
            up = self.lines.len() - line;
            self.move_cursor(up, 'A')?;
        } else {
            // Something that stays: what comes next begins below it.
            self.lines.clear();
        }
        self.write(message)?;
        if !message.id.is_empty() {
            self.move_cursor(up, 'B')?;
        }
        self.writer.flush()
    }

    fn move_cursor(&mut self, lines: usize, direction: char) -> io::Result<()> {
        match self.terminal && lines > 0 {
            true => write!(self.writer, "\x1b[{lines}{direction}"),
            false => Ok(()),
        }
    }

    fn write(&mut self, message: &Message) -> io::Result<()> {
        let bar = message.progress_detail.as_ref().map(|detail| bar(detail, self.columns));
        let prefix = if message.id.is_empty() { String::new() } else { format!("{}: ", message.id) };
        match bar {
            Some(bar) if self.terminal && message.stream.is_empty() => {
                write!(self.writer, "\x1b[2K\r{prefix}{} {bar}\r", message.status)
            }
            Some(bar) if !bar.is_empty() => Ok(()),
            _ if !message.stream.is_empty() => write!(self.writer, "{prefix}{}", message.stream),
            _ => writeln!(self.writer, "{prefix}{}", message.status),
        }
    }
}

/// "[=====>     ]  1.2MB/3.4MB"; nothing if nothing is known.
fn bar(detail: &Detail, columns: usize) -> String {
    if detail.current <= 0 && detail.total <= 0 {
        return String::new();
    }
    let amount = |bytes: i64| match detail.units.as_str() {
        "" => human::size(bytes, 4),
        units => format!("{bytes} {units}"),
    };
    let current = format!("{:>8}", amount(detail.current));
    if detail.total <= 0 {
        return current;
    }
    let half = (detail.current.min(detail.total).max(0) * 50 / detail.total) as usize;
    let drawn = match columns > 110 || columns == 0 {
        true => format!("[{}>{}] ", "=".repeat(half), " ".repeat(50 - half)),
        false => String::new(),
    };
    let numbers = match detail.hide_counts {
        true => String::new(),
        false if detail.current > detail.total => current,
        false => format!("{current}/{}", amount(detail.total)),
    };
    drawn + &numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(id: &str, status: &str, detail: Option<(i64, i64)>) -> Message {
        let progress_detail = detail.map(|(current, total)| Detail { current, total, ..Detail::default() });
        Message { id: id.to_owned(), status: status.to_owned(), progress_detail, ..Message::default() }
    }

    fn shown(terminal: bool, messages: &[Message]) -> String {
        let mut display = Display { writer: Vec::new(), terminal, columns: 80, lines: HashMap::new() };
        messages.iter().for_each(|message| display.show(message).unwrap());
        String::from_utf8(display.writer).unwrap()
    }

    fn pull() -> [Message; 5] {
        [
            message("latest", "Pulling from library/busybox", None),
            message("9ad6", "Pulling fs layer", Some((0, 0))),
            message("9ad6", "Downloading", Some((5, 10))),
            message("9ad6", "Pull complete", Some((0, 0))),
            message("", "Digest: sha256:1", None),
        ]
    }

    #[test]
    fn plain_output_has_no_bars() {
        let lines = "latest: Pulling from library/busybox\n9ad6: Pulling fs layer\n9ad6: Pull complete\nDigest: sha256:1\n";
        assert_eq!(shown(false, &pull()), lines);
    }

    #[test]
    fn a_terminal_redraws_a_layers_line() {
        let text = shown(true, &pull());
        assert!(text.starts_with(
            "latest: Pulling from library/busybox\n\n\x1b[1A\x1b[2K\r9ad6: Pulling fs layer \r\x1b[1B"
        ));
        assert!(text.contains("\x1b[1A\x1b[2K\r9ad6: Downloading       5B/10B\r\x1b[1B"), "{text:?}");
    }

    #[test]
    fn bars_grow() {
        let detail = Detail { current: 50, total: 100, ..Detail::default() };
        let expected = format!("[{}>{}]      50B/100B", "=".repeat(25), " ".repeat(25));
        assert_eq!(bar(&detail, 120), expected);
    }
}
