// An attention map as a table: what each family's score was made of.

import { element, percent, spoken } from "./dom.js";

export class AttentionMap {
  #cells;
  #strongest;

  /**
   * @param {HTMLElement} parent emptied and filled
   * @param {import("./manifest.js").ModelCard} card
   * @param {string} level the coarser level
   * @param {Map<string, string>} hues by level and class
   */
  constructor(parent, card, level, hues) {
    const { rows, columns } = card.attentionAxes(level);
    this.columns = columns;
    this.parents = rows
      .map((row, index) => ({ ...row, index }))
      .filter(({ members }) => members.size);
    // Columns by family, so that the hierarchy shows as blocks.
    this.order = columns
      .map((_, i) => i)
      .sort((a, b) => this.#family(a) - this.#family(b) || a - b);
    this.#cells = this.parents.map(({ members }) =>
      this.order.map((i) => element(members.has(i) ? "td.member" : "td")),
    );
    this.#strongest = this.parents.map(() => element("td.strongest"));
    const head = this.order.map((i) =>
      element("th", { scope: "col" }, element("span", {}, spoken(columns[i].name))),
    );
    const body = this.parents.map(({ name }, r) =>
      element(
        "tr",
        { "--hue": hues.get(`${level}\n${name}`) },
        element("th", { scope: "row" }, spoken(name)),
        ...this.#cells[r],
        this.#strongest[r],
      ),
    );
    parent.replaceChildren(
      element(
        "table",
        {},
        element("caption.unseen", {}, `Attention of the level ${level} over finer classes`),
        element(
          "thead",
          {},
          element(
            "tr",
            {},
            element("td"),
            ...head,
            element("th.strongest", { scope: "col" }, "strongest"),
          ),
        ),
        element("tbody", {}, ...body),
      ),
    );
  }

  #family(column) {
    const found = this.parents.findIndex(({ members }) => members.has(column));
    return found < 0 ? this.parents.length : found;
  }

  /** @param {ArrayLike<number>} flat the map, row by row, with a row for every class */
  show(flat) {
    const { columns, parents } = this;
    const highest = Math.max(...flat, Number.MIN_VALUE);
    parents.forEach(({ name, index }, r) => {
      const values = columns.map((_, i) => flat[index * columns.length + i]);
      this.order.forEach((i, at) => {
        const cell = this.#cells[r][at];
        cell.style.setProperty("--weight", values[i] / highest);
        cell.title = `${spoken(name)} from ${spoken(columns[i].name)}: ${percent(values[i])}`;
        cell.replaceChildren(element("span.unseen", {}, percent(values[i])));
      });
      const best = values.indexOf(Math.max(...values));
      this.#strongest[r].textContent = `${spoken(columns[best].name)} ${percent(values[best])}`;
    });
  }
}
