// dockerode against a Docker daemon: each result is checked by its value.

import assert from "node:assert/strict";
import { PassThrough } from "node:stream";
import { after, afterEach, before, test } from "node:test";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import Docker from "dockerode";

const docker = new Docker();
const SLEEP = ["sleep", "1000"];
let api;

before(async () => {
  api = (await docker.version()).ApiVersion.split(".").map(Number);
});

afterEach(async () => {
  for (const { Id } of await docker.listContainers({ all: true })) {
    await docker.getContainer(Id).remove({ force: true, v: true });
  }
  await docker.pruneNetworks();
});

/** Whether the daemon has this version of the API: what only newer Dockers do is skipped with older ones. */
const since = (minor) => api[1] >= minor;

/** All that a readable stream says. */
async function text(stream) {
  const pieces = [];
  for await (const piece of stream) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

/** Collects both halves of a multiplexed stream until it ends. */
async function demultiplexed(stream) {
  const [out, err] = [new PassThrough(), new PassThrough()];
  docker.modem.demuxStream(stream, out, err);
  await once(stream, "end");
  out.end();
  err.end();
  return [await text(out), await text(err)];
}

async function started(options = {}) {
  const container = await docker.createContainer({ Image: "busybox", Cmd: SLEEP, ...options });
  await container.start();
  return container;
}

async function exec(container, options) {
  const exec = await container.exec({ AttachStdout: true, AttachStderr: true, ...options });
  const [out, err] = await demultiplexed(await exec.start({ hijack: true, stdin: false }));
  return { out, err, code: (await exec.inspect()).ExitCode };
}

async function refused(promise, status, message) {
  const error = await promise.then(() => assert.fail("it was done"), (error) => error);
  assert.equal(error.statusCode, status);
  assert.match(error.json.message, message);
}

test("the daemon tells of itself", async () => {
  assert.equal((await docker.ping()).toString(), "OK");
  const info = await docker.info();
  assert.equal(info.OSType, "linux");
  assert.equal(info.Swarm.LocalNodeState, "inactive");
});

test("run streams the output and tells the exit code", async () => {
  const out = new PassThrough();
  const said = text(out);
  const [result, container] = await docker.run("busybox", ["sh", "-c", "echo hello; exit 4"], out, { HostConfig: {} });
  out.end();
  assert.equal(result.StatusCode, 4);
  assert.equal(await said, "hello\r\n");
  assert.equal((await container.inspect()).State.ExitCode, 4);
});

test("both streams, apart", async () => {
  const container = await docker.createContainer({
    Image: "busybox", Cmd: ["sh", "-c", "echo out; echo err >&2"], AttachStdout: true, AttachStderr: true,
  });
  const stream = await container.attach({ stream: true, stdout: true, stderr: true });
  const said = demultiplexed(stream);
  await container.start();
  assert.deepEqual(await said, ["out\n", "err\n"]);
});

test("input over a hijacked connection, ended by a half-close", async () => {
  const container = await docker.createContainer({
    Image: "busybox", Cmd: ["wc", "-c"], OpenStdin: true, StdinOnce: true, AttachStdin: true, AttachStdout: true,
  });
  const stream = await container.attach({ stream: true, stdin: true, stdout: true, hijack: true });
  const said = demultiplexed(stream);
  await container.start();
  stream.end("12345");
  assert.deepEqual(await said, ["5\n", ""]);
});

test("a life", async () => {
  const container = await started({ name: "box", Labels: { l: "1" }, HostConfig: { Memory: 64 << 20 } });
  const [listed] = await docker.listContainers({ filters: { label: ["l=1"] } });
  assert.deepEqual([listed.Id, listed.Names[0], listed.State], [container.id, "/box", "running"]);
  assert.equal((await container.inspect()).HostConfig.Memory, 64 << 20);
  assert.equal((await container.top()).Processes[0].at(-1), "sleep 1000");
  await container.pause();
  assert.equal((await container.inspect()).State.Paused, true);
  await container.unpause();
  await container.rename({ name: "crate" });
  await container.update({ Memory: 32 << 20, MemorySwap: 32 << 20 });
  await container.restart({ t: 0 });
  await container.resize({ h: 10, w: 20 });
  const waiting = container.wait({ condition: "next-exit" });
  await sleep(100);
  await container.kill({ signal: "KILL" });
  assert.equal((await waiting).StatusCode, 137);
  await refused(container.kill(), 409, /is not running/);
  await container.remove();
  await refused(container.inspect(), 404, /^No such container: /);
});

test("names are taken once", async () => {
  await started({ name: "box" });
  await refused(docker.createContainer({ Image: "busybox", name: "box" }), 409, /name "\/box" is already in use by container/);
});

test("a program that is not there", async () => {
  await refused(started({ Cmd: ["nosuchprogram"] }), 400, /executable file not found in \$PATH/);
  await refused(docker.createContainer({ Image: "no/such" }), 404, /No such image: no\/such:latest/);
});

test("exec", async () => {
  const container = await started({ Env: ["A=1"] });
  const script = { Cmd: ["sh", "-c", "echo $A $B; pwd; echo err >&2; exit 7"], Env: ["B=2"], WorkingDir: "/tmp" };
  assert.deepEqual(await exec(container, script), { out: "1 2\n/tmp\n", err: "err\n", code: 7 });
  const terminal = await container.exec({ Cmd: ["cat"], AttachStdin: true, AttachStdout: true, Tty: true });
  const stream = await terminal.start({ hijack: true, stdin: true, Tty: true });
  await terminal.resize({ h: 10, w: 20 });
  stream.write("ping\n");
  let heard = "";
  for await (const piece of stream) {
    heard += piece;
    if (heard === "ping\r\nping\r\n") break;
  }
  assert.equal(heard, "ping\r\nping\r\n");
});

test("logs, whole and followed", async () => {
  const container = await started({ Cmd: ["sh", "-c", "echo one; sleep 0.3; echo two; echo err >&2"] });
  const followed = await container.logs({ follow: true, stdout: true, stderr: true });
  assert.deepEqual(await demultiplexed(followed), ["one\ntwo\n", "err\n"]);
  const whole = await container.logs({ stdout: true, tail: 1 + 2 });
  assert.equal(whole.subarray(8, 12).toString(), "one\n");
});

test("stats", async () => {
  const container = await started({ HostConfig: { Memory: 64 << 20 } });
  const once = await container.stats({ stream: false });
  assert.equal(once.memory_stats.limit, 64 << 20);
  assert.equal(once.id, container.id);
  const stream = await container.stats({ stream: true });
  const [first] = await Promise.race([onceData(stream), sleep(10_000)]);
  assert.equal(JSON.parse(first).id, container.id);
  stream.destroy();
});

const onceData = (stream) => once(stream, "data");

test("events", async () => {
  const stream = await docker.getEvents({ filters: { type: ["container"], label: ["watched"] } });
  const container = await started({ Cmd: ["true"], Labels: { watched: "yes" } });
  await container.wait();
  await container.remove();
  let text = "";
  for await (const piece of stream) {
    text += piece;
    if (text.includes('"destroy"')) break;
  }
  const actions = text.trim().split("\n").map((line) => JSON.parse(line).Action);
  assert.deepEqual(actions.filter((name) => ["create", "start", "die", "destroy"].includes(name)), ["create", "start", "die", "destroy"]);
});

test("archives go in and come out", async () => {
  const one = await docker.createContainer({ Image: "busybox", Cmd: ["sh", "-c", "echo kept > /tmp/file"] });
  await one.start();
  await one.wait();
  const archive = await text(await one.getArchive({ path: "/tmp/file" }));
  assert.ok(archive.includes("kept\n"));
  const two = await docker.createContainer({ Image: "busybox", Cmd: ["cat", "/root/file"] });
  await two.putArchive(await one.getArchive({ path: "/tmp/file" }), { path: "/root" });
  await two.start();
  await two.wait();
  assert.equal((await two.logs({ stdout: true })).subarray(8).toString(), "kept\n");
  assert.ok((await one.changes()).some(({ Path, Kind }) => Path === "/tmp/file" && Kind === 1));
});

test("volumes", async () => {
  const volume = await docker.createVolume({ Name: "data", Labels: { l: "1" } });
  assert.equal((await volume.inspect()).Labels.l, "1");
  const container = await started({ HostConfig: { Binds: ["data:/data"] } });
  assert.equal((await container.inspect()).Mounts[0].Name, "data");
  await refused(volume.remove(), 409, /volume is in use/);
  await container.remove({ force: true });
  await volume.remove();
  await refused(volume.inspect(), 404, /no such volume/);
});

test("networks", async () => {
  const network = await docker.createNetwork({ Name: "net", IPAM: { Config: [{ Subnet: "10.214.0.0/24" }] } });
  const container = await started({ HostConfig: { NetworkMode: "net" } });
  const { Containers } = await network.inspect();
  assert.equal(Containers[container.id].IPv4Address, "10.214.0.2/24");
  await refused(network.remove(), 403, /has active endpoints/);
  await network.disconnect({ Container: container.id, Force: true });
  await network.remove();
});

test("published ports", async () => {
  const container = await started({
    Cmd: ["sh", "-c", "echo hi > /page; exec httpd -f -p 80 -h /"],
    ExposedPorts: { "80/tcp": {} }, HostConfig: { PortBindings: { "80/tcp": [{ HostPort: "0" }] } },
  });
  const { Ports } = (await container.inspect()).NetworkSettings;
  const port = Ports["80/tcp"].find(({ HostIp }) => HostIp === "0.0.0.0").HostPort;
  let page;
  for (let turn = 0; turn < 200 && page !== "hi\n"; turn++) {
    page = await fetch(`http://127.0.0.1:${port}/page`).then((answer) => answer.text()).catch(() => sleep(20));
  }
  assert.equal(page, "hi\n");
});

test("images", async () => {
  const image = docker.getImage("busybox");
  const { Id } = await image.inspect();
  await image.tag({ repo: "mine", tag: "1" });
  const [listed] = await docker.listImages({ filters: { reference: ["mine:1"] } });
  assert.equal(listed.Id, Id);
  const saved = await docker.getImage("mine:1").get();
  const pieces = [];
  for await (const piece of saved) pieces.push(piece);
  await docker.getImage("mine:1").remove();
  const loaded = await docker.loadImage(PassThrough.from([Buffer.concat(pieces)]));
  assert.match(await text(loaded), /Loaded image: mine:1/);
  await docker.getImage("mine:1").remove();
  await refused(docker.getImage("mine:1").inspect(), 404, /No such image: mine:1/);
});

test("what only newer Dockers do: an annotation", async (t) => {
  if (!since(43)) return t.skip("needs API 1.43");
  const container = await docker.createContainer({ Image: "busybox", HostConfig: { Annotations: { a: "b" } } });
  assert.deepEqual((await container.inspect()).HostConfig.Annotations, { a: "b" });
});
