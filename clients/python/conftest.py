"""What the tests of all Python clients share. DOCKER_HOST says which daemon they speak to."""

import docker
import pytest


@pytest.fixture(scope="session")
def client():
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture(autouse=True)
def nothing_stays(client):
    """Removes what a test made, whether it passed or not."""
    yield
    for container in client.containers.list(all=True):
        container.remove(force=True, v=True)
    client.networks.prune()
    for volume in client.volumes.list():
        volume.remove(force=True)


@pytest.fixture
def since(client):
    """`since("1.44")` skips a test of what only Docker's API from that version on can do."""
    have = tuple(map(int, client.version()["ApiVersion"].split(".")))

    def need(version):
        if have < tuple(map(int, version.split("."))):
            pytest.skip(f"needs API {version}")

    return need
