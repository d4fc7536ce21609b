//! Reading rotated logs, and lines in every shape.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use flate2::GzBuilder;
use flate2::write::GzEncoder;
use hull_shim::entry::{Entry, OVERHEAD};
use hull_shim::protocol::{LogFormat, Stream};

use super::*;
use crate::model::Tail;

fn line(text: &str, second: u32) -> String {
    let log = serde_json::to_string(text).unwrap();
    format!("{{\"log\":{log},\"stream\":\"stdout\",\"time\":\"2026-01-01T00:00:{second:02}.5Z\"}}\n")
}

fn everything() -> LogOptions {
    LogOptions { stdout: true, stderr: true, ..LogOptions::default() }
}

fn read(path: PathBuf, options: LogOptions) -> String {
    read_as(LogFormat::JsonFile, path, options)
}

fn read_as(format: LogFormat, path: PathBuf, options: LogOptions) -> String {
    let (sender, mut chunks) = mpsc::channel(1024);
    let cursor = Cursor::new(path, format, options.tail, options.since);
    Reader { cursor, painter: Painter::new(options, true, format) }.read_to_end(&sender);
    drop(sender);
    let mut all = Vec::new();
    while let Ok(chunk) = chunks.try_recv() {
        all.extend(chunk.unwrap());
    }
    String::from_utf8(all).unwrap()
}

/// Three files of ten lines each, "0" the oldest line and "29" the youngest.
fn rotated(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("x.log");
    for (file, name) in ["x.log.2", "x.log.1", "x.log"].iter().enumerate() {
        let text: String = (file * 10..file * 10 + 10).fold(String::new(), |mut text, number| {
            write!(text, "{}", line(&format!("{number}\n"), number as u32)).unwrap();
            text
        });
        fs::write(directory.path().join(name), text).unwrap();
    }
    path
}

fn numbers(range: std::ops::Range<u32>) -> String {
    range.map(|number| format!("{number}\n")).collect()
}

#[test]
fn rotated_files_are_read_in_order() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(read(rotated(&directory), everything()), numbers(0..30));
}

#[test]
fn a_tail_crosses_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = rotated(&directory);
    for count in [0, 1, 9, 10, 11, 25, 30, 31] {
        let options = LogOptions { tail: Tail::Lines(count as usize), ..everything() };
        assert_eq!(read(path.clone(), options), numbers(30u32.saturating_sub(count)..30), "{count}");
    }
}

#[test]
fn since_and_until_are_bounds() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions {
        since: Some("2026-01-01T00:00:03Z".parse().unwrap()),
        until: Some("2026-01-01T00:00:06Z".parse().unwrap()),
        ..everything()
    };
    assert_eq!(read(rotated(&directory), options), numbers(3..6));
}

#[test]
fn times_have_nine_digits() {
    let directory = tempfile::tempdir().unwrap();
    let options = LogOptions { timestamps: true, tail: Tail::Lines(1), ..everything() };
    assert_eq!(read(rotated(&directory), options), "2026-01-01T00:00:29.500000000Z 29\n");
}

#[test]
fn text_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let text = "quote \" back \\ \\\" tab\t cr\r esc\u{1b}[0m nul\0 ünï \u{1f600} \\n\n";
    fs::write(
        &path,
        line(text, 1) + "{\"log\":\"pair \\ud83d\\ude00\\n\",\"stream\":\"stderr\",\"time\":\"\"}\n",
    )
    .unwrap();
    assert_eq!(read(path, everything()), format!("{text}pair \u{1f600}\n"));
}

#[test]
fn torn_and_foreign_lines_do_no_harm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let foreign = "{\"stream\":\"stdout\",\"attrs\":{\"a\":\"b\"},\"log\":\"foreign\\n\",\"time\":\"\"}\n";
    fs::write(&path, format!("\0\0{{\"log\n{foreign}{}{{\"log\":\"unfinished", line("last\n", 2))).unwrap();
    assert_eq!(read(path.clone(), everything()), "foreign\nlast\n");
    assert_eq!(read(path, LogOptions { details: true, ..everything() }), "a=b foreign\n last\n");
}

#[test]
fn frames_say_their_stream_and_length() {
    let mut out = Vec::new();
    let painter = Painter::new(everything(), false, LogFormat::JsonFile);
    assert!(painter.paint(line("hello\n", 1).as_bytes(), &mut out));
    assert_eq!(out, b"\x01\0\0\0\0\0\0\x06hello\n");
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }
}

/// Text of a JSON string, escaped in every way there is, and sometimes in one there is not.
fn hostile(dice: &mut Dice) -> Vec<u8> {
    const PIECES: [&[u8]; 24] = [
        b"a",
        b"plain text ",
        br"\n",
        br"\\",
        br#"\""#,
        br"\/",
        br"\t",
        br"\r",
        br"\b",
        br"\f",
        br"\u0000",
        br"\u001b",
        br"\u00e9",
        br"\ud83d\ude00",
        "\u{20ac}".as_bytes(),
        "\u{1f600}".as_bytes(),
        br"\ud83d",
        br"\ude00",
        br"\u12",
        br"\x",
        b"\xff",
        b"\"",
        b"\0",
        b"\\",
    ];
    (0..dice.roll(12)).flat_map(|_| PIECES[dice.roll(PIECES.len())].to_vec()).collect()
}

#[test]
fn the_short_way_reads_what_the_general_way_does() {
    let mut dice = Dice(1);
    let (mut short, mut read) = (0, 0);
    for _ in 0..50_000 {
        let text = hostile(&mut dice);
        let stream: &[u8] = [&b"stdout"[..], b"stderr"][dice.roll(2)];
        let parts: [&[u8]; 5] =
            [br#"{"log":""#, &text, br#"","stream":""#, stream, b"\",\"time\":\"2026-01-01T00:00:00.5Z\"}\n"];
        let mut line = parts.concat();
        if dice.roll(4) == 0 {
            let at = dice.roll(line.len());
            line[at] = b"\"\\{},:x\0"[dice.roll(8)];
        }
        let found = line::short(&line);
        short += usize::from(found.is_some());
        let Some(expected) = line::general(&line) else { continue };
        read += 1;
        if let Some(found) = found {
            assert_eq!(found, expected, "{}", String::from_utf8_lossy(&line));
        }
    }
    assert!(short > 20_000 && read > 10_000, "{short} {read}");
}

#[test]
fn lines_longer_than_a_block_are_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    let texts: Vec<String> =
        [1, 300_000, 2, 262_144, 600_000, 3].iter().map(|length| "x".repeat(*length) + "\n").collect();
    fs::write(&path, texts.iter().map(|text| line(text, 1)).collect::<String>()).unwrap();
    assert_eq!(read(path.clone(), everything()), texts.concat());
    let options = LogOptions { tail: Tail::Lines(2), ..everything() };
    assert_eq!(read(path, options), texts[4..].concat());
}

#[test]
fn a_rotation_under_a_reader_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    fs::write(&path, line("one\n", 1)).unwrap();
    let mut cursor = Cursor::new(path.clone(), LogFormat::JsonFile, Tail::All, None);
    assert!(cursor.read().unwrap().is_some());
    assert!(cursor.read().unwrap().is_none());
    let mut old = fs::OpenOptions::new().append(true).open(&path).unwrap();
    std::io::Write::write_all(&mut old, line("two\n", 2).as_bytes()).unwrap();
    fs::rename(&path, directory.path().join("x.log.1")).unwrap();
    fs::write(&path, line("three\n", 3)).unwrap();
    assert_eq!(cursor.read().unwrap(), Some(line("two\n", 2).as_bytes()));
    assert_eq!(cursor.read().unwrap(), Some(line("three\n", 3).as_bytes()));
    assert!(cursor.read().unwrap().is_none());
}

/// Entries as a supervisor writes them, numbered.
fn entries(range: std::ops::Range<u32>) -> Vec<u8> {
    let mut all = Vec::new();
    for number in range {
        let line = number.to_string();
        let entry = Entry {
            stream: Stream::Stdout,
            time: i64::from(number) * 1_000_000_000,
            line: line.as_bytes(),
            piece: None,
        };
        let mut out = vec![0; line.len() + OVERHEAD];
        let count = entry.put(&mut out);
        all.extend_from_slice(&out[..count]);
    }
    all
}

/// Three files of ten entries each; the oldest one is packed.
fn packed(directory: &tempfile::TempDir) -> PathBuf {
    let path = directory.path().join("x.log");
    let mut packer = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(&entries(0..10)).unwrap();
    fs::write(directory.path().join("x.log.2.gz"), packer.finish().unwrap()).unwrap();
    fs::write(directory.path().join("x.log.1"), entries(10..20)).unwrap();
    fs::write(&path, entries(20..30)).unwrap();
    path
}

#[test]
fn entries_are_read_across_packed_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = packed(&directory);
    assert_eq!(read_as(LogFormat::Entries, path.clone(), everything()), numbers(0..30));
    for count in [0, 1, 9, 10, 11, 25, 30, 31] {
        let options = LogOptions { tail: Tail::Lines(count as usize), ..everything() };
        let found = read_as(LogFormat::Entries, path.clone(), options);
        assert_eq!(found, numbers(30u32.saturating_sub(count)..30), "{count}");
    }
    let since = Some("1970-01-01T00:00:28.000000001Z".parse().unwrap());
    let options = LogOptions { since, timestamps: true, ..everything() };
    assert_eq!(read_as(LogFormat::Entries, path, options), "1970-01-01T00:00:29.000000000Z 29\n");
}

#[test]
fn a_torn_entry_hides_no_other_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = packed(&directory);
    let torn = [entries(10..20), vec![0; 100]].concat();
    fs::write(directory.path().join("x.log.1"), torn).unwrap();
    assert_eq!(read_as(LogFormat::Entries, path, everything()), numbers(0..30));
}

#[test]
fn old_files_are_not_opened_for_what_is_young() {
    let directory = tempfile::tempdir().unwrap();
    let path = rotated(&directory);
    let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
    fs::File::open(directory.path().join("x.log.1")).unwrap().set_modified(old).unwrap();
    let options = LogOptions { since: Some("2026-01-01T00:00:00Z".parse().unwrap()), ..everything() };
    assert_eq!(read(path, options), numbers(20..30));
}

#[test]
fn a_follower_is_not_led_back_by_packing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.log");
    fs::write(&path, line("0\n", 0)).unwrap();
    let mut cursor = Cursor::new(path.clone(), LogFormat::JsonFile, Tail::All, None);
    assert!(cursor.read().unwrap().is_some());
    // Rotated, packed as a supervisor does it, and begun anew.
    let facts = fs::metadata(&path).unwrap();
    let identity = [facts.dev().to_le_bytes(), facts.ino().to_le_bytes()].concat();
    let mut packer = GzBuilder::new().extra(identity).write(Vec::new(), flate2::Compression::fast());
    packer.write_all(line("0\n", 0).as_bytes()).unwrap();
    fs::remove_file(&path).unwrap();
    fs::write(directory.path().join("x.log.1.gz"), packer.finish().unwrap()).unwrap();
    fs::write(&path, line("1\n", 1)).unwrap();
    let next = cursor.read().unwrap().map(<[u8]>::to_vec);
    assert_eq!(next, Some(line("1\n", 1).into_bytes()));
}

#[test]
fn what_is_written_after_the_beginning_is_not_of_the_past() {
    let directory = tempfile::tempdir().unwrap();
    let path = rotated(&directory);
    let mut writer = fs::OpenOptions::new().append(true).open(&path).unwrap();
    for (tail, expected) in [(Tail::All, 30), (Tail::Lines(12), 12), (Tail::Lines(1), 1)] {
        let lines = fs::read_to_string(&path).unwrap().lines().count() as u32 - 10;
        let mut cursor = Cursor::new(path.clone(), LogFormat::JsonFile, tail, None).up_to_now();
        // It looks where the end is at its first read.
        let mut read = cursor.read().unwrap().unwrap().to_vec();
        writer.write_all(line("later\n", 40).as_bytes()).unwrap();
        while let Some(more) = cursor.read().unwrap() {
            read.extend_from_slice(more);
            writer.write_all(line("later\n", 40).as_bytes()).unwrap();
        }
        let found = memchr::memchr_iter(b'\n', &read).count() as u32;
        let expected = if expected == 30 { 30 + lines } else { expected };
        assert_eq!(found, expected, "{tail:?}");
    }
    // Where there is no log yet, there is no past.
    let none = directory.path().join("none.log");
    let mut cursor = Cursor::new(none.clone(), LogFormat::JsonFile, Tail::All, None).up_to_now();
    assert!(cursor.read().unwrap().is_none());
    fs::write(&none, line("later\n", 40)).unwrap();
    assert!(cursor.read().unwrap().is_none());
}
