// The page: from a file or the microphone to bars, timeline and attention map.

import { AttentionMap } from "./attention.js";
import { decode, Microphone } from "./audio.js";
import { Bars } from "./bars.js";
import { element, spoken } from "./dom.js";
import { ATTENTION_PREFIX, MANIFEST } from "./manifest.js";
import { Model } from "./model.js";
import { drawTimeline } from "./timeline.js";
import { frameStarts, InputError, meanRow, peak, SILENCE_PEAK, windowAt } from "./windows.js";

const MODEL = new URL("../model/model.tflite", import.meta.url);
const EXAMPLE = new URL("../model/example.ogg", import.meta.url);
const LIVE_MILLISECONDS = 400;
// The microphone answers from what there is, repeated to fill a window, as a short clip would.
const LIVE_MIN_SECONDS = 1;

const $ = (id) => document.getElementById(id);
const player = $("player");

let model;
let bars;
let maps = [];
let clip = null;
let microphone = null;
// What is shown now; a newer activity ends an older one.
let activity = 0;

function say(text, kind = "note") {
  $("status").textContent = text;
  $("status").dataset.kind = kind;
}

/** Runs an action of the page; says what the person can mend. */
async function attempt(action) {
  try {
    await action();
  } catch (error) {
    document.body.removeAttribute("data-busy");
    if (!(error instanceof InputError)) {
      say(`Something went wrong: ${error.message}`, "error");
      throw error;
    }
    say(error.message, "error");
  }
}

async function fetched(url) {
  const response = await fetch(url);
  if (!response.ok) throw new InputError(`${url.pathname} cannot be read (${response.status}).`);
  return new Uint8Array(await response.arrayBuffer());
}

async function loadPackaged() {
  say("Loading the model…");
  const bytes = await fetched(MODEL);
  const manifest = JSON.parse(new TextDecoder().decode(await fetched(new URL(MANIFEST, MODEL))));
  await useModel(await Model.load(bytes, manifest));
  say("Ready. Nothing you open or record leaves this device.");
}

async function useModel(loaded) {
  model = loaded;
  const { card } = model;
  bars = new Bars($("bars"), card);
  bars.show(null);
  maps = model.attentionLevels.map((level) => {
    const frame = element("div.scroll", { tabindex: "0", role: "group", "aria-label": level });
    return { level, frame, map: new AttentionMap(frame, card, level, bars.hues) };
  });
  $("maps").replaceChildren(...maps.map(({ frame }) => frame));
  $("attention").hidden = true;
  $("heard").replaceChildren(element("li.none", {}, "Open a file, or let the page listen."));
  $("scope").textContent = "";
  $("timeline").hidden = true;
  describe(card);
  $("controls").disabled = false;
  document.body.dataset.ready = "";
}

function describe(card) {
  const { manifest } = card;
  const counts = card.levels.map((level) => `${card.classes[level].length} ${level}`).join(" + ");
  const facts = {
    classes: counts,
    taxonomy: manifest.taxonomy.name,
    method: manifest.method?.name,
    backbone: manifest.backbone?.name,
    audio: `${card.sampleRate / 1000} kHz mono, windows of ${card.windowSeconds} s`,
    file: `${(model.size / 1e6).toFixed(2)} MB`,
    runtime: model.runtime.includes("compat") ? "LiteRT.js, WebAssembly" : "LiteRT.js, relaxed SIMD",
    window: "–",
  };
  $("facts").replaceChildren(
    ...Object.entries(facts)
      .filter(([, value]) => value !== undefined)
      .flatMap(([key, value]) => [
        element("dt", {}, key === "window" ? "time" : key),
        element("dd", { id: `fact-${key}` }, value),
      ]),
  );
}

async function score(waveform) {
  const { answer, milliseconds } = await model.run(waveform);
  $("fact-window").textContent = `${milliseconds.toFixed(0)} ms a window`;
  return answer;
}

function show(answer) {
  bars.show(answer);
  // A screen reader reads out what a clip was found to hold, but not twice a second.
  const live = "live" in document.body.dataset || !player.paused;
  $("heard").setAttribute("aria-live", live ? "off" : "polite");
  const found = bars.present(answer, model.card.finest);
  $("heard").replaceChildren(
    ...(found.length
      ? found.map(({ name, score: value, hue }) =>
          element("li", { "--hue": hue }, spoken(name), element("span", {}, value.toFixed(2))),
        )
      : [element("li.none", {}, "Nothing above its threshold")]),
  );
  for (const { level, map } of maps) map.show(answer[ATTENTION_PREFIX + level]);
  $("attention").hidden = !maps.length;
}

function average(answers) {
  return Object.fromEntries(
    Object.keys(answers[0]).map((key) => [key, meanRow(answers.map((one) => one[key]))]),
  );
}

/** Answers for a whole clip as `Predictor` does: the mean over windows side by side. */
async function openClip(name, bytes) {
  await closeMicrophone();
  const mine = ++activity;
  const { card } = model;
  document.body.dataset.busy = "";
  say(`Decoding ${name}…`);
  const blob = new Blob([bytes]);
  const waveform = await decode(bytes.buffer, card.sampleRate);
  const starts = frameStarts(waveform.length, card.windowSamples, card.windowSamples);
  const windows = [];
  for (const start of starts) {
    windows.push(await score(windowAt(waveform, start, card.windowSamples)));
    if (mine !== activity) return;
    say(`Listening to ${name}: window ${windows.length} of ${starts.length}`);
  }
  clip = { name, waveform, windows, starts, answer: average(windows) };
  URL.revokeObjectURL(player.src);
  player.src = URL.createObjectURL(blob);
  $("playback").hidden = false;
  $("clip-name").textContent = name;
  showWhole();
  showTimeline();
  document.body.removeAttribute("data-busy");
  const silent = peak(waveform) < SILENCE_PEAK;
  say(
    silent
      ? `${name} is silent; its scores mean nothing.`
      : `${name}: ${(waveform.length / card.sampleRate).toFixed(1)} s, ` +
          `${starts.length} window${starts.length > 1 ? "s" : ""}.`,
    silent ? "error" : "note",
  );
}

function showWhole() {
  $("scope").textContent = "in the whole clip";
  $("whole").hidden = true;
  show(clip.answer);
}

function showTimeline() {
  const { card } = model;
  const level = card.finest;
  const windows = clip.windows.map((one) => one[level]);
  // What one window hears may vanish in the mean over all.
  const highest = card.classes[level].map((_, i) => Math.max(...windows.map((row) => row[i])));
  const heard = bars.present({ [level]: highest }, level).map((one) => {
    const index = card.classes[level].indexOf(one.name);
    return { ...one, index, threshold: card.thresholds[level][index] };
  });
  $("timeline").hidden = windows.length < 2 || !heard.length;
  drawTimeline(
    $("strips"),
    heard,
    windows,
    clip.starts.map((start) => start / card.sampleRate),
    clip.waveform.length / card.sampleRate,
  );
}

/** While the clip plays: the window around the playhead. */
async function followPlayback() {
  const mine = ++activity;
  const { windowSamples, sampleRate } = model.card;
  const last = Math.max(0, clip.waveform.length - windowSamples);
  $("whole").hidden = false;
  while (mine === activity && !player.paused) {
    const middle = player.currentTime * sampleRate - windowSamples / 2;
    const start = Math.round(Math.min(last, Math.max(0, middle)));
    const answer = await score(windowAt(clip.waveform, start, windowSamples));
    if (mine !== activity) return;
    $("scope").textContent = `around ${player.currentTime.toFixed(1)} s`;
    show(answer);
    await pause(LIVE_MILLISECONDS);
  }
}

async function listen() {
  player.pause();
  const mine = ++activity;
  const { windowSeconds, windowSamples, sampleRate } = model.card;
  $("microphone").disabled = true;
  const opened = await Microphone.open(windowSamples, sampleRate).finally(() => {
    $("microphone").disabled = false;
  });
  microphone = opened;
  document.body.dataset.live = "";
  $("microphone").setAttribute("aria-pressed", "true");
  $("microphone-label").textContent = "Stop";
  $("timeline").hidden = true;
  $("playback").hidden = true;
  $("whole").hidden = true;
  say("Listening to the microphone.");
  drawLevel(opened);
  while (mine === activity) {
    if (opened.heard >= Math.min(LIVE_MIN_SECONDS, windowSeconds)) {
      const answer = await score(windowAt(opened.latest(), 0, windowSamples));
      if (mine !== activity) return;
      const heard = Math.min(windowSeconds, opened.heard);
      $("scope").textContent = `in the last ${Number(heard.toFixed(1))} s`;
      show(answer);
    }
    await pause(LIVE_MILLISECONDS);
  }
}

async function closeMicrophone() {
  if (!microphone) return;
  activity++;
  const closing = microphone;
  microphone = null;
  document.body.removeAttribute("data-live");
  $("microphone").setAttribute("aria-pressed", "false");
  $("microphone-label").textContent = "Microphone";
  say("The microphone is off.");
  await closing.close();
}

function drawLevel(source) {
  if (source !== microphone) return;
  // 60 dB of range; music at a normal level fills two thirds.
  const decibels = 20 * Math.log10(source.level + 1e-6);
  $("level").style.setProperty("--level", Math.max(0, Math.min(1, 1 + decibels / 60)));
  requestAnimationFrame(() => drawLevel(source));
}

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Opens what was chosen or dropped: a model with or without its manifest, or audio. */
async function openFiles(files) {
  const named = (ending) => [...files].find((file) => file.name.endsWith(ending));
  const newModel = named(".tflite");
  if (newModel) {
    await closeMicrophone();
    activity++;
    const beside = named(".json");
    const manifest = beside ? parse(await beside.text(), beside.name) : null;
    await useModel(await Model.load(new Uint8Array(await newModel.arrayBuffer()), manifest));
    $("playback").hidden = true;
    clip = null;
    say(`${newModel.name} is in use.`);
  } else if (files.length) {
    await openClip(files[0].name, new Uint8Array(await files[0].arrayBuffer()));
  }
}

function parse(text, name) {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InputError(`${name} is no JSON: ${error.message}`);
  }
}

function listenForFiles() {
  $("choose").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () =>
    attempt(async () => {
      await openFiles($("file").files);
      $("file").value = "";
    }),
  );
  $("example").addEventListener("click", () =>
    attempt(async () => openClip("example.ogg", await fetched(EXAMPLE))),
  );
  for (const kind of ["dragenter", "dragover"]) {
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      document.body.dataset.dragging = "";
    });
  }
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.removeAttribute("data-dragging");
  });
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    document.body.removeAttribute("data-dragging");
    attempt(() => openFiles(event.dataTransfer.files));
  });
}

function listenForPlayback() {
  $("microphone").addEventListener("click", () =>
    attempt(() => (microphone ? closeMicrophone() : listen())),
  );
  player.addEventListener("play", () => attempt(followPlayback));
  player.addEventListener("ended", showWhole);
  $("whole").addEventListener("click", () => {
    player.pause();
    activity++;
    showWhole();
  });
  player.addEventListener("timeupdate", () => {
    $("strips").style.setProperty("--played", player.currentTime / (player.duration || 1));
  });
}

function listenForTheme() {
  const themes = ["auto", "light", "dark"];
  const set = (theme) => {
    document.documentElement.dataset.theme = theme;
    $("theme").textContent = `◐ ${theme}`;
    $("theme").setAttribute("aria-label", `Theme: ${theme}`);
    localStorage.setItem("theme", theme);
  };
  set(themes.includes(localStorage.getItem("theme")) ? localStorage.getItem("theme") : "auto");
  $("theme").addEventListener("click", () => {
    set(themes[(themes.indexOf(document.documentElement.dataset.theme) + 1) % themes.length]);
  });
}

async function workOffline() {
  if (!("serviceWorker" in navigator)) return;
  await navigator.serviceWorker.register(`./service-worker.js?runtime=${model.runtime}`);
  await navigator.serviceWorker.ready;
  $("offline").hidden = false;
}

listenForTheme();
listenForFiles();
listenForPlayback();
attempt(async () => {
  await loadPackaged();
  await workOffline();
});
