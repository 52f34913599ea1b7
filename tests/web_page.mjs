// Drives examples/web in a real browser and prints what a person would see there, as JSON.
//
//   node web_page.mjs SPECIFICATION.json
//
// The specification names the browser, playwright-core, the page, the files to open, the sound
// of the microphone, and where screenshots go. Nothing here judges: the caller compares.

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

const spec = JSON.parse(await readFile(process.argv[2], "utf8"));
const { chromium } = (await import(pathToFileURL(spec.playwright).href)).default;

const browser = await chromium.launch({
  executablePath: spec.browser,
  args: [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-audio-capture=${spec.microphone}`,
  ],
});
const context = await browser.newContext({ permissions: ["microphone"] });
const seen = { requests: [], problems: [], answers: {}, messages: {} };
context.on("request", (request) => seen.requests.push(request.url()));
context.setDefaultTimeout(120_000);
const page = await context.newPage();
page.on("console", (message) => seen.problems.push(`${message.type()}: ${message.text()}`));
page.on("pageerror", (error) => seen.problems.push(`pageerror: ${error}`));

try {
  await openPage();
  for (const [name, paths] of Object.entries(spec.files)) await openFiles(name, paths);
  seen.microphone = await listen();
  for (const shot of spec.screenshots ?? []) await takeScreenshot(shot);
  seen.refused = {};
  for (const [name, paths] of Object.entries(spec.refused)) {
    await page.evaluate(() => delete document.getElementById("status").dataset.kind);
    await page.setInputFiles("#file", paths);
    await page.waitForSelector('#status[data-kind="error"]');
    seen.refused[name] = await page.textContent("#status");
  }
  await page.waitForSelector("#offline:not([hidden])");
  await context.setOffline(true);
  await page.reload();
  await ready();
  seen.serverReachable = await page.evaluate(() =>
    fetch("nothing-that-is-kept").then(
      () => true,
      () => false,
    ),
  );
  await openFiles("offline", Object.values(spec.files)[0]);
  console.log(JSON.stringify(seen));
} finally {
  await browser.close();
}

async function ready() {
  await page.waitForSelector("body[data-ready]");
}

async function openPage() {
  await page.goto(spec.page);
  await ready();
  seen.title = await page.title();
  seen.facts = await page.$$eval("#facts dd", (all) =>
    Object.fromEntries(all.map((one) => [one.id.replace("fact-", ""), one.textContent])),
  );
}

async function openFiles(name, paths) {
  await page.evaluate(() => (document.getElementById("status").textContent = ""));
  await page.setInputFiles("#file", paths);
  await page.waitForFunction(() => {
    const status = document.getElementById("status").textContent;
    return /\d windows?\.$|is in use|mean nothing/.test(status) && !("busy" in document.body.dataset);
  });
  seen.messages[name] = await page.textContent("#status");
  seen.answers[name] = await readAnswer();
}

function readAnswer() {
  return page.evaluate(() => {
    const bars = {};
    for (const meter of document.querySelectorAll("[role=meter]")) {
      const { level, class: name } = meter.dataset;
      bars[level] ??= {};
      bars[level][name] = {
        score: Number(meter.getAttribute("aria-valuenow")),
        label: meter.getAttribute("aria-label"),
        text: meter.getAttribute("aria-valuetext"),
        threshold: Number(getComputedStyle(meter).getPropertyValue("--threshold")),
      };
    }
    const heard = [...document.querySelectorAll("#heard li:not(.none)")].map(
      (item) => item.firstChild.textContent,
    );
    const text = (all) => [...all].map((one) => one.textContent);
    const maps = [...document.querySelectorAll("#attention:not([hidden]) table")].map((table) => ({
      columns: text(table.querySelectorAll("thead th span")),
      rows: text(table.querySelectorAll("tbody th")),
      cells: [...table.querySelectorAll("tbody tr")].map((row) =>
        [...row.querySelectorAll("td:not(.strongest)")].map((cell) => ({
          text: cell.textContent,
          member: cell.classList.contains("member"),
        })),
      ),
    }));
    return { bars, heard, maps };
  });
}

async function listen() {
  await page.click("#microphone");
  // The window of the model, full of sound, and once more: a device begins with silence.
  await page.waitForFunction(
    (scope) => document.getElementById("scope").textContent === scope,
    spec.fullWindow,
  );
  await page.waitForTimeout(spec.windowMilliseconds);
  const answer = await readAnswer();
  const level = await page.evaluate(() =>
    Number(document.getElementById("level").style.getPropertyValue("--level")),
  );
  const live = await page.evaluate(() => "live" in document.body.dataset);
  await page.click("#microphone");
  await page.waitForSelector("body:not([data-live])");
  return { ...answer, level, live };
}

async function takeScreenshot({ path, files, width, height, theme }) {
  await page.setViewportSize({ width, height });
  await page.emulateMedia({ colorScheme: theme });
  await openFiles(path, files);
  await page.evaluate(() => document.fonts.ready);
  await page.waitForTimeout(500);
  await page.screenshot({ path, fullPage: true });
}
