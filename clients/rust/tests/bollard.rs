//! bollard against a Docker daemon: each result is checked by its value.

use std::collections::HashMap;

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{
    ContainerCreateBody, ExecConfig, HostConfig, NetworkCreateRequest, VolumeCreateRequest,
};
use bollard::query_parameters::{
    AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, EventsOptionsBuilder,
    ListContainersOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
    StatsOptionsBuilder, StopContainerOptionsBuilder,
};
use futures_util::{StreamExt, TryStreamExt};

/// A container that is removed in the end.
struct Box<'a> {
    docker: &'a Docker,
    id: String,
}

impl Box<'_> {
    async fn remove(self) {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        self.docker.remove_container(&self.id, Some(options)).await.unwrap();
    }
}

fn docker() -> Docker {
    Docker::connect_with_defaults().unwrap()
}

fn of_busybox(command: &[&str]) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some("busybox".to_owned()),
        cmd: Some(command.iter().map(|&word| word.to_owned()).collect()),
        ..ContainerCreateBody::default()
    }
}

async fn started<'a>(docker: &'a Docker, name: &str, body: ContainerCreateBody) -> Box<'a> {
    let options = CreateContainerOptionsBuilder::default().name(name).build();
    let id = docker.create_container(Some(options), body).await.unwrap().id;
    docker.start_container(&id, None).await.unwrap();
    Box { docker, id }
}

/// Both halves of an output.
async fn halves(output: impl StreamExt<Item = Result<LogOutput, Error>>) -> (String, String) {
    let (mut out, mut err) = (String::new(), String::new());
    let pieces: Vec<LogOutput> = output.try_collect().await.unwrap();
    for piece in pieces {
        match piece {
            LogOutput::StdOut { message } => out.push_str(std::str::from_utf8(&message).unwrap()),
            LogOutput::StdErr { message } => err.push_str(std::str::from_utf8(&message).unwrap()),
            other => panic!("{other:?}"),
        }
    }
    (out, err)
}

fn refused(error: Error) -> (u16, String) {
    match error {
        Error::DockerResponseServerError { status_code, message } => (status_code, message),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn the_daemon_tells_of_itself() {
    let docker = docker().negotiate_version().await.unwrap();
    assert_eq!(docker.ping().await.unwrap(), "OK");
    assert_eq!(docker.version().await.unwrap().os.as_deref(), Some("linux"));
    let info = docker.info().await.unwrap();
    assert_eq!(info.os_type.as_deref(), Some("linux"));
    assert_eq!(info.driver.as_deref(), Some("overlay2"));
    assert!(docker.df(None).await.is_ok());
}

#[tokio::test]
async fn a_life() {
    let docker = docker();
    let host = HostConfig { memory: Some(64 << 20), ..HostConfig::default() };
    let labels = HashMap::from([("life".to_owned(), "1".to_owned())]);
    let body = ContainerCreateBody {
        host_config: Some(host),
        labels: Some(labels),
        ..of_busybox(&["sleep", "1000"])
    };
    let container = started(&docker, "bollard-life", body).await;
    let filters = HashMap::from([("label", vec!["life=1"])]);
    let options = ListContainersOptionsBuilder::default().filters(&filters).build();
    let listed = docker.list_containers(Some(options)).await.unwrap();
    assert_eq!(
        listed.iter().map(|summary| summary.id.as_deref()).collect::<Vec<_>>(),
        [Some(container.id.as_str())]
    );
    docker.pause_container(&container.id).await.unwrap();
    docker.unpause_container(&container.id).await.unwrap();
    let inspected = docker.inspect_container("bollard-life", None).await.unwrap();
    assert_eq!(inspected.host_config.unwrap().memory, Some(64 << 20));
    assert_eq!(inspected.state.unwrap().running, Some(true));
    let top = docker.top_processes(&container.id, None).await.unwrap();
    assert_eq!(top.processes.unwrap()[0].last().unwrap(), "sleep 1000");
    let options = StatsOptionsBuilder::default().stream(false).build();
    let stats = docker.stats(&container.id, Some(options)).next().await.unwrap().unwrap();
    assert_eq!(stats.memory_stats.unwrap().limit, Some(64 << 20));
    let options = StopContainerOptionsBuilder::default().t(0).build();
    docker.stop_container(&container.id, Some(options)).await.unwrap();
    let waited = docker.wait_container(&container.id, None).next().await.unwrap();
    assert!(matches!(waited, Err(Error::DockerContainerWaitError { code: 137, .. })), "{waited:?}");
    let id = container.id.clone();
    container.remove().await;
    let gone = docker.inspect_container(&id, None).await.unwrap_err();
    assert_eq!(refused(gone), (404, format!("No such container: {id}")));
}

#[tokio::test]
async fn logs_come_apart() {
    let docker = docker();
    let body = of_busybox(&["sh", "-c", "echo out; echo err >&2; sleep 0.3; echo more"]);
    let container = started(&docker, "bollard-logs", body).await;
    let options = LogsOptionsBuilder::default().follow(true).stdout(true).stderr(true).build();
    let said = halves(docker.logs(&container.id, Some(options))).await;
    assert_eq!(said, ("out\nmore\n".to_owned(), "err\n".to_owned()));
    container.remove().await;
}

#[tokio::test]
async fn input_goes_in_and_output_comes_out() {
    use tokio::io::AsyncWriteExt;
    let docker = docker();
    let attached = Some(true);
    let body = ContainerCreateBody {
        open_stdin: attached,
        stdin_once: attached,
        attach_stdin: attached,
        attach_stdout: attached,
        ..of_busybox(&["wc", "-c"])
    };
    let id = docker.create_container(None, body).await.unwrap().id;
    let container = Box { docker: &docker, id };
    let options = AttachContainerOptionsBuilder::default().stdin(true).stdout(true).stream(true).build();
    let mut attached = docker.attach_container(&container.id, Some(options)).await.unwrap();
    docker.start_container(&container.id, None).await.unwrap();
    attached.input.write_all(b"12345").await.unwrap();
    attached.input.shutdown().await.unwrap();
    assert_eq!(halves(attached.output).await.0, "5\n");
    container.remove().await;
}

#[tokio::test]
async fn an_exec() {
    let docker = docker();
    let container = started(&docker, "bollard-exec", of_busybox(&["sleep", "1000"])).await;
    let words = ["sh", "-c", "echo $A; echo err >&2; exit 7"];
    let config = ExecConfig {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        env: Some(vec!["A=1".to_owned()]),
        cmd: Some(words.map(str::to_owned).to_vec()),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(&container.id, config).await.unwrap().id;
    let StartExecResults::Attached { output, .. } =
        docker.start_exec(&exec, None::<StartExecOptions>).await.unwrap()
    else {
        panic!("it is detached");
    };
    assert_eq!(halves(output).await, ("1\n".to_owned(), "err\n".to_owned()));
    assert_eq!(docker.inspect_exec(&exec).await.unwrap().exit_code, Some(7));
    container.remove().await;
}

#[tokio::test]
async fn events_are_heard() {
    let docker = docker();
    let filters = HashMap::from([("container", vec!["bollard-heard"])]);
    let mut events = docker.events(Some(EventsOptionsBuilder::default().filters(&filters).build()));
    let acting = async {
        // The client asks only when the stream is polled.
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
        started(&docker, "bollard-heard", of_busybox(&["sleep", "1000"])).await.remove().await;
    };
    let listening = async {
        let mut actions = Vec::new();
        while actions.last().is_none_or(|last| last != "destroy") {
            actions.push(events.next().await.unwrap().unwrap().action.unwrap());
        }
        actions
    };
    let ((), actions) = tokio::join!(acting, listening);
    let kept = ["create", "start", "kill", "die", "destroy"];
    assert_eq!(actions.iter().filter(|action| kept.contains(&action.as_str())).collect::<Vec<_>>(), kept);
}

#[tokio::test]
async fn refusals() {
    let docker = docker();
    let body = ContainerCreateBody { image: Some("no/such".to_owned()), ..ContainerCreateBody::default() };
    let missing = refused(docker.create_container(None, body).await.unwrap_err());
    assert_eq!(missing, (404, "No such image: no/such:latest".to_owned()));
    let id = docker.create_container(None, of_busybox(&["nosuchprogram"])).await.unwrap().id;
    let container = Box { docker: &docker, id };
    let (status, message) = refused(docker.start_container(&container.id, None).await.unwrap_err());
    assert_eq!(status, 400);
    assert!(message.contains("executable file not found in $PATH"), "{message}");
    container.remove().await;
}

#[tokio::test]
async fn volumes_and_networks() {
    let docker = docker();
    let volume = VolumeCreateRequest { name: Some("bollard".to_owned()), ..VolumeCreateRequest::default() };
    let volume = docker.create_volume(volume).await.unwrap();
    assert_eq!((volume.name.as_str(), volume.driver.as_str()), ("bollard", "local"));
    let network = NetworkCreateRequest { name: "bollard".to_owned(), ..NetworkCreateRequest::default() };
    docker.create_network(network).await.unwrap();
    let host = HostConfig {
        binds: Some(vec!["bollard:/data".to_owned()]),
        network_mode: Some("bollard".to_owned()),
        ..HostConfig::default()
    };
    let body = ContainerCreateBody { host_config: Some(host), ..of_busybox(&["sleep", "1000"]) };
    let container = started(&docker, "bollard-volumes", body).await;
    let inspected = docker.inspect_network("bollard", None).await.unwrap();
    assert_eq!(inspected.containers.unwrap().into_keys().collect::<Vec<_>>(), [container.id.clone()]);
    assert_eq!(
        refused(docker.remove_volume("bollard", None::<RemoveVolumeOptions>).await.unwrap_err()).0,
        409
    );
    assert_eq!(refused(docker.remove_network("bollard").await.unwrap_err()).0, 403);
    container.remove().await;
    docker.remove_network("bollard").await.unwrap();
    docker.remove_volume("bollard", None::<RemoveVolumeOptions>).await.unwrap();
}
