// Uses Swagger UI as a person does: authorises, executes POST /tasks, waits for the answer to be shown.
//   node swagger.mjs SERVER KEY_FILE SCREENSHOT
// Prints the answer as JSON: {"status", "body"}.
import { chromium } from "playwright-core";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [server, keyFile, screenshot] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "mas-browser-"));
// The last five keep Chromium from asking for anything but the page.
const args = [
  "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic",
  "--disable-background-networking", "--disable-component-update", "--disable-sync",
];
const context = await chromium.launchPersistentContext(profile, {
  executablePath: process.env.MAS_TEST_CHROMIUM || "/usr/bin/chromium",
  headless: true,
  args,
  viewport: { width: 1280, height: 1600 },
});
try {
  const page = context.pages()[0] ?? (await context.newPage());
  page.setDefaultTimeout(30_000);
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  await page.goto(`${server}/api-docs/`);

  await page.getByRole("button", { name: "Authorize" }).first().click();
  const dialog = page.locator(".dialog-ux");
  await dialog.locator("input").fill(readFileSync(keyFile, "utf8").trim());
  await dialog.getByRole("button", { name: /apply credentials/i }).click();
  await dialog.getByRole("button", { name: "Close" }).click();

  const operation = page.locator(".opblock-post").filter({ has: page.locator('[data-path="/tasks"]') });
  await operation.locator(".opblock-summary-control").click();
  const execute = operation.getByRole("button", { name: "Execute", exact: true });
  await operation.locator(".opblock-body").waitFor();
  if (!(await execute.isVisible())) {
    await operation.getByRole("button", { name: "Try it out" }).click();
  }
  const description = "Say hello to whoever reads this page.";
  await operation.locator("textarea").first().fill(JSON.stringify({ title: "From the browser", description }, null, 2));
  await execute.click();

  const answer = operation.locator(".live-responses-table tr.response");
  await answer.first().waitFor();
  await answer.first().scrollIntoViewIfNeeded();
  const status = Number((await answer.first().locator(".response-col_status").innerText()).trim().slice(0, 3));
  const body = JSON.parse(await answer.first().locator("code.language-json").first().innerText());
  await page.screenshot({ path: screenshot });
  console.log(JSON.stringify({ status, body, complaints }));
} finally {
  await context.close();
  rmSync(profile, { recursive: true, force: true });
}
