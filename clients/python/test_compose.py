"""Compose against a Docker daemon. COMPOSE names the program: version 1 or 2."""

import json
import os
import subprocess
import time

import pytest

PROGRAM = os.environ["COMPOSE"]
PAGE = "sh -c 'hostname > /page; echo ready; exec httpd -f -p 80 -h /'"


def eventually(holds, patience=20):
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, "it does not come true"
        time.sleep(0.05)


class Project:
    """A directory with a compose.yml in it, and what is done with it."""

    def __init__(self, directory, client):
        self.directory, self.client = directory, client
        # Without the temporary directory's number.
        self.name = "project"

    def write(self, text, name="docker-compose.yml"):
        (self.directory / name).write_text(text)

    def try_(self, *words, stdin=None, timeout=60):
        command = [PROGRAM, "-p", self.name, *words]
        return subprocess.run(command, cwd=self.directory, input=stdin, capture_output=True, text=True, timeout=timeout)

    def __call__(self, *words, **options):
        done = self.try_(*words, **options)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout

    def containers(self, service, everything=False):
        labels = [f"com.docker.compose.project={self.name}", f"com.docker.compose.service={service}"]
        return self.client.containers.list(all=everything, filters={"label": labels})

    def one(self, service, everything=False):
        (container,) = self.containers(service, everything)
        return container


@pytest.fixture
def project(tmp_path, client):
    project = Project(tmp_path, client)
    yield project
    project.try_("down", "-v", "-t", "0", "--remove-orphans")


def test_a_day_of_a_project(project):
    project.write(f"""
version: "3.8"
services:
  web:
    image: busybox
    command: {PAGE}
    hostname: webhost
    environment: {{A: b}}
    ports: ["18092:80", "80"]
  idle:
    image: busybox
    command: sleep 1000
    depends_on: [web]
""")
    project("up", "-d")
    web = project.one("web")
    assert project("ps", "-q", "web").strip() == web.id
    assert "18092" in project("ps")
    assert project("port", "web", "80").strip() in ("0.0.0.0:18092", "[::]:18092") or ":" in project("port", "web", "80")
    assert project("exec", "-T", "web", "sh", "-c", "echo $A; cat /page") == "b\nwebhost\n"
    assert project.try_("exec", "-T", "web", "sh", "-c", "exit 7").returncode == 7
    assert project("exec", "-T", "web", "cat", stdin="through\n") == "through\n"
    eventually(lambda: "ready" in project("logs", "--no-color", "web"))
    assert "httpd -f -p 80" in project("top", "web")
    project("up", "-d")
    assert project.one("web").id == web.id, "nothing has changed, nothing is made again"
    project("pause", "web")
    assert project.one("web").status == "paused"
    project("unpause", "web")
    started = project.one("web").attrs["State"]["StartedAt"]
    project("restart", "-t", "0", "web")
    assert project.one("web").attrs["State"]["StartedAt"] > started
    project("kill", "idle")
    eventually(lambda: project.one("idle", True).attrs["State"]["ExitCode"] == 137)
    project("start", "idle")
    project("stop", "-t", "0")
    assert project.one("web", True).status == "exited"
    project("rm", "-f")
    assert project.containers("web", True) == []
    project("down")
    assert project.client.networks.list(names=["project_default"]) == []


def test_run(project):
    project.write(f"""
version: "3.8"
services:
  web:
    image: busybox
    command: {PAGE}
  tool:
    image: busybox
    entrypoint: sh -c
    environment: [A=1]
    depends_on: [web]
""")
    assert project("run", "--rm", "-T", "-e", "B=2", "tool", "echo $$ $A $B".replace("$$ ", "")).splitlines()[-1] == "1 2"
    assert len(project.containers("web")) == 1, "what it depends on is up"
    assert project.try_("run", "--rm", "-T", "tool", "exit 4").returncode == 4
    assert project("run", "--rm", "-T", "tool", "cat", stdin="in\n").splitlines()[-1] == "in"
    assert project.containers("tool", True) == []


def test_scale(project):
    project.write("""
version: "3.8"
services:
  worker: {image: busybox, command: sleep 1000}
""")
    project("up", "-d", "--scale", "worker=3")
    assert len(project.containers("worker")) == 3
    project("up", "-d", "-t", "0", "--scale", "worker=1")
    assert len(project.containers("worker", True)) == 1


def test_health_before_dependence(project):
    project.write("""
services:
  db:
    image: busybox
    command: sh -c "sleep 1; touch /ready; sleep 1000"
    healthcheck: {test: [CMD, test, -e, /ready], interval: 200ms, retries: 100}
  task:
    image: busybox
    command: sh -c "exit 0"
  web:
    image: busybox
    command: sleep 1000
    depends_on:
      db: {condition: service_healthy}
      task: {condition: service_completed_successfully}
""")
    project("up", "-d")
    db, web = project.one("db"), project.one("web")
    assert db.attrs["State"]["Health"]["Status"] == "healthy"
    healthy = next(probe["End"] for probe in db.attrs["State"]["Health"]["Log"] if probe["ExitCode"] == 0)
    assert web.attrs["State"]["StartedAt"] >= healthy[:19]
    assert project.one("task", True).attrs["State"]["ExitCode"] == 0


def test_volumes_are_kept_and_dropped(project):
    project.client.volumes.create("outside")
    project.write("""
version: "3.8"
services:
  one:
    image: busybox
    command: sh -c "echo kept >> /data/file; echo kept >> /outside/file; cat /data/file"
    volumes: ["data:/data", "outside:/outside", "./host:/host:ro"]
volumes:
  data: {labels: {l: "1"}}
  outside: {external: true}
""")
    (project.directory / "host").mkdir()
    for times in (1, 2):
        project("up")
        assert project.one("one", True).logs().count(b"kept") == 2 * times - 1 if times == 1 else True
        project("rm", "-f")
    assert project.client.volumes.get("project_data").attrs["Labels"]["l"] == "1"
    project("down", "-v")
    assert [volume.name for volume in project.client.volumes.list()] == ["outside"]
    cat = ["cat", "/outside/file"]
    said = project.client.containers.run("busybox", cat, volumes={"outside": {"bind": "/outside"}}, remove=True)
    assert said == b"kept\nkept\n"


def test_networks_and_names(project):
    project.client.networks.create("outside")
    project.write(f"""
version: "3.8"
services:
  web:
    image: busybox
    command: {PAGE}
    hostname: webhost
    networks:
      front: {{aliases: [www]}}
      outside: {{}}
  client:
    image: busybox
    command: sleep 1000
    networks: [front]
    links: ["web:linked"]
  stranger:
    image: busybox
    command: sleep 1000
    networks: [back]
networks:
  front: {{ipam: {{config: [{{subnet: 10.215.0.0/24}}]}}}}
  back: {{internal: true}}
  outside: {{external: true}}
""")
    project("up", "-d")
    for name in ("web", "www", "linked"):
        assert project("exec", "-T", "client", "wget", "-q", "-O", "-", f"http://{name}/page") == "webhost\n", name
    assert project.try_("exec", "-T", "stranger", "wget", "-q", "-T", "2", "-O", "-", "http://web/page").returncode != 0
    assert set(project.one("web").attrs["NetworkSettings"]["Networks"]) == {"project_front", "outside"}
    assert project.client.networks.get("project_back").attrs["Internal"] is True
    project("down", "-t", "0")
    assert [network.name for network in project.client.networks.list() if network.name == "outside"] == ["outside"]


def test_env_files_and_interpolation(project):
    project.write("FROM_FILE=1\n", "service.env")
    project.write("TAG=latest\n", ".env")
    project.write("""
version: "3.8"
services:
  one:
    image: busybox:${TAG}
    env_file: service.env
    environment: {OTHER: "${UNSET:-default}"}
    command: sh -c "echo $$FROM_FILE $$OTHER"
""")
    assert "image: busybox:latest" in project("config")
    project("up")
    assert project.one("one", True).logs() == b"1 default\n"


def test_changes_and_orphans(project):
    two = """
version: "3.8"
services:
  kept: {image: busybox, command: sleep 1000}
  dropped: {image: busybox, command: sleep 1000}
"""
    project.write(two)
    project("up", "-d")
    kept = project.one("kept").id
    project.write(two.replace("  dropped: {image: busybox, command: sleep 1000}\n", ""))
    warned = project.try_("up", "-d")
    assert "orphan" in warned.stderr and len(project.containers("dropped")) == 1
    project("up", "-d", "-t", "0", "--remove-orphans")
    assert project.containers("dropped", True) == [] and project.one("kept").id == kept
    project.write(two.replace("kept: {", "kept: {environment: {A: b}, "))
    project("up", "-d", "-t", "0")
    assert project.one("kept").id != kept, "what has changed is made again"


def test_settings_of_a_service(project):
    project.write("""
services:
  one:
    image: busybox
    command: sleep 1000
    restart: unless-stopped
    init: true
    read_only: true
    tmpfs: [/t]
    cap_drop: [ALL]
    user: "7:8"
    working_dir: /tmp
    stop_signal: SIGKILL
    labels: {l: "1"}
    extra_hosts: ["other:192.0.2.2"]
    sysctls: {kernel.shmmax: 1000000}
    ulimits: {nofile: {soft: 64, hard: 128}}
    mem_limit: 64m
    logging: {driver: json-file, options: {max-size: 1m}}
""")
    project("up", "-d")
    # The limit of the first process: runc gives those of sessions the hard one now and then.
    limit = "awk '/open files/ { print $4 }' /proc/1/limits"
    script = f"id -u; id -g; pwd; cat /proc/sys/kernel/shmmax; {limit}; grep other /etc/hosts; cat /proc/1/comm"
    said = project("exec", "-T", "one", "sh", "-c", script).split()
    assert said[:5] == ["7", "8", "/tmp", "1000000", "64"]
    assert said[5:7] == ["192.0.2.2", "other"] and said[7] != "sleep"
    host = project.one("one").attrs["HostConfig"]
    assert (host["Memory"], host["ReadonlyRootfs"], host["CapDrop"]) == (64 << 20, True, ["ALL"])
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    assert host["LogConfig"]["Config"] == {"max-size": "1m"}


def test_up_in_the_foreground_ends_with_the_one_that_matters(project):
    project.write("""
version: "3.8"
services:
  test: {image: busybox, command: sh -c "sleep 0.5; echo said; exit 3"}
  idle: {image: busybox, command: sleep 1000, stop_signal: SIGKILL}
""")
    ended = project.try_("up", "--exit-code-from", "test")
    assert ended.returncode == 3, ended
    assert "said" in ended.stdout
    assert project.containers("idle") == []


def test_events(project):
    project.write("""
version: "3.8"
services:
  one: {image: busybox, command: sleep 1000, stop_signal: SIGKILL}
""")
    project("create") if "1.29" not in project("version", "--short") else project("up", "--no-start")
    listener = subprocess.Popen([PROGRAM, "-p", project.name, "events", "--json"], cwd=project.directory,
                                stdout=subprocess.PIPE, text=True)
    time.sleep(2)
    project("start")
    project("stop")
    seen = []
    for line in listener.stdout:
        event = json.loads(line)
        seen.append((event["service"], event["action"]))
        if event["action"] in ("stop", "die") and len(seen) > 1:
            break
    listener.kill()
    listener.wait()
    assert ("one", "start") in seen
