// From decoded channels to the windows a model takes: the rules of hmic_keras/data/audio.py, so
// that the page cuts a clip as `Predictor` does. Pure functions over typed arrays.

export const MIN_SECONDS = 0.1;
// Under half a 16-bit step: nothing that was ever audible is this quiet.
export const SILENCE_PEAK = 1e-5;
// Lossy codecs overshoot full scale a little; what exceeds it so far was never scaled.
const MAX_PEAK = 4;

/** Something about the audio or the model that the person at the page can mend. */
export class InputError extends Error {}

/**
 * Averages channels of equal length.
 * @param {Float32Array[]} channels at least one
 * @returns {Float32Array}
 */
export function toMono(channels) {
  const mono = new Float32Array(channels[0].length);
  for (let i = 0; i < mono.length; i++) {
    let sum = 0;
    for (const channel of channels) sum += channel[i];
    mono[i] = sum / channels.length;
  }
  return mono;
}

/** @param {Float32Array} samples */
export function peak(samples) {
  let highest = 0;
  for (const sample of samples) highest = Math.max(highest, Math.abs(sample));
  return highest;
}

/**
 * Where windows start: they advance by `hop`; the last is moved back to end with the clip.
 * @returns {number[]} in samples; one start for a clip of at most one window
 */
export function frameStarts(samples, window, hop) {
  if (!(samples >= 1 && window >= 1 && hop >= 1 && hop <= window)) {
    throw new RangeError(
      `samples and window must be positive and hop in 1..window: ${samples}, ${window}, ${hop}`,
    );
  }
  const last = Math.max(samples - window, 0);
  const starts = [];
  for (let start = 0; start <= last; start += hop) starts.push(start);
  if (starts.at(-1) !== last) starts.push(last);
  return starts;
}

/**
 * One window of a waveform; a waveform shorter than the window is repeated to fill it.
 * @param {Float32Array} waveform
 * @returns {Float32Array}
 */
export function windowAt(waveform, start, length) {
  if (waveform.length >= length) return waveform.slice(start, start + length);
  const filled = new Float32Array(length);
  for (let i = 0; i < length; i++) filled[i] = waveform[i % waveform.length];
  return filled;
}

/**
 * The mean of rows of equal length, as a clip's answer is the mean over its windows.
 * @param {ArrayLike<number>[]} rows at least one
 * @returns {Float64Array}
 */
export function meanRow(rows) {
  const mean = new Float64Array(rows[0].length);
  for (const row of rows) for (let i = 0; i < mean.length; i++) mean[i] += row[i] / rows.length;
  return mean;
}

/**
 * Refuses samples that are no usable audio, and clips the others to [-1, 1].
 * @param {Float32Array} mono
 * @returns {Float32Array} the same array
 */
export function finish(mono, sampleRate) {
  const seconds = mono.length / sampleRate;
  if (seconds < MIN_SECONDS) {
    throw new InputError(
      `The audio lasts ${seconds.toFixed(3)} s; at least ${MIN_SECONDS} s are needed.`,
    );
  }
  if (!mono.every(Number.isFinite)) {
    throw new InputError("The audio holds NaN or infinite samples. Export it again.");
  }
  const highest = peak(mono);
  if (highest > MAX_PEAK) {
    throw new InputError(
      `The samples reach ${highest.toPrecision(3)}, but float audio must be in [-1, 1].`,
    );
  }
  for (let i = 0; i < mono.length; i++) mono[i] = Math.min(1, Math.max(-1, mono[i]));
  return mono;
}
