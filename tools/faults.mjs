#!/usr/bin/env node
// `make faults`: runs the fault suite and prints what became of each fault. Ends with an error when a case fails, or when
// a process of an agent is alive afterwards. An argument chooses cases by a part of their name.

import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, readdirSync, rmSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");
const target = resolve(process.env.CARGO_TARGET_DIR || join(root, "target"));
const report = join(target, "nextest/faults/report.xml");
/** Every process of an agent has it in its environment; see src/process.rs. */
const MARKER = "MAS_PROCESS_MARKER=";

const GROUPS = [
  ["faults", "An agent that misbehaves"],
  ["full_disk", "A full disk"],
  ["failures", "Work that cannot be done"],
  ["recovery", "Death of server, shim, CLI, host"],
  ["agents", "Durable agents"],
  ["limits", "Limits that bind"],
  ["process", "The process supervisor by itself"],
  ["events", "Event streams"],
  ["housekeeping", "Housekeeping, backup and restore"],
];

/** Processes that carry the marker of an agent, as `pid command`. */
function agentProcesses() {
  const found = [];
  for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
    try {
      if (readFileSync(`/proc/${pid}/environ`, "latin1").includes(MARKER)) {
        found.push(`${pid} ${readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ").slice(0, 100)}`);
      }
    } catch {
      // It has ended, or is not ours.
    }
  }
  return found;
}

/** The cases of a JUnit report: name, seconds, whether it passed. */
function cases(xml) {
  return [...xml.matchAll(/<testcase name="([^"]+)"[^>]*?time="([^"]+)"[^>]*?(\/>|>([\s\S]*?)<\/testcase>)/g)].map(
    ([, name, seconds, , body]) => ({ name, seconds: Number(seconds), passed: !/<(failure|error)\b/.test(body ?? "") }),
  );
}

/** A full disk has cases among the unit tests, which are named after their modules. */
const groupOf = (name) => (name.includes("full_disk") ? "full_disk" : name.split("::")[0]);

/** `faults::floods_its_output` and `agents::recovery::cli_a_b` as words. */
const words = (name) => name.split("::").at(-1).replace(/^cli_/, "").replaceAll("_", " ");

const before = new Set(agentProcesses());
rmSync(report, { force: true });
const names = GROUPS.map(([name]) => name).join("|");
const suite = `(binary(it) & test(/^(${names})::/)) | test(/full_disk/)`;
const wanted = process.argv[2] ? `(${suite}) & test(${process.argv[2]})` : suite;
const environment = { ...process.env };
delete environment.MAS_TEST_POSTGRES_URL;
const run = spawnSync(
  process.env.CARGO || "cargo",
  ["nextest", "run", "--locked", "--profile", "faults", "-E", wanted],
  { cwd: root, env: environment, stdio: "inherit" },
);
if (!existsSync(report)) {
  process.exit(run.status || 1);
}

const all = cases(readFileSync(report, "utf8"));
for (const [group, title] of GROUPS) {
  const members = all.filter(({ name }) => group === groupOf(name));
  if (members.length) {
    console.log(`\n${title}`);
  }
  for (const { name, seconds, passed } of members) {
    console.log(`  ${passed ? "ok    " : "FAILED"} ${seconds.toFixed(1).padStart(6)} s  ${words(name)}`);
  }
}
const left = agentProcesses().filter((line) => !before.has(line));
const failed = all.filter(({ passed }) => !passed).length;
console.log(`\n${all.length} cases, ${failed} failed; processes of agents alive afterwards: ${left.length}`);
left.forEach((line) => console.log(`  ${line}`));
process.exit(run.status || left.length ? 1 : 0);
