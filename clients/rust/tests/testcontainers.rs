//! Testcontainers for Rust against a Docker daemon.

use std::io::{Read, Write};
use std::net::TcpStream;

use testcontainers::core::{ExecCommand, IntoContainerPort, Mount, WaitFor};
use testcontainers::runners::SyncRunner;
use testcontainers::{Container, GenericImage, ImageExt};

fn web() -> testcontainers::ContainerRequest<GenericImage> {
    GenericImage::new("busybox", "latest")
        .with_exposed_port(80.tcp())
        .with_wait_for(WaitFor::message_on_stdout("is ready"))
        .with_cmd(["sh", "-c", "echo hi > /page; echo is ready; exec httpd -f -p 80 -h /"])
}

fn output(container: &Container<GenericImage>, command: &[&str]) -> String {
    let mut exec = container.exec(ExecCommand::new(command.iter().copied())).unwrap();
    String::from_utf8(exec.stdout_to_vec().unwrap()).unwrap()
}

#[test]
fn a_container_that_waits_for_its_log() {
    let container = web().with_env_var("A", "b c").start().unwrap();
    assert_eq!(output(&container, &["sh", "-c", "cat /page; echo $A"]), "hi\nb c\n");
    assert_eq!(container.stdout_to_vec().unwrap(), b"is ready\n");
    container.stop().unwrap();
    assert!(!container.is_running().unwrap());
}

#[test]
fn it_is_asked_over_its_port() {
    let container = web().start().unwrap();
    let address = (container.get_host().unwrap().to_string(), container.get_host_port_ipv4(80).unwrap());
    let answered = (0..200).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        let mut stream = TcpStream::connect((address.0.as_str(), address.1)).ok()?;
        stream.write_all(b"GET /page HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        Some(answer)
    });
    assert!(answered.unwrap().ends_with("\r\n\r\nhi\n"));
}

#[test]
fn files_and_mounts() {
    let container = web()
        .with_copy_to("/etc/copied", b"copied in".to_vec())
        .with_mount(Mount::tmpfs_mount("/t"))
        .with_hostname("here")
        .start()
        .unwrap();
    assert_eq!(output(&container, &["cat", "/etc/copied"]), "copied in");
    assert_eq!(output(&container, &["sh", "-c", "stat -f -c %T /t; hostname"]), "tmpfs\nhere\n");
}

#[test]
fn containers_find_each_other_by_name() {
    let _server = web().with_network("rust-net").with_container_name("rust-server").start().unwrap();
    let client = web().with_network("rust-net").start().unwrap();
    assert_eq!(output(&client, &["wget", "-q", "-O", "-", "http://rust-server/page"]), "hi\n");
}
