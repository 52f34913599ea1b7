// When each instrument sounds: a strip for each, a step for each window.

import { element, spoken } from "./dom.js";

const MOST_STRIPS = 8;

/**
 * Draws the timeline of a clip.
 * @param {HTMLElement} parent emptied and filled
 * @param {{name: string, hue: string, index: number, threshold: number}[]} heard
 * @param {ArrayLike<number>[]} windows scores by window
 * @param {number[]} starts of the windows, in seconds
 * @param {number} seconds length of the clip
 */
export function drawTimeline(parent, heard, windows, starts, seconds) {
  const edges = [...starts.slice(1), seconds].map((at) => (100 * at) / seconds);
  parent.replaceChildren(
    ...heard.slice(0, MOST_STRIPS).map(({ name, hue, index, threshold }) => {
      const scores = windows.map((row) => row[index]);
      const steps = scores.map((score, i) => {
        // The step at the threshold shows: what is below stays pale.
        const share = score >= threshold ? 35 + 65 * score : 25 * score;
        const colour = `color-mix(in oklab, var(--bar) ${Math.round(share)}%, var(--track))`;
        return `${colour} ${i ? edges[i - 1] : 0}% ${edges[i]}%`;
      });
      const when = starts.filter((_, i) => scores[i] >= threshold).map((at) => `${at.toFixed(0)} s`);
      return element(
        "div.strip",
        { "--hue": hue },
        element("span.name", {}, spoken(name)),
        element("span.steps", {
          role: "img",
          "aria-label": `${spoken(name)} heard in the windows from ${when.join(", ")}`,
          "--steps": `linear-gradient(to right, ${steps.join(", ")})`,
        }),
      );
    }),
    element("span.playhead", { "aria-hidden": "true" }),
  );
}
