// The answer as bars: a card for each family, its instruments below it, a tick at the threshold.

import { element, percent, spoken } from "./dom.js";

export class Bars {
  #rows = [];

  /**
   * @param {HTMLElement} parent emptied and filled
   * @param {import("./manifest.js").ModelCard} card
   */
  constructor(parent, card) {
    this.card = card;
    const trees = card.trees();
    this.hues = new Map();
    const longest = Math.max(...Object.values(card.classes).flatMap((all) => all.map((n) => n.length)));
    parent.style.setProperty("--name-width", `${Math.min(22, Math.max(9, 0.85 * (longest + 1)))}ch`);
    parent.replaceChildren(
      ...trees.map((tree, i) => {
        const hue = String(Math.round((i * 360) / trees.length + 20) % 360);
        const article = element("article.card", { "--hue": hue });
        article.append(this.#row(tree, hue, "h3"), this.#list(tree.children, hue));
        return article;
      }),
    );
  }

  #list(nodes, hue) {
    if (!nodes.length) return "";
    return element(
      "ul",
      {},
      ...nodes.map((node) =>
        element("li", {}, this.#row(node, hue, "span"), this.#list(node.children, hue)),
      ),
    );
  }

  #row({ level, name }, hue, tag) {
    const index = this.card.classes[level].indexOf(name);
    const threshold = this.card.thresholds[level][index];
    const meter = element(
      "span.track",
      {
        role: "meter",
        "aria-label": `${spoken(name)}, ${level}`,
        "aria-valuemin": "0",
        "aria-valuemax": "1",
        "data-level": level,
        "data-class": name,
        "--threshold": threshold,
      },
      element("span.fill"),
      element("span.tick", { title: `threshold ${threshold.toFixed(2)}` }),
    );
    const value = element("span.value", { "aria-hidden": "true" });
    const row = element("div.row", {}, element(`${tag}.name`, {}, spoken(name)), meter, value);
    this.hues.set(`${level}\n${name}`, this.hues.get(`${level}\n${name}`) ?? hue);
    this.#rows.push({ level, index, threshold, row, meter, value });
    return row;
  }

  /** @param {Object<string, ArrayLike<number>> | null} answer null empties the bars */
  show(answer) {
    for (const { level, index, threshold, row, meter, value } of this.#rows) {
      const score = answer?.[level][index] ?? 0;
      const present = answer !== null && score >= threshold;
      row.classList.toggle("present", present);
      meter.style.setProperty("--score", score);
      meter.setAttribute("aria-valuenow", answer ? score.toFixed(4) : "0");
      meter.setAttribute(
        "aria-valuetext",
        answer ? `${percent(score)}, ${present ? "present" : "absent"}` : "no answer yet",
      );
      value.textContent = answer ? score.toFixed(2) : "–";
    }
  }

  /** The present classes of a level, highest first. */
  present(answer, level) {
    return this.card.classes[level]
      .map((name, i) => ({ name, score: answer[level][i], hue: this.hues.get(`${level}\n${name}`) }))
      .filter(({ score }, i) => score >= this.card.thresholds[level][i])
      .sort((a, b) => b.score - a.score);
  }
}
