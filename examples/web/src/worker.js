// Runs the model beside the page, so that the page never stalls. A classic worker, since
// LiteRT.js loads its WebAssembly with importScripts.

const RUNTIME = new URL("../vendor/litert/", self.location.href).href;

let litert;
let variant;
let model;
let signature;

const actions = {
  async load({ bytes, levels }) {
    await loadRuntime();
    model?.delete();
    model = await litert.loadAndCompile(bytes, { accelerator: "wasm" });
    signature = pickSignature(Object.values(model.signatures), levels);
    const [input] = signature.getInputDetails();
    return {
      runtime: variant,
      input: { name: input.name, dtype: input.dtype, shape: Array.from(input.shape) },
      outputs: Object.fromEntries(
        signature.getOutputDetails().map(({ name, shape }) => [name, Array.from(shape)]),
      ),
    };
  },

  async run({ waveform }) {
    const [input] = signature.getInputDetails();
    const began = performance.now();
    const tensor = new litert.Tensor(waveform, Array.from(input.shape));
    let outputs = {};
    try {
      outputs = await signature.run({ [input.name]: tensor });
      const answer = {};
      for (const [name, output] of Object.entries(outputs)) {
        answer[name] = Float32Array.from(output.toTypedArray());
      }
      return { answer, milliseconds: performance.now() - began };
    } finally {
      tensor.delete();
      for (const output of Object.values(outputs)) output.delete();
    }
  },
};

async function loadRuntime() {
  if (litert) return;
  const core = await import(`${RUNTIME}core.js`);
  variant = (await core.supportsFeature("relaxedSimd"))
    ? "litert_wasm_internal"
    : "litert_wasm_compat_internal";
  // In a worker the runtime would look for its .wasm beside this script.
  self.Module = { locateFile: (name) => RUNTIME + name };
  await core.loadLiteRt(`${RUNTIME}${variant}.js`);
  litert = core;
}

// A file may have a signature with attention maps beside the plain one.
function pickSignature(signatures, levels) {
  const names = (one) => one.getOutputDetails().map(({ name }) => name);
  const fitting = signatures.filter((one) => levels.every((level) => names(one).includes(level)));
  if (!fitting.length) {
    throw new Error(
      `no signature answers the levels ${levels.join(", ")}; there is ` +
        signatures.map((one) => `${one.key}: ${names(one).join(", ")}`).join("; "),
    );
  }
  return fitting.sort((a, b) => names(b).length - names(a).length)[0];
}

self.addEventListener("message", async ({ data: { id, action, payload } }) => {
  try {
    self.postMessage({ id, result: await actions[action](payload) });
  } catch (error) {
    self.postMessage({ id, error: error?.message ?? String(error) });
  }
});
