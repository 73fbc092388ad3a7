#!/usr/bin/env node
// The demonstration behind `make demo`: starts the gateway with the rehearsal model, sends it one task over HTTP the way
// a Custom GPT does, shows what the agent does as it happens, and prints the result.
//
//   DEMO_PORT=3456   port to serve on
//   DEMO_EXIT=1      stop at the end instead of serving on
//   MAS_BIN=PATH     the gateway program; target/debug/mas by default

import { spawn, execFile } from "node:child_process";
import { existsSync, mkdtempSync, openSync, readFileSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const mas = resolve(process.env.MAS_BIN || join(root, "target/debug/mas"));
const claude = join(root, "agents/claude");
const port = Number(process.env.DEMO_PORT || 3456);
const base = `http://127.0.0.1:${port}`;
const keepServing = !["1", "true", "yes"].includes(process.env.DEMO_EXIT ?? "");

const READY_SECONDS = 60;
const TASK_SECONDS = 180;
const STOP_SECONDS = 20;

class DemoError extends Error {}

/** What the model "decides" in this rehearsal. The agent, its tools and its files are real. */
const script = {
  steps: [
    {
      text: "First I say hello from the workspace.",
      delay_ms: 40,
      tool_use: { name: "Bash", input: { command: "echo hello from a supervised agent", description: "Say hello" } },
    },
    {
      text: "Now I leave a file behind.",
      delay_ms: 40,
      tool_use: { name: "Bash", input: { command: "touch notes.md", description: "Create notes.md" } },
    },
    {
      text: "Done. Here is the structured answer.",
      delay_ms: 40,
      tool_use: {
        name: "StructuredOutput",
        input: { summary: "Said hello and created notes.md.", files: ["notes.md"] },
      },
    },
  ],
};

const request = {
  title: "Say hello",
  description: `Say hello, create notes.md, and report what you did.\n\nREHEARSE:${JSON.stringify(script)}`,
  agent_type: "coder",
  output_schema: {
    type: "object",
    properties: { summary: { type: "string" }, files: { type: "array", items: { type: "string" } } },
    required: ["summary", "files"],
    additionalProperties: false,
  },
};

let dataDir;
let server;
let stopping = false;

const say = (text) => console.log(text);
const pause = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));

/** This process's environment without anything that would change the demonstration or reach a real account. */
function cleanEnvironment() {
  const foreign = /^(MAS_|ANTHROPIC_|CLAUDE)|^(HTTPS?|ALL)_PROXY$/i;
  const kept = Object.entries(process.env).filter(([name]) => !foreign.test(name));
  return {
    ...Object.fromEntries(kept),
    MAS_CLAUDE_CODE__COMMAND: claude,
    // The demonstration leaves nothing running; a real server lets its agents work on.
    MAS_RUNNER__ON_SHUTDOWN: "stop",
  };
}

function checkPrograms() {
  for (const [path, remedy] of [
    [mas, "build it with: cargo build"],
    [claude, "install it with: agents/install.sh"],
  ]) {
    if (!existsSync(path)) throw new DemoError(`${path} is missing; ${remedy}`);
  }
  if (!Number.isInteger(port) || port < 1 || port > 65535) throw new DemoError(`DEMO_PORT=${process.env.DEMO_PORT} is not a port`);
}

function checkPortIsFree() {
  return new Promise((done, fail) => {
    const probe = createServer();
    probe.once("error", (error) =>
      fail(
        new DemoError(
          error.code === "EADDRINUSE"
            ? `port ${port} is in use. Stop what listens there, or choose another: make demo DEMO_PORT=4000`
            : `port ${port} cannot be used: ${error.message}`,
        ),
      ),
    );
    probe.listen(port, "127.0.0.1", () => probe.close(() => done()));
  });
}

/** The end of the server's log, for error messages. */
function logTail(lines = 20) {
  try {
    return readFileSync(join(dataDir, "server.log"), "utf8").trimEnd().split("\n").slice(-lines).join("\n");
  } catch {
    return "";
  }
}

function startServer() {
  const log = openSync(join(dataDir, "server.log"), "a");
  const flags = ["serve", "--rehearsal", "--bind", `127.0.0.1:${port}`, "--data-dir", dataDir, "--log-format", "json"];
  // Its own session, so that Ctrl-C reaches it once: from here. Its own directory, so that no mas.toml is picked up.
  const child = spawn(mas, flags, { cwd: dataDir, env: cleanEnvironment(), stdio: ["ignore", log, log], detached: true });
  const handle = { child, ended: false, ending: null };
  handle.ending = new Promise((done) => {
    const finish = (how) => {
      handle.ended = true;
      done(how);
    };
    child.once("exit", (code, signal) => finish(signal ? `signal ${signal}` : `exit code ${code}`));
    child.once("error", (error) => finish(error.message));
  });
  return handle;
}

async function waitUntilReady() {
  let reason = "no answer";
  for (const end = Date.now() + READY_SECONDS * 1000; Date.now() < end; await pause(100)) {
    if (server.ended) throw new DemoError(`the server ended early (${await server.ending}). Its log ends with:\n${logTail()}`);
    try {
      const response = await fetch(`${base}/ready`, { signal: AbortSignal.timeout(5000) });
      const body = await response.text();
      if (response.ok) return;
      reason = body;
    } catch (error) {
      reason = error.cause?.code ?? error.message;
    }
  }
  throw new DemoError(`the server was not ready within ${READY_SECONDS} s: ${reason}\nIts log ends with:\n${logTail()}`);
}

async function createKey() {
  const command = ["key", "create", "--user", "demo", "--name", "demo", "--scopes", "read,operate,admin", "--data-dir", dataDir];
  try {
    const { stdout } = await promisify(execFile)(mas, command, { cwd: dataDir, env: cleanEnvironment() });
    const key = stdout.trim();
    if (!/^mas_\S+$/.test(key)) throw new DemoError(`\`mas key create\` printed ${JSON.stringify(stdout)} instead of one key`);
    return key;
  } catch (error) {
    if (error instanceof DemoError) throw error;
    throw new DemoError(`\`mas ${command.join(" ")}\` failed: ${(error.stderr || error.message).trim()}`);
  }
}

async function call(key, method, path, body) {
  const headers = { "X-MAS-Key": key, ...(body && { "Content-Type": "application/json" }) };
  const response = await fetch(base + path, {
    method,
    headers,
    body: body && JSON.stringify(body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await response.text();
  if (!response.ok) throw new DemoError(`${method} ${path} answered ${response.status}: ${text}`);
  return JSON.parse(text);
}

const oneLine = (value, length = 100) => {
  const text = (typeof value === "string" ? value : JSON.stringify(value) ?? "").replace(/\s+/g, " ").trim();
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
};

/** What an event says, in a few words. */
function describe({ kind, data = {} }) {
  switch (kind) {
    case "message":
    case "delta":
    case "thinking":
      return data.text;
    case "tool_call":
      return `${data.tool} ${data.input?.command ?? JSON.stringify(data.input)}`;
    case "tool_result":
      return `${data.is_error ? "error: " : ""}${data.text}`;
    case "usage":
      return `${data.usage?.input_tokens} tokens in, ${data.usage?.output_tokens} out`;
    case "status":
      return data.detail ? `${data.state}: ${data.detail}` : data.state;
    case "retry":
      return `attempt ${data.attempt} of ${data.max_retries} failed (${data.error}), next in ${data.delay_ms} ms`;
    case "rate_limit":
      return `${data.status} ${data.limit ?? ""}`;
    case "result":
      return data.is_error ? `failed: ${(data.errors ?? []).join("; ") || data.text || data.subtype}` : data.text ?? data.subtype;
    case "process":
      return [data.state, data.pid && `pid ${data.pid}`, data.code != null && `code ${data.code}`, data.signal && `signal ${data.signal}`, data.reason]
        .filter(Boolean)
        .join(", ");
    default:
      return JSON.stringify(data);
  }
}

function show(event) {
  const place = event.task_seq ?? event.seq ?? "";
  say(`  ${String(place).padStart(4)}  ${String(event.kind).padEnd(11)} ${oneLine(describe(event) ?? "")}`);
}

/** Follows the task's event stream; reconnects where it broke off until `signal` says that enough was seen. */
async function follow(key, id, signal, seen) {
  let last;
  while (!signal.aborted) {
    try {
      const headers = { "X-MAS-Key": key, Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) };
      const response = await fetch(`${base}/tasks/${id}/events`, { headers, signal });
      if (!response.ok) throw new DemoError(`GET /tasks/${id}/events answered ${response.status}: ${await response.text()}`);
      seen.closed = false;
      let buffer = "";
      for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
        buffer += chunk;
        let end;
        while ((end = buffer.search(/\r?\n\r?\n/)) >= 0) {
          const block = buffer.slice(0, end);
          buffer = buffer.slice(end).replace(/^\r?\n\r?\n/, "");
          const data = [];
          for (const line of block.split(/\r?\n/)) {
            if (line.startsWith("data:")) data.push(line.slice(5).replace(/^ /, ""));
            if (line.startsWith("id:")) last = line.slice(3).trim();
          }
          if (data.length === 0) continue; // a comment that keeps the connection open
          const event = JSON.parse(data.join("\n"));
          if (event.kind) {
            show(event);
            seen.events += 1;
            seen.at = Date.now();
          }
        }
      }
    } catch (error) {
      if (error instanceof DemoError) throw error;
      if (signal.aborted) return;
    }
    seen.closed = true;
    await pause(200);
  }
}

const isOver = (task) => ["complete", "failed", "cancelled"].includes(task.status);

async function waitUntilOver(key, id) {
  for (const end = Date.now() + TASK_SECONDS * 1000; Date.now() < end; ) {
    const task = await call(key, "GET", `/tasks/${id}?wait_seconds=10`);
    if (isOver(task)) return task;
    await pause(100);
  }
  throw new DemoError(`the task did not end within ${TASK_SECONDS} s; see ${base}/tasks/${id}. The log ends with:\n${logTail()}`);
}

async function runTask(key) {
  say(`\nPOST ${base}/tasks`);
  const created = await call(key, "POST", "/tasks", request);
  const id = created.id;
  if (!id) throw new DemoError(`the answer to POST /tasks has no id: ${JSON.stringify(created)}`);
  say(`  ${id}: ${created.status}\n\nGET ${base}/tasks/${id}/events  (as they come)`);

  const enough = new AbortController();
  const seen = { events: 0, at: Date.now(), closed: false };
  const following = follow(key, id, enough.signal, seen);
  let task;
  try {
    task = await Promise.race([waitUntilOver(key, id), following.then(() => new Promise(() => {}))]);
    // The last events may still be on their way: done when the stream was closed, or has been quiet for a second.
    for (const end = Date.now() + 10_000; Date.now() < end && !seen.closed && Date.now() - seen.at < 1000; ) await pause(50);
  } finally {
    enough.abort();
    await following.catch(() => {});
  }
  if (seen.events === 0) throw new DemoError("the task ended, but its event stream showed nothing");

  const { status, result, structured_output, cost_usd, usage, provenance, failure } = task;
  say(`\nGET ${base}/tasks/${id}`);
  say(JSON.stringify({ status, result, structured_output, cost_usd, usage, provenance, failure }, null, 2));
  if (status !== "complete") throw new DemoError(`the task is ${status}, not complete: ${failure?.detail ?? "no reason was given"}`);
  if (!structured_output?.summary) throw new DemoError("the task is complete, but its structured_output is missing");
  say("\nThe agent, its tools and the events were real; the model's words and figures were scripted (provenance: rehearsal).");
}

/** Shims and agents of this demonstration that outlived the server: known by its unique data directory. */
function leftovers() {
  if (!existsSync("/proc/self/cmdline")) return [];
  const isOurs = (pid) => {
    try {
      const argv = readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0");
      const shim = argv.includes("__shim") && argv.some((argument) => argument.startsWith(dataDir));
      return shim || readlinkSync(`/proc/${pid}/cwd`).startsWith(`${dataDir}/`);
    } catch {
      return false; // ended meanwhile, or somebody else's
    }
  };
  return readdirSync("/proc").filter((name) => /^\d+$/.test(name) && isOurs(name)).map(Number);
}

const signalProcess = (pid, signal) => {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
};

/** Ends the server, waits for it, and removes what the demonstration made. */
async function cleanUp({ keepData }) {
  stopping = true;
  let clean = true;
  if (server) {
    server.child.kill("SIGTERM");
    const late = setTimeout(() => server.child.kill("SIGKILL"), STOP_SECONDS * 1000);
    clean = (await server.ending) === "exit code 0";
    clearTimeout(late);
  }
  if (!dataDir) return;
  if (!clean) for (const pid of leftovers()) signalProcess(pid, "SIGKILL");
  if (keepData) return console.error(`The server's log and data stay in ${dataDir}`);
  rmSync(dataDir, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 });
}

async function main() {
  checkPrograms();
  await checkPortIsFree();
  dataDir = mkdtempSync(join(tmpdir(), "mas-demo-"));

  const interrupted = new Promise((done) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(name, () => done(name));
  });

  const demonstrate = async () => {
    say(`Starting the gateway on ${base} with the rehearsal model ...`);
    server = startServer();
    await waitUntilReady();
    const key = await createKey();
    await runTask(key);
    return key;
  };
  // A signal ends the demonstration wherever it is.
  const outcome = await Promise.race([demonstrate().then((key) => ({ key })), interrupted.then((signal) => ({ signal }))]);
  if (outcome.signal) {
    await cleanUp({ keepData: false });
    return 130;
  }
  if (!keepServing) {
    await cleanUp({ keepData: false });
    say("Stopped, as DEMO_EXIT asks.");
    return 0;
  }

  say(`
The gateway goes on serving; Ctrl-C ends it and removes its data.
  key      ${outcome.key}
  Swagger  ${base}/api-docs   (Authorize with the key)
  try      curl -s -X POST ${base}/tasks -H 'X-MAS-Key: ${outcome.key}' -H 'Content-Type: application/json' \\
             -d '{"title": "Hello", "description": "Say hello.", "wait_seconds": 30}'`);
  const how = await Promise.race([interrupted.then(() => null), server.ending]);
  if (how) throw new DemoError(`the server ended by itself (${how}). Its log ends with:\n${logTail()}`);
  say("\nStopping ...");
  await cleanUp({ keepData: false });
  return 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  console.error(`\ndemo: ${error instanceof DemoError ? error.message : error.stack}`);
  if (!stopping) await cleanUp({ keepData: Boolean(dataDir) });
  process.exitCode = 1;
}
// Requests that a signal cut short must not keep the process alive.
process.exit();
