//! The command tree: what is accepted, and what it says.

use super::*;

fn parsed(name: &str, words: &[&str]) -> Result<(ArgMatches, Vec<String>), Complaint> {
    let command = by_name(name).unwrap();
    let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
    parse(parser(command, name), &words, command.flags_first)
        .map_err(|reason| misuse(&reason, &parser(command, name), &format!("hull {name}"), command.usage))
}

fn complaint(name: &str, words: &[&str]) -> String {
    let complaint = parsed(name, words).map(drop).unwrap_err();
    assert_eq!(complaint.status, 125);
    complaint.text.lines().next().unwrap().to_owned()
}

#[test]
fn what_follows_the_image_is_the_containers() {
    let (matches, operands) = parsed("run", &["-it", "--rm", "busybox", "-i", "--rm", "--", "x"]).unwrap();
    assert_eq!(operands, ["busybox", "-i", "--rm", "--", "x"]);
    assert!(matches.get_flag("interactive") && matches.get_flag("tty") && matches.get_flag("rm"));
    let (_, operands) = parsed("exec", &["web", "ls", "-l"]).unwrap();
    assert_eq!(operands, ["web", "ls", "-l"]);
}

#[test]
fn other_commands_take_flags_anywhere() {
    let (matches, operands) = parsed("rm", &["a", "-f", "b"]).unwrap();
    assert!(matches.get_flag("force"));
    assert_eq!(operands, ["a", "b"]);
}

#[test]
fn switches_take_a_value_and_the_last_word_counts() {
    let (matches, _) = parsed("run", &["--rm=false", "-t=true", "--init", "--init=0", "x"]).unwrap();
    assert!(!matches.get_flag("rm") && matches.get_flag("tty") && !matches.get_flag("init"));
    let (matches, _) = parsed("run", &["--name", "a", "--name=b", "-m", "1g", "-m2g", "x"]).unwrap();
    assert_eq!(matches.get_one::<String>("name").unwrap(), "b");
    assert_eq!(matches.get_one::<i64>("memory"), Some(&(2 << 30)));
    let (matches, _) = parsed("run", &["--memory-swap", "-1", "--entrypoint", "-x", "img"]).unwrap();
    assert_eq!(matches.get_one::<i64>("memory_swap"), Some(&-1));
}

#[test]
fn mistakes_are_told_in_dockers_words() {
    for (name, words, text) in [
        ("ps", &["--foo"][..], "unknown flag: --foo"),
        ("ps", &["-Z"], "unknown shorthand flag: 'Z' in -Z"),
        ("run", &["--memory"], "flag needs an argument: --memory"),
        (
            "run",
            &["-m", "abc", "x"],
            "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'",
        ),
        (
            "ps",
            &["--last", "x"],
            "invalid argument \"x\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"x\": invalid syntax",
        ),
        (
            "run",
            &["--mount", "foo", "x"],
            "invalid argument \"foo\" for \"--mount\" flag: invalid field 'foo' must be a key=value pair",
        ),
        (
            "ps",
            &["--filter", "x"],
            "invalid argument \"x\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
        ),
    ] {
        assert_eq!(complaint(name, words), text);
    }
}

#[test]
fn operands_are_counted() {
    let text =
        |operands: Operands, given| operands.check(given, "x", "USAGE").map_err(|c| c.text).unwrap_err();
    assert!(
        text(Operands::Exactly(0), 1)
            .starts_with("hull: 'hull x' accepts no arguments\n\nUsage:  hull x USAGE\n")
    );
    assert!(text(Operands::Exactly(2), 1).starts_with("hull: 'hull x' requires 2 arguments\n"));
    assert!(text(Operands::AtLeast(1), 0).starts_with("hull: 'hull x' requires at least 1 argument\n"));
    assert!(
        Operands::AtMost(1).check(1, "x", "").is_ok() && Operands::Between(1, 2).check(3, "x", "").is_err()
    );
}

#[test]
fn every_command_has_a_sound_parser_and_help() {
    for command in commands::ALL {
        parser(command, command.names[0]).mut_args(as_docker_reads).debug_assert();
        let help = command_help(command, command.names[0]);
        assert!(help.starts_with("Usage:  hull "), "{help}");
    }
}

#[test]
fn names_lead_to_commands_groups_or_nowhere() {
    assert!(
        matches!(find(&["container", "ls", "-a"]), Found::Command(command, 2) if command.names.contains(&"ps"))
    );
    assert!(matches!(find(&["ps"]), Found::Command(_, 1)));
    assert!(matches!(find(&["container"]), Found::Help(path) if path == ["container"]));
    assert!(matches!(find(&["help", "run"]), Found::Command(_, 1)));
    assert!(matches!(find(&["build", "."]), Found::Unsupported(name) if name == "build"));
    assert!(matches!(find(&["image", "build"]), Found::Unsupported(name) if name == "image build"));
    assert!(matches!(find(&["foo"]), Found::Unknown(..)));
    assert!(matches!(find(&["container", "foo"]), Found::Unknown(..)));
}
