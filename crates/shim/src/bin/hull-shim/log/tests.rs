//! What is written to a log, byte by byte.

use std::path::Path;

use serde_json::Value;

use super::*;

fn log_in(dir: &Path) -> LogFile {
    LogFile::bounded(dir.join("x-json.log"))
}

fn records(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).expect("log file");
    text.lines().map(|line| serde_json::from_str(line).expect("a record")).collect()
}

fn texts(records: &[Value]) -> String {
    records.iter().map(|record| record["log"].as_str().expect("text")).collect()
}

#[test]
fn records_are_dockers() {
    let dir = tempfile::tempdir().expect("directory");
    let mut config = log_in(dir.path());
    config.attrs.insert("tag".into(), "a\"b".into());
    let mut log = Writer::open(&config).expect("log");
    assert_eq!(log.append(Stream::Stdout, b"one\ntwo\nthr", &Stamp::now()), 8);
    log.finish(Stream::Stderr, b"end", &Stamp::now());
    let records = records(&config.path);
    assert_eq!(records.len(), 3);
    assert_eq!(records[1]["log"], "two\n");
    assert_eq!(records[1]["stream"], "stdout");
    assert_eq!(records[1]["attrs"]["tag"], "a\"b");
    assert_eq!(records[2]["log"], "end");
    assert_eq!(records[2]["stream"], "stderr");
    assert_eq!(records[2]["time"].as_str().map(str::len), Some(Stamp::SIZE));
}

#[test]
fn rotation_keeps_the_youngest_and_loses_nothing_of_them() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { max_size: Some(10_000), max_file: 3, ..log_in(dir.path()) };
    let mut log = Writer::open(&config).expect("log");
    let text: String = (0..1_000).map(|number| format!("line {number}\n")).collect();
    assert_eq!(log.append(Stream::Stdout, text.as_bytes(), &Stamp::now()), text.len());
    let name = |number| dir.path().join(format!("x-json.log.{number}"));
    assert!(!name(3).exists());
    let all = [records(&name(2)), records(&name(1)), records(&config.path)].concat();
    assert!(text.ends_with(&texts(&all)), "the files hold the end of the output");
    for file in [name(2), name(1)] {
        let size = file.metadata().expect("metadata").len();
        assert!((10_000..10_200).contains(&size), "{size}");
    }
}

#[test]
fn a_file_alone_starts_again() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { max_size: Some(1_000), max_file: 1, ..log_in(dir.path()) };
    let mut log = Writer::open(&config).expect("log");
    for number in 0..100 {
        log.append(Stream::Stdout, format!("line {number}\n").as_bytes(), &Stamp::now());
    }
    assert!(config.path.metadata().expect("metadata").len() < 1_000);
    assert_eq!(std::fs::read_dir(dir.path()).expect("list").count(), 1);
}

#[test]
fn large_output_comes_back_whole() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { max_size: None, ..log_in(dir.path()) };
    let mut log = Writer::open(&config).expect("log");
    let text: String =
        (0..100_000).map(|number| format!("{number} {}\n", "é\"x".repeat(number % 7))).collect();
    let mut carry = 0;
    for end in (0..text.len()).step_by(70_000).chain([text.len()]) {
        carry += log.append(Stream::Stdout, &text.as_bytes()[carry..end], &Stamp::now());
    }
    assert_eq!(carry, text.len());
    assert_eq!(texts(&records(&config.path)), text);
    assert_eq!(log.dropped(), 0);
}

#[test]
fn any_bytes_in_any_pieces_come_back() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { max_size: None, ..log_in(dir.path()) };
    let mut log = Writer::open(&config).expect("log");
    let mut state = 1u64;
    let mut roll = |sides: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % sides
    };
    let pieces: [&[u8]; 12] = [
        b"\n",
        b"\r\n",
        b"plain text",
        b"\"",
        b"\\",
        b"\0",
        b"\x7f",
        b"\x1b[0m",
        "\u{20ac}".as_bytes(),
        b"\xe2\x82",
        b"\xff",
        b"\t",
    ];
    let text: Vec<u8> = (0..100_000).flat_map(|_| pieces[roll(pieces.len())].to_vec()).collect();
    let (mut taken, mut end) = (0, 0);
    while end < text.len() {
        end = (end + 1 + roll(3_000)).min(text.len());
        taken += log.append(Stream::Stdout, &text[taken..end], &Stamp::now());
    }
    log.finish(Stream::Stdout, &text[taken..], &Stamp::now());
    let expected: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').map(String::from_utf8_lossy).collect();
    let found = records(&config.path);
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found["log"], *expected);
    }
}

#[test]
fn space_on_disk_is_given_back() {
    use std::os::unix::fs::MetadataExt;
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { max_size: Some(3 << 20), max_file: 2, ..log_in(dir.path()) };
    let mut log = Writer::open(&config).expect("log");
    let text = "0123456789".repeat(9) + "\n";
    log.append(Stream::Stdout, text.repeat(50_000).as_bytes(), &Stamp::now());
    let excess = |path: &Path| {
        let file = path.metadata().expect("metadata");
        (file.blocks() * 512).saturating_sub(file.len())
    };
    assert!(config.path.metadata().expect("metadata").len() < 3 << 20);
    assert!(log.reserved > log.size, "{} {}", log.reserved, log.size);
    log.rest();
    assert!(excess(&config.path) < 256 << 10, "{}", excess(&config.path));
    let rotated = dir.path().join("x-json.log.1");
    assert!(excess(&rotated) < 256 << 10, "{}", excess(&rotated));
}

#[test]
fn a_log_that_somebody_empties_goes_on_from_nothing() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { max_size: None, ..log_in(dir.path()) };
    let mut log = Writer::open(&config).expect("log");
    log.append(Stream::Stdout, "x\n".repeat(100_000).as_bytes(), &Stamp::now());
    File::options().write(true).truncate(true).open(&config.path).expect("empty it");
    log.rest();
    log.append(Stream::Stdout, b"y\n", &Stamp::now());
    drop(log);
    assert_eq!(texts(&records(&config.path)), "y\n");
}

#[test]
fn a_reopened_log_continues() {
    let dir = tempfile::tempdir().expect("directory");
    let config = log_in(dir.path());
    for _ in 0..2 {
        Writer::open(&config).expect("log").append(Stream::Stdout, b"x\n", &Stamp::now());
    }
    assert_eq!(records(&config.path).len(), 2);
}

#[test]
fn a_log_that_is_too_long_already_is_rotated() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { max_size: Some(100), max_file: 2, ..log_in(dir.path()) };
    std::fs::write(&config.path, [b'\n'; 1000]).expect("file");
    let mut log = Writer::open(&config).expect("log");
    assert_eq!(log.append(Stream::Stdout, b"x\ny\n", &Stamp::now()), 4);
    assert_eq!(records(&config.path).len(), 1);
}

#[test]
fn a_log_that_is_a_link_is_refused() {
    let dir = tempfile::tempdir().expect("directory");
    let config = log_in(dir.path());
    std::os::unix::fs::symlink("/etc/passwd", &config.path).expect("link");
    assert!(Writer::open(&config).is_err_and(|error| error.is(Errno::LOOP)));
}

/// What a file of entries holds: streams, texts with their newlines, ordinals.
fn entries(path: &Path) -> Vec<(Stream, Vec<u8>, u32)> {
    let bytes = std::fs::read(path).expect("log file");
    let (mut rest, mut found) = (&bytes[..], Vec::new());
    while let Frame::Whole(count) = frame(rest) {
        let entry = hull_shim::entry::decode(&rest[..count]).expect("an entry");
        let newline: &[u8] = if entry.ends_line() { b"\n" } else { b"" };
        let ordinal = entry.piece.as_ref().map_or(0, |piece| piece.ordinal);
        found.push((entry.stream, [entry.line, newline].concat(), ordinal));
        rest = &rest[count..];
    }
    assert!(rest.is_empty());
    found
}

#[test]
fn entries_hold_any_bytes_and_count_the_pieces_of_long_lines() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { format: LogFormat::Entries, ..log_in(dir.path()) };
    let mut log = Writer::open(&config).expect("log");
    let long = [vec![b'x'; 2 * super::super::LIMIT + 5], b"\n".to_vec()].concat();
    let text = [b"a\xff\n\n", &long[..], b"end"].concat();
    assert_eq!(log.append(Stream::Stdout, &text, &Stamp::now()), text.len() - 3);
    log.finish(Stream::Stderr, b"end", &Stamp::now());
    let found = entries(&config.path);
    let ordinals: Vec<u32> = found.iter().map(|(_, _, ordinal)| *ordinal).collect();
    assert_eq!(ordinals, [0, 0, 1, 2, 3, 1]);
    let all: Vec<u8> = found.iter().flat_map(|(_, text, _)| text.clone()).collect();
    assert_eq!(all, text);
    assert_eq!(found[5].0, Stream::Stderr);
}

#[test]
fn a_torn_entry_is_left_behind() {
    let dir = tempfile::tempdir().expect("directory");
    let config = LogFile { format: LogFormat::Entries, max_file: 3, ..log_in(dir.path()) };
    let append = |text: &[u8]| {
        Writer::open(&config).expect("log").append(Stream::Stdout, text, &Stamp::now());
    };
    append(b"one\n");
    append(b"two\n");
    assert_eq!(entries(&config.path).len(), 2, "a whole one is gone on with");
    let file = File::options().write(true).open(&config.path).expect("file");
    file.set_len(config.path.metadata().expect("metadata").len() - 3).expect("tear");
    append(b"three\n");
    assert_eq!(entries(&config.path).len(), 1);
    assert!(dir.path().join("x-json.log.1").exists());
}
