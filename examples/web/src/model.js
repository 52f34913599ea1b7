// A TensorFlow Lite file, its card and the worker that runs it.

import { ATTENTION_PREFIX, embeddedManifest, ModelCard } from "./manifest.js";
import { InputError } from "./windows.js";

/** Calls the worker's actions, one after the other. */
class WorkerCalls {
  #worker = new Worker(new URL("./worker.js", import.meta.url));
  #waiting = new Map();
  #next = 0;

  constructor() {
    this.#worker.addEventListener("message", ({ data: { id, result, error } }) => {
      const { resolve, reject } = this.#waiting.get(id);
      this.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Error(error));
    });
    this.#worker.addEventListener("error", (event) => {
      for (const { reject } of this.#waiting.values()) reject(new Error(event.message));
      this.#waiting.clear();
    });
  }

  call(action, payload) {
    const id = this.#next++;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, action, payload });
    });
  }
}

const calls = new WorkerCalls();

export class Model {
  /**
   * Loads a model; the worker holds one at a time.
   * @param {Uint8Array} bytes the .tflite file
   * @param {object | null} manifest used if the file carries none
   * @throws {InputError} if the file and what describes it cannot be used
   */
  static async load(bytes, manifest = null) {
    const found = (await embeddedManifest(bytes)) ?? manifest;
    if (!found) {
      throw new InputError(
        "The file carries no manifest: it was not written by 'hmic export', or by an older " +
          "version. Add its manifest.json.",
      );
    }
    const card = new ModelCard(found);
    let details;
    try {
      details = await calls.call("load", { bytes, levels: card.levels });
    } catch (error) {
      throw new InputError(`The model cannot be run: ${error.message}`);
    }
    return new Model(card, details, bytes.length);
  }

  constructor(card, { runtime, input, outputs }, size) {
    const samples = input.shape.reduce((product, n) => product * n, 1);
    if (input.dtype !== "float32" || samples !== card.windowSamples) {
      throw new InputError(
        `The model takes ${samples} ${input.dtype} samples, but its manifest states windows of ` +
          `${card.windowSamples} float32 samples; they do not belong together.`,
      );
    }
    for (const level of card.levels) {
      if (outputs[level].at(-1) !== card.classes[level].length) {
        throw new InputError(
          `The model answers ${outputs[level].at(-1)} classes at the level '${level}', but its ` +
            `manifest names ${card.classes[level].length}; they do not belong together.`,
        );
      }
    }
    this.card = card;
    this.runtime = runtime;
    this.size = size;
    this.attentionLevels = card.levels.filter((level) => ATTENTION_PREFIX + level in outputs);
  }

  /**
   * Scores one window.
   * @param {Float32Array} waveform `card.windowSamples` samples at `card.sampleRate`
   * @returns {Promise<{answer: Object<string, Float32Array>, milliseconds: number}>}
   */
  run(waveform) {
    return calls.call("run", { waveform });
  }
}
