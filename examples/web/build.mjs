// Puts the page, LiteRT.js and a model into dist/, which any static server can serve.
//
//   node build.mjs [--model FOLDER] [--file NAME] [--example AUDIO] [--out FOLDER]

import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const HERE = dirname(fileURLToPath(import.meta.url));
const REPOSITORY = resolve(HERE, "../..");
const PAGE = ["index.html", "style.css", "icon.svg", "app.webmanifest", "src"];
// The two variants that need no special headers from the server.
const VARIANTS = ["litert_wasm_internal", "litert_wasm_compat_internal"];

const { values: options } = parseArgs({
  options: {
    model: { type: "string", default: join(REPOSITORY, "saved_models/hmic-mobile") },
    file: { type: "string", default: "model.tflite" },
    example: {
      type: "string",
      default: join(REPOSITORY, "hmic_keras/data/demo/test/clips/00009.ogg"),
    },
    out: { type: "string", default: join(HERE, "dist") },
  },
});

const out = resolve(options.out);
await rm(out, { recursive: true, force: true });
for (const name of PAGE) await cp(join(HERE, name), join(out, name), { recursive: true });
await copyRuntime(join(HERE, "node_modules/@litertjs"), join(out, "vendor/litert"));
await mkdir(join(out, "model"));
await cp(join(options.model, options.file), join(out, "model/model.tflite"));
await cp(join(options.model, "manifest.json"), join(out, "model/manifest.json"));
await cp(options.example, join(out, "model/example.ogg"));
await writeServiceWorker();
console.log(`${out}: ready. Try it with: python3 -m http.server --directory ${relative(".", out)}`);

async function copyRuntime(from, to) {
  await mkdir(to, { recursive: true });
  const imported = '"@litertjs/wasm-utils"';
  const core = await readFile(join(from, "core/dist/index.js"), "utf8");
  if (core.split(imported).length !== 2) {
    throw new Error(`@litertjs/core no longer imports ${imported} once; adapt build.mjs.`);
  }
  // Browsers do not look packages up; a relative address spares the page an import map.
  await writeFile(join(to, "core.js"), core.replace(imported, '"./wasm-utils.js"'));
  await cp(join(from, "wasm-utils/dist/index.js"), join(to, "wasm-utils.js"));
  for (const variant of VARIANTS) {
    for (const ending of ["js", "wasm"]) {
      await cp(join(from, `core/wasm/${variant}.${ending}`), join(to, `${variant}.${ending}`));
    }
  }
}

async function writeServiceWorker() {
  const entries = await readdir(out, { recursive: true, withFileTypes: true });
  const names = entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(out, join(entry.parentPath ?? entry.path, entry.name)))
    .map((name) => name.replaceAll("\\", "/"))
    .sort();
  const hash = createHash("sha256");
  for (const name of names) hash.update(name).update(await readFile(join(out, name)));
  const version = hash.digest("hex").slice(0, 12);
  const files = JSON.stringify(["./", ...names.map((name) => `./${name}`)]);
  const source = await readFile(join(HERE, "service-worker.js"), "utf8");
  const head = `const VERSION = "${version}", FILES = ${files};\n`;
  await writeFile(join(out, "service-worker.js"), head + source);
}
