//! What drivers are told, and what options are refused with.

use super::*;
use hull_shim::log::{Compression, SyslogFormat};

fn log_of(driver: &str, options: &[(&str, &str)]) -> LogConfig {
    let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    LogConfig { driver: driver.into(), options: options.collect() }
}

fn container(driver: &str, options: &[(&str, &str)]) -> Container {
    let mut container = crate::model::fixture();
    container.config.env = vec!["COLOR=red".into(), "SIZE=1".into(), "OTHER=x".into()];
    container.config.labels = [("tier".to_owned(), "front".to_owned())].into();
    container.image_id = format!("sha256:{}", "0".repeat(64));
    container.host.log_config = log_of(driver, options);
    container
}

fn configured(driver: &str, options: &[(&str, &str)]) -> Result<protocol::LogConfig> {
    check(&log_of(driver, options))?;
    of(&container(driver, options), Path::new("hulld"))
}

fn file(options: &[(&str, &str)]) -> LogFile {
    configured("json-file", options).unwrap().file.unwrap()
}

fn destination(driver: &str, options: &[(&str, &str)]) -> Destination {
    configured(driver, options).unwrap().remote.unwrap().destination
}

fn refused(driver: &str, option: &[(&str, &str)]) -> String {
    configured(driver, option).unwrap_err().message
}

#[test]
fn logs_are_bounded_unless_told_otherwise() {
    assert!(file(&[]).max_size.is_some() && file(&[]).max_file > 1);
    assert_eq!(file(&[("max-size", "-1")]).max_size, None);
    let local = configured("local", &[]).unwrap().file.unwrap();
    assert_eq!((local.max_size, local.max_file, local.compress), (Some(20 << 20), 5, true));
    assert_eq!(local.format, LogFormat::Entries);
    let cache = configured("journald", &[("cache-max-size", "1k"), ("cache-max-file", "2")]).unwrap();
    assert_eq!(cache.file.map(|file| (file.max_size, file.max_file)), Some((Some(1000), 2)));
    assert_eq!(configured("journald", &[("cache-disabled", "true")]).unwrap().file, None);
}

#[test]
fn options_are_read_in_any_order() {
    let three = file(&[("max-file", "3"), ("max-size", "1.5k"), ("compress", "1")]);
    assert_eq!((three.max_size, three.max_file, three.compress), (Some(1500), 3, true));
    assert_eq!(file(&[("max-size", "10MB")]).max_file, 1);
}

#[test]
fn lines_tell_of_their_container() {
    let template = "{{.Name}}/{{ .ID }}{{ upper .DaemonName }}{{ truncate .ImageFullID 6 }}!";
    let options = [("env", "COLOR,ABSENT"), ("env-regex", "^SI"), ("labels", "tier"), ("tag", template)];
    let found = file(&options).attrs;
    let pairs: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let tag = ("tag", "quiet_cook/0123456789abDOCKERsha256!");
    assert_eq!(pairs, [("COLOR", "red"), ("SIZE", "1"), tag, ("tier", "front")]);
    let Destination::Journald { fields } = destination("journald", &options) else { panic!("no journal") };
    assert_eq!((fields["COLOR"].as_str(), fields["TIER"].as_str()), ("red", "front"));
    assert_eq!((fields["CONTAINER_NAME"].as_str(), fields["CONTAINER_TAG"].as_str()), ("quiet_cook", tag.1));
    assert_eq!(journal_name("__my.label-1"), "MY_LABEL_1");
}

#[test]
fn every_field_of_a_tag_is_known() {
    for field in
        ["ID", "FullID", "Name", "ImageID", "ImageFullID", "ImageName", "DaemonName", "Command", "Hostname"]
    {
        assert_ne!(file(&[("tag", &format!("{{{{.{field}}}}}"))]).attrs["tag"], "", "{field}");
    }
    assert_eq!(file(&[("tag", "{{index .ContainerLabels \"tier\"}}")]).attrs["tag"], "front");
    assert_eq!(file(&[("tag", "{{json .ContainerArgs}} {{title \"a bc\"}}")]).attrs["tag"], "[] A Bc");
}

#[test]
fn destinations_have_dockers_defaults() {
    let Destination::Syslog(syslog) = destination("syslog", &[("syslog-address", "udp://h")]) else {
        panic!("no syslog")
    };
    assert_eq!(syslog.address.unwrap().target, "h:514");
    assert_eq!((syslog.facility, syslog.format), (3, SyslogFormat::Local));
    assert_eq!(syslog.tag, "0123456789ab");
    let Destination::Gelf(gelf) = destination("gelf", &[("gelf-address", "udp://[::1]:12201")]) else {
        panic!("no gelf")
    };
    assert_eq!((gelf.compression, gelf.level, gelf.max_reconnect), (Compression::Gzip, 1, 3));
    assert_eq!(gelf.extra["_container_name"], "quiet_cook");
    let Destination::Fluentd(fluentd) = destination("fluentd", &[]) else { panic!("no fluentd") };
    assert_eq!(fluentd.address.target, "127.0.0.1:24224");
    assert_eq!(fluentd.record["container_name"], "/quiet_cook");
    let remote = configured("fluentd", &[("mode", "non-blocking"), ("max-buffer-size", "2k")]).unwrap();
    assert_eq!(remote.remote.unwrap().max_buffer, Some(2048));
}

#[test]
fn wrong_options_are_refused_as_docker_does() {
    for (driver, option, message) in [
        ("frob", ("", ""), "error looking up logging plugin frob: plugin \"frob\" not found"),
        ("json-file", ("x", ""), "unknown log opt 'x' for json-file log driver"),
        ("local", ("x", ""), "unknown log opt 'x' for log driver local"),
        ("journald", ("max-size", "1"), "unknown log opt 'max-size' for journald log driver"),
        ("syslog", ("x", ""), "unknown log opt 'x' for syslog log driver"),
        ("fluentd", ("x", ""), "unknown log opt 'x' for fluentd log driver"),
        ("gelf", ("x", ""), "gelf-address is a required parameter"),
        ("json-file", ("mode", "fast"), "logger: logging mode not supported: fast"),
        (
            "local",
            ("max-buffer-size", "1m"),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        ),
        ("syslog", ("syslog-facility", "frob"), "invalid syslog facility"),
        ("syslog", ("syslog-format", "frob"), "Invalid syslog format"),
        ("syslog", ("syslog-address", "h:1"), "syslog-address should be in form proto://address, got h:1"),
        ("syslog", ("syslog-address", "unix:///nowhere"), "stat /nowhere: no such file or directory"),
        ("gelf", ("gelf-address", "udp://h"), "gelf: please provide gelf-address as proto://host:port"),
        ("gelf", ("gelf-address", "unix:///x"), "gelf: endpoint needs to be TCP or UDP"),
        (
            "fluentd",
            ("fluentd-address", "udp://h:1"),
            "invalid fluentd-address (udp://h:1): unsupported scheme: 'udp'",
        ),
        ("fluentd", ("fluentd-retry-wait", "5"), "time: missing unit in duration \"5\""),
        ("fluentd", ("fluentd-async", "x"), "strconv.ParseBool: parsing \"x\": invalid syntax"),
        ("journald", ("cache-disabled", "x"), "invalid value for option cache-disabled: x"),
    ] {
        assert_eq!(refused(driver, &[option]), message, "{driver} {option:?}");
    }
    let gelf = ("gelf-address", "tcp://h:1");
    assert_eq!(refused("gelf", &[gelf, ("x", "")]), "unknown log opt \"x\" for gelf log driver");
    let packed = ("gelf-compression-type", "gzip");
    assert_eq!(refused("gelf", &[gelf, packed]), "compression is only supported on UDP");
}

#[test]
fn wrong_values_are_told_at_the_start() {
    for (option, message) in [
        (("max-size", "big"), "invalid size: 'big'"),
        (("max-size", "0"), "max-size must be a positive number"),
        (("max-file", "0"), "max-file cannot be less than 1"),
        (("max-file", "x"), "strconv.Atoi: parsing \"x\": invalid syntax"),
        (
            ("tag", "{{.Frob}}"),
            "template: log-tag:1:2: executing \"log-tag\" at <.Frob>: can't evaluate field Frob in type *logger.Info",
        ),
    ] {
        assert!(check(&log_of("json-file", &[option])).is_ok(), "{option:?}");
        let prefix = "failed to create task for container: failed to initialize logging driver: ";
        assert_eq!(refused("json-file", &[option]), format!("{prefix}{message}"));
    }
    assert!(refused("json-file", &[("tag", "{{.ID")]).contains("template: log-tag:"));
    assert!(refused("json-file", &[("env-regex", "(")]).contains("error parsing regexp"));
    let compress = [("compress", "true"), ("max-size", "1m")];
    assert!(refused("json-file", &compress).contains("compress cannot be true when"));
}
