// Testcontainers for Node, with its defaults, against a Docker daemon.

import assert from "node:assert/strict";
import { text } from "node:stream/consumers";
import { test } from "node:test";
import { GenericContainer, Network, Wait } from "testcontainers";

// It goes on saying so: on a busy machine, who begins to follow Docker 20.10's log has missed a line that came just then.
const PAGE = ["sh", "-c", "echo hi > /page; while echo is ready; do sleep 0.5; done & exec httpd -f -p 80 -h /"];

const web = () => new GenericContainer("busybox:latest").withCommand(PAGE).withExposedPorts(80);
const page = async (container) => (await fetch(`http://${container.getHost()}:${container.getMappedPort(80)}/page`)).text();

test("a container that waits for its log, and is asked over its port", async () => {
  const container = await web().withWaitStrategy(Wait.forLogMessage("is ready")).start();
  const { exitCode, output } = await container.exec(["cat", "/page"]);
  assert.deepEqual([exitCode, output], [0, "hi\n"]);
  assert.equal(await page(container), "hi\n");
  await container.restart();
  await container.stop();
});

test("waiting for a port and for a page", async () => {
  const port = await web().start();
  assert.equal(await page(port), "hi\n");
  const http = await web().withWaitStrategy(Wait.forHttp("/page", 80).forStatusCode(200)).start();
  assert.equal(await page(http), "hi\n");
  await Promise.all([port.stop(), http.stop()]);
});

test("waiting for health", async () => {
  const container = await new GenericContainer("busybox:latest")
    .withCommand(["sh", "-c", "sleep 0.5; touch /ready; sleep 1000"])
    .withHealthCheck({ test: ["CMD-SHELL", "test -e /ready"], interval: 200, retries: 50 })
    .withWaitStrategy(Wait.forHealthCheck())
    .start();
  assert.equal((await container.exec(["ls", "/ready"])).exitCode, 0);
  await container.stop();
});

test("settings, files, and a program that ends", async () => {
  const container = await new GenericContainer("busybox:latest")
    .withEnvironment({ A: "b c" })
    .withCopyContentToContainer([{ content: "copied in", target: "/etc/copied", mode: 0o600 }])
    .withTmpFs({ "/t": "size=1m" })
    .withUser("0:7")
    .withWorkingDir("/tmp")
    .withCommand(["sh", "-c", "echo $A; cat /etc/copied; echo; stat -c %a /etc/copied; id -g; pwd; stat -f -c %T /t"])
    .withWaitStrategy(Wait.forOneShotStartup())
    .start();
  assert.equal(await text(await container.logs()), "b c\ncopied in\n600\n7\n/tmp\ntmpfs\n");
  await container.stop();
});

test("containers find each other by alias", async () => {
  const network = await new Network().start();
  const server = await web().withNetwork(network).withNetworkAliases("server").start();
  const client = await new GenericContainer("busybox:latest").withCommand(["sleep", "1000"]).withNetwork(network).start();
  const { exitCode, output } = await client.exec(["wget", "-q", "-O", "-", "http://server/page"]);
  assert.deepEqual([exitCode, output], [0, "hi\n"]);
  await Promise.all([server.stop(), client.stop()]);
  await network.stop();
});
