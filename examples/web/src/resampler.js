// Resampling of mono sound, block by block. Browsers resample too, each in its own way and some
// with a gentle filter that takes 1 kHz off the top; a model that looks at all frequencies up to
// half its rate then answers otherwise than in training.

// The band that soxr's HQ setting passes, which decodes training audio.
const PASSBAND = 0.913;
const ATTENUATION = 80;

/** A linear-phase windowed-sinc resampler with a whole filter for each phase. */
export class Resampler {
  #up;
  #down;
  #half;
  #filters = new Map();
  #kept;
  #start;
  #next = 0;

  /**
   * @param {number} from in Hz, whole
   * @param {number} to in Hz, whole
   */
  constructor(from, to) {
    const divisor = gcd(from, to);
    this.#up = to / divisor;
    this.#down = from / divisor;
    // Frequencies in cycles per input sample: the pass band ends below the lower of both halves.
    const top = Math.min(1, to / from) / 2;
    const width = (1 - PASSBAND) * top;
    this.cutoff = top - width / 2;
    this.beta = 0.1102 * (ATTENUATION - 8.7);
    this.#half = Math.ceil((ATTENUATION - 8) / (2.285 * 2 * Math.PI * width) / 2);
    // Silence before the first sample, for the filter's left half.
    this.#kept = new Float64Array(this.#half);
    this.#start = -this.#half;
  }

  /**
   * Takes the next samples and gives the result as far as they decide it.
   * @param {Float32Array} block
   * @returns {Float32Array}
   */
  push(block) {
    const samples = new Float64Array(this.#kept.length + block.length);
    samples.set(this.#kept);
    samples.set(block, this.#kept.length);
    const end = this.#start + samples.length;
    const found = [];
    for (;;) {
      const middle = Math.floor((this.#next * this.#down) / this.#up);
      if (middle + this.#half >= end) break;
      const filter = this.#filter((this.#next * this.#down) % this.#up);
      found.push(weighted(filter, samples, middle - this.#half + 1 - this.#start));
      this.#next++;
    }
    const needed = Math.floor((this.#next * this.#down) / this.#up) - this.#half + 1;
    const drop = Math.min(samples.length, Math.max(0, needed - this.#start));
    this.#kept = samples.slice(drop);
    this.#start += drop;
    return Float32Array.from(found);
  }

  // Input sample `middle - half + 1 + i` is weighed by `filter[i]`; the output lies `phase / up`
  // after `middle`.
  #filter(phase) {
    let filter = this.#filters.get(phase);
    if (!filter) {
      const shift = phase / this.#up;
      filter = new Float64Array(2 * this.#half);
      let total = 0;
      for (let i = 0; i < filter.length; i++) {
        const distance = i - this.#half + 1 - shift;
        const across = Math.min(1, Math.abs(distance) / this.#half);
        const window = bessel(this.beta * Math.sqrt(1 - across * across)) / bessel(this.beta);
        filter[i] = 2 * this.cutoff * sinc(2 * this.cutoff * distance) * window;
        total += filter[i];
      }
      for (let i = 0; i < filter.length; i++) filter[i] /= total;
      this.#filters.set(phase, filter);
    }
    return filter;
  }

  get delay() {
    return this.#half;
  }
}

/**
 * Resamples a whole clip.
 * @param {Float32Array} samples
 * @returns {Float32Array} of the length that lasts as long, rounded
 */
export function resample(samples, from, to) {
  if (from === to) return samples;
  const resampler = new Resampler(from, to);
  const length = Math.round((samples.length * to) / from);
  const result = new Float32Array(length);
  const silence = new Float32Array(resampler.delay + Math.ceil(from / to) + 1);
  const head = resampler.push(samples);
  const tail = resampler.push(silence);
  result.set(head.subarray(0, length));
  result.set(tail.subarray(0, length - Math.min(length, head.length)), head.length);
  return result;
}

/** The sum of `samples` from `offset` on, weighed by `filter`: all the time is spent here. */
function weighted(filter, samples, offset) {
  let even = 0;
  let odd = 0;
  for (let i = 0; i < filter.length; i += 2) {
    even += filter[i] * samples[offset + i];
    odd += filter[i + 1] * samples[offset + i + 1];
  }
  return even + odd;
}

const gcd = (a, b) => (b ? gcd(b, a % b) : a);

const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));

/** The modified Bessel function of order 0, by its series. */
function bessel(x) {
  let sum = 1;
  let term = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}
