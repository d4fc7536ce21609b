"""docker-py against a Docker daemon: each result is checked by its value."""

import io
import socket
import tarfile
import threading
import time
import urllib.request

import docker
import docker.errors
import pytest
from docker.types import DeviceRequest, Healthcheck, IPAMConfig, IPAMPool, LogConfig, Mount, Ulimit

SLEEP = ["sleep", "1000"]


def eventually(holds, patience=20):
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.02)


def tar_of(**files):
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o640
            tar.addfile(info, io.BytesIO(content))
    return archive.getvalue()


# -- the daemon


def test_the_daemon_tells_of_itself(client):
    assert client.ping() is True
    version = client.version()
    assert version["Os"] == "linux"
    assert {"Version", "ApiVersion", "MinAPIVersion", "KernelVersion", "Components"} <= set(version)
    info = client.info()
    assert info["OSType"] == "linux"
    assert info["Driver"] == "overlay2"
    assert info["Swarm"]["LocalNodeState"] == "inactive"
    assert set(client.df()) >= {"LayersSize", "Images", "Containers", "Volumes"}


def test_swarm_is_off(client):
    for ask in (client.services.list, client.nodes.list, client.secrets.list, client.configs.list):
        with pytest.raises(docker.errors.APIError) as refused:
            ask()
        assert refused.value.status_code == 503
        assert "This node is not a swarm manager" in refused.value.explanation
    assert client.plugins.list() == []


# -- runs


def test_run_returns_the_output(client):
    assert client.containers.run("busybox", ["echo", "hello"], remove=True) == b"hello\n"
    both = ["sh", "-c", "echo out; echo err >&2"]
    assert client.containers.run("busybox", both, remove=True) == b"out\n"
    assert client.containers.run("busybox", both, remove=True, stdout=False, stderr=True) == b"err\n"
    stream = client.containers.run("busybox", "seq 3", stream=True)
    assert b"".join(stream) == b"1\n2\n3\n"


def test_a_run_that_fails_raises(client):
    with pytest.raises(docker.errors.ContainerError) as failed:
        client.containers.run("busybox", ["sh", "-c", "echo why >&2; exit 3"], remove=True)
    assert failed.value.exit_status == 3
    assert failed.value.stderr == b"why\n"
    with pytest.raises(docker.errors.APIError) as failed:
        client.containers.run("busybox", "nosuchprogram")
    assert failed.value.status_code == 400
    assert "executable file not found in $PATH" in failed.value.explanation
    with pytest.raises(docker.errors.ImageNotFound):
        client.containers.create("no/such:image", "true")


def test_settings_arrive_in_the_container(client):
    script = "echo $A; hostname; pwd; id -u; id -g; cat /proc/sys/kernel/shmmax; ulimit -n; cat /proc/1/oom_score_adj"
    output = client.containers.run(
        "busybox",
        ["sh", "-c", script],
        environment={"A": "b c"},
        hostname="here",
        working_dir="/tmp",
        user="12:34",
        sysctls={"kernel.shmmax": "1000000"},
        ulimits=[Ulimit(name="nofile", soft=64, hard=128)],
        oom_score_adj=500,
        remove=True,
    )
    assert output == b"b c\nhere\n/tmp\n12\n34\n1000000\n64\n500\n"


def test_what_was_asked_for_is_inspected(client):
    container = client.containers.create(
        "busybox",
        SLEEP,
        name="box",
        labels={"l": "1"},
        mem_limit="64m",
        nano_cpus=500_000_000,
        pids_limit=50,
        cap_add=["NET_ADMIN"],
        cap_drop=["MKNOD"],
        dns=["192.0.2.1"],
        extra_hosts={"other": "192.0.2.2"},
        tmpfs={"/t": "size=1m"},
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 5},
        log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "1m"}),
        ports={"80/tcp": ("127.0.0.1", 18091), "53/udp": None},
        stop_signal="SIGINT",
        shm_size="8m",
        init=True,
        read_only=True,
    )
    container.reload()
    host, config = container.attrs["HostConfig"], container.attrs["Config"]
    assert container.name == "box" and container.status == "created"
    assert container.labels["l"] == "1" and config["StopSignal"] == "SIGINT"
    assert (host["Memory"], host["NanoCpus"], host["PidsLimit"]) == (64 << 20, 500_000_000, 50)
    assert (host["CapDrop"], host["Dns"], host["ExtraHosts"]) == (["MKNOD"], ["192.0.2.1"], ["other:192.0.2.2"])
    assert host["CapAdd"][0].removeprefix("CAP_") == "NET_ADMIN"
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 5}
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "1m"}}
    assert host["PortBindings"]["80/tcp"] == [{"HostIp": "127.0.0.1", "HostPort": "18091"}]
    assert (host["Tmpfs"], host["ShmSize"], host["Init"], host["ReadonlyRootfs"]) == ({"/t": "size=1m"}, 8 << 20, True, True)
    assert sorted(config["ExposedPorts"]) == ["53/udp", "80/tcp"]


# -- lives


def test_a_life(client):
    container = client.containers.run("busybox", SLEEP, detach=True, name="box")
    assert client.containers.get("box").id == container.id
    assert [found.id for found in client.containers.list(filters={"name": "box"})] == [container.id]
    assert container.top()["Processes"][0][-1] == "sleep 1000"
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("crate")
    container.restart(timeout=0)
    container.reload()
    assert (container.name, container.status) == ("crate", "running")
    container.update(mem_limit="32m", memswap_limit="32m")
    container.reload()
    assert container.attrs["HostConfig"]["Memory"] == 32 << 20
    container.kill("SIGKILL")
    assert container.wait()["StatusCode"] == 137
    container.start()
    container.stop(timeout=0)
    container.reload()
    assert (container.status, container.attrs["State"]["ExitCode"]) == ("exited", 137)
    with pytest.raises(docker.errors.APIError) as refused:
        container.kill()
    assert refused.value.status_code == 409 and "is not running" in refused.value.explanation
    container.remove()
    with pytest.raises(docker.errors.NotFound) as gone:
        client.containers.get(container.id)
    assert gone.value.explanation == f"No such container: {container.id}"


def test_names_are_taken_once(client):
    first = client.containers.create("busybox", name="box")
    with pytest.raises(docker.errors.APIError) as refused:
        client.containers.create("busybox", name="box")
    assert refused.value.status_code == 409
    assert f'The container name "/box" is already in use by container "{first.id}"' in refused.value.explanation


def test_waits(client):
    container = client.containers.create("busybox", ["sh", "-c", "sleep 0.3; exit 5"])
    waited = {}
    waiter = threading.Thread(target=lambda: waited.update(container.wait(condition="next-exit", timeout=20)))
    waiter.start()
    time.sleep(0.2)
    container.start()
    waiter.join()
    assert waited["StatusCode"] == 5


def test_health(client):
    check = Healthcheck(test=["CMD-SHELL", "test -e /ready"], interval=200_000_000, retries=2)
    container = client.containers.run("busybox", SLEEP, detach=True, healthcheck=check)

    def health():
        container.reload()
        return container.attrs["State"]["Health"]["Status"]

    eventually(lambda: health() == "unhealthy")
    container.exec_run("touch /ready")
    eventually(lambda: health() == "healthy")
    assert container.attrs["State"]["Health"]["Log"][-1]["ExitCode"] == 0


def test_a_restart_policy(client):
    policy = {"Name": "on-failure", "MaximumRetryCount": 2}
    container = client.containers.run("busybox", ["sh", "-c", "exit 1"], detach=True, restart_policy=policy)

    def ended():
        container.reload()
        return container.attrs["RestartCount"] == 2 and container.status == "exited"

    eventually(ended)


# -- streams


def test_logs(client):
    script = "echo one; echo two >&2; echo three"
    container = client.containers.run("busybox", ["sh", "-c", script], detach=True)
    container.wait()
    assert sorted(container.logs().split()) == [b"one", b"three", b"two"]
    assert container.logs(stderr=False) == b"one\nthree\n"
    assert container.logs(stdout=False) == b"two\n"
    assert len(container.logs(tail=2).split()) == 2
    stamp, _, line = container.logs(stdout=False, timestamps=True).partition(b" ")
    assert line == b"two\n" and stamp.endswith(b"Z") and len(stamp) == len("2006-01-02T15:04:05.000000000Z")
    assert container.logs(since=int(time.time()) + 1000) == b""


def test_logs_follow(client):
    container = client.containers.run("busybox", ["sh", "-c", "echo a; sleep 0.5; echo b"], detach=True)
    assert b"".join(container.logs(stream=True, follow=True)) == b"a\nb\n"


def test_exec(client):
    container = client.containers.run("busybox", SLEEP, detach=True, environment={"A": "1"})
    assert container.exec_run("echo hello") == (0, b"hello\n")
    assert container.exec_run(["sh", "-c", "exit 7"]).exit_code == 7
    both = ["sh", "-c", "echo $A $B; pwd; echo err >&2"]
    code, streams = container.exec_run(both, demux=True, environment={"B": "2"}, workdir="/tmp")
    assert (code, streams) == (0, (b"1 2\n/tmp\n", b"err\n"))
    assert container.exec_run("id -u", user="7").output == b"7\n"
    assert container.exec_run(["sh", "-c", "test -t 0 && echo terminal"], tty=True, stdin=True).output == b"terminal\r\n"
    assert b"".join(container.exec_run("seq 3", stream=True).output) == b"1\n2\n3\n"
    code, output = container.exec_run("nosuchprogram")
    # 126 before Docker 25.
    assert code in (126, 127) and b"executable file not found in $PATH" in output


def test_exec_keeps_every_byte(client):
    """The first bytes come right behind the head of the answer; none is lost."""
    container = client.containers.run("busybox", SLEEP, detach=True)
    for turn in range(30):
        assert container.exec_run(["echo", str(turn)]) == (0, b"%d\n" % turn)


def test_exec_input_over_the_socket(client):
    container = client.containers.run("busybox", SLEEP, detach=True)
    exec_id = client.api.exec_create(container.id, "cat", stdin=True, tty=True)["Id"]
    stream = client.api.exec_start(exec_id, tty=True, socket=True)._sock
    stream.settimeout(10)
    stream.sendall(b"ping\n")
    heard = b""
    while heard.count(b"ping") < 2:
        heard += stream.recv(100)
    assert heard == b"ping\r\nping\r\n"
    assert client.api.exec_inspect(exec_id)["Running"] is True
    stream.sendall(b"\x04")
    eventually(lambda: not client.api.exec_inspect(exec_id)["Running"])
    assert client.api.exec_inspect(exec_id)["ExitCode"] == 0
    stream.close()


def test_attach_and_half_close(client):
    container = client.containers.create("busybox", "wc -c", stdin_open=True)
    stream = container.attach_socket(params={"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1})
    container.start()
    stream._sock.sendall(b"12345")
    stream._sock.shutdown(socket.SHUT_WR)
    container.wait(timeout=20)
    assert container.logs() == b"5\n"
    stream.close()


def test_a_terminal(client):
    container = client.containers.create("busybox", ["sh", "-c", "stty size; test -t 1 && echo tty"], tty=True)
    container.start()
    container.wait()
    assert container.logs().endswith(b"tty\r\n")
    assert container.attrs["Config"]["Tty"] is True


def test_stats(client):
    container = client.containers.run("busybox", ["sh", "-c", "while :; do :; done"], detach=True, mem_limit="64m")
    stats = container.stats(stream=False)
    assert stats["id"] == container.id and stats["name"] == f"/{container.name}"
    assert stats["memory_stats"]["limit"] == 64 << 20
    assert stats["cpu_stats"]["cpu_usage"]["total_usage"] > 0
    assert stats["pids_stats"]["current"] >= 1
    first, second = (next(samples) for samples in [container.stats(decode=True)] for _ in range(2))
    assert first["read"] < second["read"]


def test_events(client):
    start = int(time.time()) - 1
    events = client.events(decode=True, since=start, filters={"type": "container", "label": "watched"})
    container = client.containers.run("busybox", "true", detach=True, labels={"watched": "yes"})
    container.wait()
    container.remove()
    seen = []
    for event in events:
        seen.append(event["Action"])
        assert event["Actor"]["ID"] == container.id
        assert event["Actor"]["Attributes"]["watched"] == "yes"
        if event["Action"] == "destroy":
            break
    events.close()
    assert [action for action in seen if action in ("create", "start", "die", "destroy")] == ["create", "start", "die", "destroy"]


# -- files


def test_archives(client):
    container = client.containers.create("busybox", ["cat", "/tmp/new"])
    assert container.put_archive("/tmp", tar_of(new=b"content")) is True
    pieces, stat = container.get_archive("/tmp/new")
    assert (stat["name"], stat["size"]) == ("new", 7)
    with tarfile.open(fileobj=io.BytesIO(b"".join(pieces))) as tar:
        assert tar.extractfile("new").read() == b"content"
    container.start()
    container.wait()
    assert container.logs() == b"content"
    assert {"Path": "/tmp/new", "Kind": 1} in container.diff()
    with tarfile.open(fileobj=io.BytesIO(b"".join(container.export()))) as tar:
        assert tar.getmember("tmp/new").size == 7
    with pytest.raises(docker.errors.NotFound):
        container.get_archive("/no/such/file")


def test_volumes_and_mounts(client, tmp_path):
    volume = client.volumes.create("data", labels={"l": "1"})
    assert client.volumes.get("data").attrs["Labels"] == {"l": "1"}
    mounts = [
        Mount("/data", "data"),
        Mount("/host", str(tmp_path), type="bind", read_only=True),
        Mount("/t", None, type="tmpfs", tmpfs_size=1 << 20),
    ]
    (tmp_path / "file").write_text("from the host")
    script = "cat /host/file; touch /host/x 2>/dev/null || echo; echo kept > /data/file; stat -f -c %T /t"
    output = client.containers.run("busybox", ["sh", "-c", script], mounts=mounts)
    assert output == b"from the host\ntmpfs\n"
    again = client.containers.run("busybox", "cat /data/file", volumes={"data": {"bind": "/data", "mode": "ro"}})
    assert again == b"kept\n"
    with pytest.raises(docker.errors.APIError) as refused:
        volume.remove()
    assert refused.value.status_code == 409 and "volume is in use" in refused.value.explanation


# -- networks


def test_networks(client):
    ipam = IPAMConfig(pool_configs=[IPAMPool(subnet="10.213.0.0/24", gateway="10.213.0.254")])
    network = client.networks.create("net", ipam=ipam, labels={"l": "1"})
    first = client.containers.run("busybox", ["sh", "-c", "echo hi > /page; exec httpd -f -p 80 -h /"], detach=True,
                                  network="net", name="first")
    second = client.containers.run("busybox", SLEEP, detach=True)
    network.connect(second, aliases=["two"], ipv4_address="10.213.0.77")
    network.reload()
    assert {container.name for container in network.containers} == {"first", second.name}
    first.reload()
    address = first.attrs["NetworkSettings"]["Networks"]["net"]["IPAddress"]
    eventually(lambda: second.exec_run(f"wget -q -O - http://{address}/page") == (0, b"hi\n"))
    assert second.exec_run("wget -q -O - http://first/page") == (0, b"hi\n")
    assert first.exec_run("ping -c 1 -W 5 two").exit_code == 0
    with pytest.raises(docker.errors.APIError) as refused:
        network.remove()
    assert refused.value.status_code == 403 and "has active endpoints" in refused.value.explanation
    network.disconnect(second)
    second.reload()
    assert list(second.attrs["NetworkSettings"]["Networks"]) == ["bridge"]


def test_published_ports(client):
    container = client.containers.run("busybox", ["sh", "-c", "echo hi > /page; exec httpd -f -p 80 -h /"],
                                      detach=True, ports={"80/tcp": None})
    container.reload()
    port = next(p["HostPort"] for p in container.ports["80/tcp"] if p["HostIp"] == "0.0.0.0")

    def fetch():
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/page", timeout=5).read()
        except OSError:
            return None

    eventually(lambda: fetch() == b"hi\n")


# -- images


def test_images(client):
    image = client.images.get("busybox")
    assert image.attrs["Os"] == "linux" and "busybox:latest" in image.tags
    assert image.tag("mine", tag="1") is True
    assert [found.id for found in client.images.list(name="mine")] == [image.id]
    archive = b"".join(client.images.get("mine:1").save(named="mine:1"))
    client.images.remove("mine:1")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("mine:1")
    assert [loaded.id for loaded in client.images.load(archive)] == [image.id]
    client.images.remove("mine:1")


def test_commit(client):
    container = client.containers.run("busybox", ["sh", "-c", "echo kept > /file"], detach=True)
    container.wait()
    image = container.commit("mine", "2", changes=["CMD cat /file", "LABEL l=1"], author="me")
    assert image.attrs["Author"] == "me" and image.labels == {"l": "1"}
    assert client.containers.run("mine:2", remove=True) == b"kept\n"
    assert image.history()[0]["Id"] == image.id
    container.remove()
    client.images.remove("mine:2")


# -- what only newer Dockers do


def test_a_mount_below_a_volume(client, since):
    since("1.45")
    client.containers.run("busybox", ["sh", "-c", "mkdir /data/sub; echo below > /data/sub/file"], mounts=[Mount("/data", "data")])
    mount = Mount("/sub", "data", subpath="sub")
    assert client.containers.run("busybox", "cat /sub/file", mounts=[mount]) == b"below\n"


def test_annotations(client, since):
    since("1.43")
    host = client.api.create_host_config()
    host["Annotations"] = {"org.example": "x"}
    created = client.api.create_container("busybox", SLEEP, host_config=host)
    assert client.api.inspect_container(created["Id"])["HostConfig"]["Annotations"] == {"org.example": "x"}


def test_a_gpu_that_is_not_there(client):
    with pytest.raises(docker.errors.APIError) as refused:
        client.containers.run("busybox", "true", device_requests=[DeviceRequest(count=-1, capabilities=[["gpu"]])])
    assert "could not select device driver" in refused.value.explanation
