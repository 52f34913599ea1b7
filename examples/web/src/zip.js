// Reading files from a zip archive, which may stand at the end of another file: TensorFlow Lite
// Metadata appends its label files to the model that way.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const END_LENGTH = 22;
const STORED = 0;
const DEFLATED = 8;

/**
 * Reads the directory of an archive at the end of `bytes`.
 * @param {Uint8Array} bytes
 * @returns {{files: Map<string, () => Promise<Uint8Array>>, start: number}} readers by file name,
 *     none if there is no archive, and where the archive starts
 * @throws {Error} if the archive is damaged
 */
export function readZip(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = findEnd(view);
  const files = new Map();
  if (end < 0) return { files, start: bytes.length };
  const count = view.getUint16(end + 10, true);
  const size = view.getUint32(end + 12, true);
  // Offsets count from the archive's or the whole file's start, depending on who wrote it; the
  // directory stands before its end record, which tells the difference.
  const directory = end - size;
  const shift = directory - view.getUint32(end + 16, true);
  let at = directory;
  let start = directory;
  for (let i = 0; i < count; i++) {
    if (at < 0 || at + 46 > end || view.getUint32(at, true) !== ENTRY) {
      throw new Error("the archive in the file is damaged");
    }
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(bytes.subarray(at + 46, at + 46 + nameLength));
    const entry = {
      method: view.getUint16(at + 10, true),
      size: view.getUint32(at + 20, true),
      offset: view.getUint32(at + 42, true) + shift,
    };
    start = Math.min(start, entry.offset);
    files.set(name, () => readEntry(bytes, view, entry, name));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return { files, start };
}

function findEnd(view) {
  // A comment of up to 65,535 bytes may follow the record.
  const first = Math.max(0, view.byteLength - END_LENGTH - 0xffff);
  for (let at = view.byteLength - END_LENGTH; at >= first; at--) {
    if (
      view.getUint32(at, true) === END &&
      at + END_LENGTH + view.getUint16(at + 20, true) === view.byteLength
    ) {
      return at;
    }
  }
  return -1;
}

async function readEntry(bytes, view, { method, size, offset }, name) {
  if (offset < 0 || offset + 30 > bytes.length) {
    throw new Error(`the archive in the file is damaged at '${name}'`);
  }
  const start = offset + 30 + view.getUint16(offset + 26, true) + view.getUint16(offset + 28, true);
  const data = bytes.subarray(start, start + size);
  if (method === STORED) return data;
  if (method !== DEFLATED) throw new Error(`'${name}' is compressed in an unknown way (${method})`);
  const stream = new Blob([data]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
