// A newcomer's first five minutes, by a real browser against a real process: the banner, the hosted
// form without JavaScript, a refusal, the thanks page, the local sheet, kill -9, and again.
//
//   node first-five-minutes.mjs target/release/formspool
//
// Waits for conditions with a deadline, never for a time. Ends only the process that it started.

import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import assert from "node:assert/strict";
import { chromium } from "playwright-core";

const binary = resolve(process.argv[2] ?? "target/release/formspool");
const root = resolve(fileURLToPath(import.meta.url), "../../..");
const data = await mkdtemp(join(tmpdir(), "formspool-browser-"));
const [http, ops] = await Promise.all([freePort(), freePort()]);
const base = `http://127.0.0.1:${http}`;
const SCRIPT = "<script>alert(1)</script>";
let node;

/** A port that nobody listens on at this moment. */
function freePort() {
  return new Promise((done, fail) => {
    const server = createServer();
    server.on("error", fail);
    server.listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => done(port));
    });
  });
}

/** Polls `claim` until it returns something true; names it at the deadline. */
async function until(what, claim, deadlineMs = 5000) {
  const end = Date.now() + deadlineMs;
  for (;;) {
    const answer = await claim();
    if (answer) return answer;
    if (Date.now() > end) throw new Error(`not within ${deadlineMs} ms: ${what}`);
    await new Promise((next) => setTimeout(next, 20));
  }
}

/** Starts the node; resolves with its banner once it says how to see more. */
async function start() {
  const began = Date.now();
  node = spawn(binary, ["serve"], {
    cwd: root,
    env: {
      ...process.env,
      FORMSPOOL_DATA_DIR: data,
      FORMSPOOL_HTTP__LISTEN: `127.0.0.1:${http}`,
      FORMSPOOL_OPS__LISTEN: `127.0.0.1:${ops}`,
    },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let banner = "";
  let errors = "";
  node.stdout.on("data", (bytes) => (banner += bytes));
  node.stderr.on("data", (bytes) => (errors += bytes));
  const ended = new Promise((done) => node.on("exit", (code, signal) => done({ code, signal })));
  node.ended = ended;
  await until("the node is ready", async () => {
    if (node.exitCode !== null) throw new Error(`the node ended: ${errors}`);
    const ready = await fetch(`http://127.0.0.1:${ops}/readyz`).catch(() => null);
    return ready?.ok && banner.includes(`${base}/f/student-data`);
  }, 10000);
  return { banner, tookMs: Date.now() - began };
}

async function kill(signal) {
  node.kill(signal);
  return node.ended;
}

async function sheet() {
  const text = await readFile(join(data, "sheets", "student-data.csv"), "utf8").catch(() => "");
  return text.split("\n").filter((line) => line !== "");
}

async function fill(page, values) {
  for (const [name, value] of Object.entries(values)) {
    const field = page.locator(`[name="${name}"]`);
    if ((await field.evaluate((node) => node.tagName)) === "SELECT") await field.selectOption(value);
    else await field.fill(value);
  }
}

const values = {
  name: "Saurabh raj", roll: "99999", university: "BCE", cgpa: "8.04",
  gender: "F", age: "10.11", email: "someone@example.com", mobile: "7004465984",
};

const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync"],
});
try {
  const first = await start();
  const token = (await readFile(join(data, "admin.token"), "utf8")).trim();
  assert.ok(first.tookMs < 2000, `the banner and readiness took ${first.tookMs} ms`);
  assert.ok(first.banner.includes(token), "the first start shows the admin token");
  assert.ok(/p99/.test(first.banner) && /curl/.test(first.banner), first.banner);

  // The curl line works when pasted.
  const curl = first.banner.split("\n").find((line) => line.trim().startsWith("curl "))
    ?? first.banner.slice(first.banner.indexOf("curl "));
  const pasted = spawn("bash", ["-c", curl.slice(curl.indexOf("curl "))], { stdio: ["ignore", "pipe", "ignore"] });
  let answer = "";
  pasted.stdout.on("data", (bytes) => (answer += bytes));
  await new Promise((done) => pasted.on("exit", done));
  assert.equal(JSON.parse(answer).seq, 1, `the pasted curl line answered ${answer}`);

  // Without JavaScript: a refusal shows what was typed and what is wrong.
  const context = await browser.newContext({ javaScriptEnabled: false });
  const page = await context.newPage();
  let dialogs = 0;
  page.on("dialog", (dialog) => { dialogs += 1; return dialog.dismiss(); });
  await page.goto(`${base}/f/student-data`);
  await fill(page, { ...values, name: SCRIPT, email: "not-an-address" });
  await page.evaluate(() => document.querySelector("form").setAttribute("novalidate", "")).catch(() => {});
  const refused = page.waitForResponse((response) => response.request().method() === "POST");
  await page.locator("form").evaluate((form) => { form.noValidate = true; HTMLFormElement.prototype.submit.call(form); });
  assert.equal((await refused).status(), 422);
  await page.waitForLoadState();
  assert.equal(await page.locator('[name="name"]').inputValue(), SCRIPT, "typed values are kept");
  assert.equal(await page.locator('[name="email"]').getAttribute("aria-invalid"), "true");
  assert.ok((await page.content()).includes("email"), "the page says what is wrong");
  assert.equal((await sheet()).length, 2, "a refused submission is in no reader's sight");

  // Mended: a thanks page with the receipt, and the row stands in the sheet within a second.
  await fill(page, { ...values, name: SCRIPT });
  await Promise.all([page.waitForURL(/\/thanks\//), page.locator('button[type="submit"], input[type="submit"]').first().click()]);
  const thanks = await page.content();
  assert.ok(/[0-9a-f]{8}-[0-9a-f]{4}-7/.test(thanks), "the thanks page shows the receipt");
  await until("the row stands in the sheet", async () => (await sheet()).length === 3, 1000);
  if (process.env.SCREENSHOTS) {
    await page.screenshot({ path: join(process.env.SCREENSHOTS, "thanks.png"), fullPage: true });
    await page.goto(`${base}/f/student-data`);
    await page.screenshot({ path: join(process.env.SCREENSHOTS, "form.png"), fullPage: true });
  }

  // With JavaScript on, a stored script is shown as text and never run.
  const scripted = await (await browser.newContext()).newPage();
  scripted.on("dialog", (dialog) => { dialogs += 1; return dialog.dismiss(); });
  await scripted.goto(`${base}/f/student-data`);
  await fill(scripted, { ...values, name: SCRIPT, roll: '"><img src=x onerror=alert(1)>' });
  await scripted.locator("form").evaluate((form) => HTMLFormElement.prototype.submit.call(form));
  await scripted.waitForLoadState("networkidle");
  assert.equal(dialogs, 0, "nothing that was typed is run");

  // kill -9, and everything acknowledged is there: in the log and in the sheet, once, in order.
  const before = await sheet();
  await kill("SIGKILL");
  const second = await start();
  assert.ok(!second.banner.includes(token), "the token is shown once");
  const list = await (await fetch(`${base}/v1/forms/student-data/submissions`, {
    headers: { authorization: `Bearer ${token}` },
  })).json();
  assert.deepEqual(list.records.map((record) => record.seq), before.slice(1).map((row) => Number(row.split(",")[0])));
  assert.deepEqual(await sheet(), before);
  assert.equal(list.records[1].data.name, SCRIPT, "stored as typed");

  // And it stops when asked to.
  assert.deepEqual(await kill("SIGTERM"), { code: 0, signal: null });
  console.log(`browser: first start ready in ${first.tookMs} ms, second in ${second.tookMs} ms; `
    + `${list.records.length} records, ${before.length - 1} rows, 0 dialogs: ok`);
} finally {
  if (node && node.exitCode === null && node.signalCode === null) await kill("SIGKILL");
  await browser.close();
  await rm(data, { recursive: true, force: true });
}
