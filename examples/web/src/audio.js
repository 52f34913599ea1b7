// Sound in: files decoded by the browser, and the microphone; both at the model's rate.

import { statedRate } from "./rate.js";
import { resample, Resampler } from "./resampler.js";
import { finish, InputError, toMono } from "./windows.js";

// For files whose own rate is not known; most of those have this one or 44.1 kHz.
const HIGH_RATE = 48000;

/**
 * Decodes an audio file to a mono waveform.
 * @param {ArrayBuffer} bytes
 * @param {number} sampleRate of the result, in Hz
 * @returns {Promise<Float32Array>} in [-1, 1]
 * @throws {InputError} if the browser cannot decode it, or it is too short
 */
export async function decode(bytes, sampleRate) {
  // decodeAudioData resamples to the rate of its context: nothing to do at the file's own.
  const rate = statedRate(new Uint8Array(bytes)) ?? HIGH_RATE;
  let buffer;
  try {
    buffer = await new OfflineAudioContext(1, 1, rate).decodeAudioData(bytes);
  } catch {
    throw new InputError(
      "This file cannot be decoded as audio by the browser. WAV, FLAC, MP3 and Ogg should work.",
    );
  }
  const channels = Array.from({ length: buffer.numberOfChannels }, (_, i) =>
    buffer.getChannelData(i),
  );
  return finish(resample(toMono(channels), rate, sampleRate), sampleRate);
}

/** The last seconds of the microphone, unprocessed. */
export class Microphone {
  #ring;
  #written = 0;

  /**
   * Asks for the microphone and listens.
   * @param {number} samples how many to keep
   * @param {number} sampleRate of what is kept, in Hz
   * @throws {InputError} if there is no microphone or it was refused
   */
  static async open(samples, sampleRate) {
    if (!navigator.mediaDevices) {
      throw new InputError("The microphone needs a secure page: https, or http://localhost.");
    }
    let stream;
    try {
      // What makes speech clearer makes music unrecognisable.
      const plain = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      stream = await navigator.mediaDevices.getUserMedia({ audio: plain });
    } catch (error) {
      const refused = error.name === "NotAllowedError";
      throw new InputError(
        refused
          ? "The microphone was not allowed. Allow it in the browser's site settings."
          : `The microphone cannot be used: ${error.message}`,
      );
    }
    const context = new AudioContext();
    await context.audioWorklet.addModule(new URL("./capture-worklet.js", import.meta.url));
    return new Microphone(context, stream, samples, sampleRate);
  }

  constructor(context, stream, samples, sampleRate) {
    this.context = context;
    this.stream = stream;
    this.sampleRate = sampleRate;
    this.level = 0;
    this.#ring = new Float32Array(samples);
    const resampler = new Resampler(context.sampleRate, sampleRate);
    const capture = new AudioWorkletNode(context, "capture", { numberOfOutputs: 0 });
    capture.port.onmessage = ({ data }) => this.#write(resampler.push(data));
    context.createMediaStreamSource(stream).connect(capture);
  }

  #write(block) {
    let sum = 0;
    for (const sample of block) {
      this.#ring[this.#written++ % this.#ring.length] = Math.min(1, Math.max(-1, sample));
      sum += sample * sample;
    }
    this.level = Math.sqrt(sum / Math.max(1, block.length));
  }

  /** How many seconds were heard so far. */
  get heard() {
    return this.#written / this.sampleRate;
  }

  /** @returns {Float32Array} what is kept, oldest first */
  latest() {
    const size = this.#ring.length;
    if (this.#written < size) return this.#ring.slice(0, this.#written);
    const split = this.#written % size;
    const samples = new Float32Array(size);
    samples.set(this.#ring.subarray(split));
    samples.set(this.#ring.subarray(0, split), size - split);
    return samples;
  }

  async close() {
    for (const track of this.stream.getTracks()) track.stop();
    await this.context.close();
  }
}
