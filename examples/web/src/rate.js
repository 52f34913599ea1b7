// The sample rate that an audio file states. Browsers decode to a rate of one's choice and do
// not tell the file's own, which is the one that changes nothing.

const ascii = (bytes, at, length) => String.fromCharCode(...bytes.subarray(at, at + length));

const MP3_RATES = { 3: [44100, 48000, 32000], 2: [22050, 24000, 16000], 0: [11025, 12000, 8000] };

/**
 * @param {Uint8Array} bytes the file
 * @returns {number | null} in Hz; null for a container that is not read here (MP4, WebM)
 */
export function statedRate(bytes) {
  const start = ascii(bytes, 0, 3) === "ID3" ? afterId3(bytes) : 0;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const kind = ascii(bytes, start, 4);
  if (kind === "RIFF") return wavRate(bytes, view);
  if (kind === "fLaC") return flacRate(bytes, start);
  if (kind === "OggS") return oggRate(bytes, view);
  return mp3Rate(bytes, start);
}

// An ID3v2 tag's length comes in four bytes of seven bits.
function afterId3(bytes) {
  return 10 + bytes.subarray(6, 10).reduce((sum, byte) => sum * 128 + (byte & 127), 0);
}

function wavRate(bytes, view) {
  for (let at = 12; at + 16 <= bytes.length; ) {
    if (ascii(bytes, at, 4) === "fmt ") return view.getUint32(at + 12, true);
    const size = view.getUint32(at + 4, true);
    at += 8 + size + (size % 2);
  }
  return null;
}

// STREAMINFO comes first; its rate has 20 bits.
function flacRate(bytes, start) {
  const at = start + 4 + 4 + 10;
  return at + 2 < bytes.length
    ? (bytes[at] << 12) | (bytes[at + 1] << 4) | (bytes[at + 2] >> 4)
    : null;
}

function oggRate(bytes, view) {
  const packet = 27 + bytes[26];
  if (ascii(bytes, packet, 8) === "OpusHead") return 48000;
  if (ascii(bytes, packet + 1, 6) === "vorbis") return view.getUint32(packet + 12, true);
  // FLAC in Ogg: the native header begins after nine bytes.
  if (ascii(bytes, packet + 1, 4) === "FLAC") return flacRate(bytes, packet + 9);
  return null;
}

function mp3Rate(bytes, start) {
  if (bytes[start] !== 0xff || (bytes[start + 1] & 0xe0) !== 0xe0) return null;
  const layer = (bytes[start + 1] >> 1) & 3;
  const version = (bytes[start + 1] >> 3) & 3;
  return layer === 1 ? (MP3_RATES[version]?.[(bytes[start + 2] >> 2) & 3] ?? null) : null;
}
