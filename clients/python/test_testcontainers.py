"""Testcontainers for Python, with its defaults, against a Docker daemon."""

import urllib.request

import pytest
from testcontainers.core.container import DockerContainer
from testcontainers.core.network import Network
from testcontainers.core.wait_strategies import HealthcheckWaitStrategy, HttpWaitStrategy, LogMessageWaitStrategy

PAGE = ["sh", "-c", "echo hi > /page; echo is ready; exec httpd -f -p 80 -h /"]


@pytest.fixture(autouse=True)
def nothing_stays():
    """What a test makes goes by its own `with`; the reaper must live on."""


def web():
    return DockerContainer("busybox:latest").with_command(PAGE).with_exposed_ports(80)


def page(container):
    url = f"http://{container.get_container_host_ip()}:{container.get_exposed_port(80)}/page"
    return urllib.request.urlopen(url, timeout=5).read()


def test_a_container_that_waits_for_its_log():
    with web().waiting_for(LogMessageWaitStrategy("is ready")) as container:
        assert container.exec(["cat", "/page"]) == (0, b"hi\n")
        stdout, stderr = container.get_logs()
        assert (stdout, stderr) == (b"is ready\n", b"")


def test_waiting_for_a_page():
    with web().waiting_for(HttpWaitStrategy(80, "/page").for_status_code(200)) as container:
        assert page(container) == b"hi\n"


def test_waiting_for_health():
    check = {"test": ["CMD-SHELL", "test -e /ready"], "interval": 200_000_000, "retries": 50}
    container = DockerContainer("busybox:latest").with_command(["sh", "-c", "sleep 0.5; touch /ready; sleep 1000"])
    with container.with_kwargs(healthcheck=check).waiting_for(HealthcheckWaitStrategy()) as container:
        assert container.exec("ls /ready").exit_code == 0


def test_settings(tmp_path):
    (tmp_path / "file").write_text("from the host")
    container = DockerContainer("busybox:latest").with_env("A", "b c").with_volume_mapping(str(tmp_path), "/host", "ro")
    container.with_command(["sh", "-c", "echo $A; cat /host/file; echo; touch /host/x || echo refused; sleep 1000"])
    with container.waiting_for(LogMessageWaitStrategy("refused")):
        assert container.get_logs()[0] == b"b c\nfrom the host\nrefused\n"


def test_containers_find_each_other_by_alias():
    with Network() as network:
        client = DockerContainer("busybox:latest").with_command("sleep 1000").with_network(network)
        with web().with_network(network).with_network_aliases("server"), client:
            assert client.exec("wget -q -O - http://server/page") == (0, b"hi\n")
