// What a model says of itself: levels, classes, links, sample rate, window and thresholds.

import { InputError } from "./windows.js";
import { readZip } from "./zip.js";

export const MANIFEST = "manifest.json";
// Beside it: its checksum, as the command sha256sum writes it.
const CHECKSUM = "manifest.sha256";
// Before the level's name: the outputs with attention maps, `(1, classes, children)`.
export const ATTENTION_PREFIX = "attention_";

/**
 * Reads the manifest that an exported TensorFlow Lite file carries.
 * @param {Uint8Array} bytes the file
 * @returns {Promise<object | null>} null if it carries none
 * @throws {InputError} if it is no such file, or was damaged or altered after export
 */
export async function embeddedManifest(bytes) {
  if (new TextDecoder().decode(bytes.subarray(4, 8)) !== "TFL3") {
    throw new InputError("This is no TensorFlow Lite file.");
  }
  let archive;
  let text;
  let line;
  let manifest;
  try {
    archive = readZip(bytes);
    if (!archive.files.has(MANIFEST)) return null;
    text = await archive.files.get(MANIFEST)();
    line = new TextDecoder().decode(await archive.files.get(CHECKSUM)?.());
    manifest = JSON.parse(new TextDecoder().decode(text));
  } catch (error) {
    throw new InputError(`The model's metadata was damaged: ${error.message}. Export it again.`);
  }
  if (line !== `${await sha256(text)}  ${MANIFEST}\n`) {
    throw new InputError(
      "The model's manifest does not have the SHA-256 that is stated beside it: it was altered " +
        "after export. Export it again.",
    );
  }
  const stated = manifest?.content_sha256;
  if (stated !== (await sha256(bytes.subarray(0, archive.start)))) {
    throw new InputError(
      "The model is not the one that its metadata describes: the SHA-256 differs. Export it again.",
    );
  }
  return manifest;
}

async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) {
    throw new InputError("Open this page over https or from http://localhost.");
  }
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** A manifest that was checked, with the hierarchy in the forms the page needs. */
export class ModelCard {
  /** @param {object} manifest */
  constructor(manifest) {
    const { taxonomy, audio, window_seconds: windowSeconds = 10 } = manifest ?? {};
    if (!Array.isArray(taxonomy?.levels) || !taxonomy.classes || !(audio?.sample_rate > 0)) {
      throw new InputError(
        "The manifest lacks the taxonomy or the sample rate. Export the model again.",
      );
    }
    if (manifest.input !== "waveform") {
      throw new InputError(
        `The page needs a model with input='waveform'. Received: input='${manifest.input}'.`,
      );
    }
    if (!(windowSeconds >= 0.1 && windowSeconds <= 3600)) {
      throw new InputError(`'window_seconds' must be 0.1 to 3600. Received: ${windowSeconds}.`);
    }
    this.manifest = manifest;
    this.levels = taxonomy.levels;
    this.classes = taxonomy.classes;
    this.sampleRate = audio.sample_rate;
    this.windowSeconds = windowSeconds;
    this.windowSamples = Math.round(windowSeconds * audio.sample_rate);
    this.thresholds = Object.fromEntries(
      this.levels.map((level) => [level, this.#thresholds(level)]),
    );
    this.links = this.#readLinks(taxonomy.parents ?? {});
  }

  get finest() {
    return this.levels[0];
  }

  #thresholds(level) {
    const stated = this.manifest.thresholds?.[level] ?? this.classes[level].map(() => 0.5);
    if (stated.length !== this.classes[level].length || !stated.every((t) => t >= 0 && t <= 1)) {
      throw new InputError(
        `'thresholds' must hold a number from 0 to 1 for each class of the level '${level}'.`,
      );
    }
    return stated;
  }

  /** @returns {{level, name, parentLevel, parent}[]} direct links, children in class order */
  #readLinks(parents) {
    const links = [];
    this.levels.forEach((level, i) => {
      for (const name of this.classes[level]) {
        for (const stated of parents[level]?.[name] ?? []) {
          // A link that skips levels is written "level:parent".
          const colon = stated.indexOf(":");
          const skips = colon > 0 && this.levels.includes(stated.slice(0, colon));
          const parentLevel = skips ? stated.slice(0, colon) : this.levels[i + 1];
          const parent = skips ? stated.slice(colon + 1) : stated;
          if (!this.classes[parentLevel]?.includes(parent)) {
            throw new InputError(`'${name}' has the parent '${stated}', which is no class.`);
          }
          links.push({ level, name, parentLevel, parent });
        }
      }
    });
    return links;
  }

  /**
   * The hierarchy as trees. A class with several parents stands under each of them.
   * @returns {{level, name, children}[]} the classes without parents, coarsest level first
   */
  trees() {
    const below = new Map();
    for (const link of this.links) {
      const key = `${link.parentLevel}\n${link.parent}`;
      below.set(key, [...(below.get(key) ?? []), link]);
    }
    const grow = (level, name) => ({
      level,
      name,
      children: (below.get(`${level}\n${name}`) ?? []).map((l) => grow(l.level, l.name)),
    });
    const linked = new Set(this.links.map((link) => `${link.level}\n${link.name}`));
    return [...this.levels]
      .reverse()
      .flatMap((level) =>
        this.classes[level]
          .filter((name) => !linked.has(`${level}\n${name}`))
          .map((name) => grow(level, name)),
      );
  }

  /**
   * The axes of an attention map at `level`: rows are the level's classes, columns every class
   * of the levels their children come from, the next finer level first. A row without members
   * belongs to a class without children, which has no map.
   */
  attentionAxes(level) {
    const direct = this.links.filter((link) => link.parentLevel === level);
    const finer = this.levels.slice(0, this.levels.indexOf(level)).reverse();
    const from = finer.filter((low) => direct.some((link) => link.level === low));
    const columns = from.flatMap((low) => this.classes[low].map((name) => ({ level: low, name })));
    const rows = this.classes[level].map((name) => ({
      name,
      members: new Set(
        direct
          .filter((link) => link.parent === name)
          .map((link) => columns.findIndex((c) => c.level === link.level && c.name === link.name)),
      ),
    }));
    return { rows, columns };
  }
}
