// Looks at the documentation's pages as a person would, and at what the browser did meanwhile.
//
//   node check.mjs <chromium> <address of the receiver> <binary> <folder for screenshots>
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { chromium } from "playwright-core";

const [executablePath, address, binary, pictures] = process.argv.slice(2);
const WEBHOOK = "/api/v1/webhook/retell";
const PATIENCE_MS = 60_000;
let failed = 0;
let passed = 0;

function check(what, holds, detail = "") {
  holds ? (passed += 1) : (failed += 1);
  console.log(`${holds ? "ok     " : "FAILED "} ${what}${holds ? "" : ` ${detail}`}`);
}

const sign = (body) => execFileSync(binary, ["sign"], { input: body }).toString().trim();

function exported() {
  const lines = execFileSync(binary, ["events", "export"]).toString().trim().split("\n");
  return lines.filter(Boolean).map((line) => Buffer.from(JSON.parse(line).body_base64, "base64").toString());
}

/** A page that keeps what its console says and what it asks for. */
async function open(browser, path) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 1000 } });
  context.setDefaultTimeout(PATIENCE_MS);
  const page = await context.newPage();
  const seen = { complaints: [], urls: [] };
  page.on("console", (said) => {
    if (["error", "warning"].includes(said.type())) seen.complaints.push(`${said.type()}: ${said.text()}`);
  });
  page.on("pageerror", (error) => seen.complaints.push(String(error)));
  context.on("request", (request) => seen.urls.push(request.url()));
  await page.goto(address + path, { waitUntil: "load" });
  return { context, page, seen };
}

function checkQuiet(name, { complaints, urls }) {
  const foreign = urls.filter((url) => !["data:", "blob:"].includes(new URL(url).protocol) && new URL(url).origin !== address);
  check(`${name}: no complaint in the console`, complaints.length === 0, complaints.join("\n"));
  check(`${name}: every request goes to the receiver (${urls.length})`, foreign.length === 0 && urls.length > 3, foreign.join("\n"));
}

/** Fills the form of an opened operation, executes it, and gives the status shown. */
async function tryOut(operation, body, signature) {
  const executed = operation.locator(".live-responses-table tbody .response-col_status");
  await operation.locator("input[placeholder='X-Retell-Signature']").fill(signature);
  if (body !== null) await operation.locator("textarea.body-param__text").fill(body);
  if (await executed.count()) await operation.locator(".btn-clear").click();
  await operation.locator("button.execute").click();
  return (await executed.first().innerText()).trim().split(/\s/)[0];
}

async function swagger(browser, operations) {
  const { context, page, seen } = await open(browser, "/docs");
  await page.locator(".opblock").first().waitFor();
  const shown = await page.locator(".opblock").count();
  check(`/docs: shows ${shown} operations and events`, shown >= operations);
  await page.screenshot({ path: join(pictures, "docs.png") });

  const operation = page.locator("#operations-webhooks-receive_event");
  await operation.locator(".opblock-summary-control").click();
  await operation.locator(".try-out__btn").click();
  // The example as it stands in the box, and a text that a reader of JSON would write back otherwise.
  const example = await operation.locator("textarea.body-param__text").inputValue();
  const odd = '{ "event" : "call_ended",\n\t"call": {"call_id":"call_b\\u0075tton", "n": 12345678901234567890.10, "é": "☎" } }  ';
  for (const [name, body] of [["the example", example], ["odd white space and numbers", odd]]) {
    const status = await tryOut(operation, body === example ? null : body, sign(body));
    check(`/docs: a signed body is accepted: ${name}`, status === "200", status);
    check(`/docs: and arrived byte for byte: ${name}`, exported().includes(body), exported().at(-1));
  }
  await operation.locator(".live-responses-table").scrollIntoViewIfNeeded();
  await page.screenshot({ path: join(pictures, "docs-tried.png") });
  checkQuiet("/docs", seen);

  const told = seen.complaints.length;
  check("/docs: a signature of another body is refused", (await tryOut(operation, odd, sign(example))) === "401");
  check("/docs: which the console mentions, so this script hears it", seen.complaints.length > told);
  await context.close();
}

async function redoc(browser, operations) {
  const { context, page, seen } = await open(browser, "/redoc");
  await page.locator("h1").first().waitFor();
  const shown = await page.locator("[id^='tag/'][data-section-id*='/operation/']").count();
  check(`/redoc: shows ${shown} operations and events`, shown >= operations);
  await page.screenshot({ path: join(pictures, "redoc.png") });
  await page.locator("input[placeholder='Search...']").fill("readiness health");
  await page.locator("[data-role='search:results'] li").first().waitFor();
  check("/redoc: its search finds something", true);
  await page.screenshot({ path: join(pictures, "redoc-search.png") });
  checkQuiet("/redoc", seen);
  await context.close();
}

const quiet = ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];
const more = ["--disable-component-update", "--disable-sync"];
const browser = await chromium.launch({ executablePath, chromiumSandbox: false, args: [...quiet, ...more] });
try {
  const description = await (await fetch(`${address}/api/v1/openapi.json`)).json();
  const operations = Object.keys(description.paths).length + Object.keys(description.webhooks ?? {}).length;
  check("the description names the webhook", WEBHOOK in description.paths);
  await swagger(browser, operations);
  await redoc(browser, operations);
} finally {
  await browser.close();
}
console.log(`browser: ${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 && passed > 0 ? 0 : 1;
