// One plot of the last minutes: a card with a name, the value under the cursor, and uPlot.

import { h, say } from "./dom.js";
import { clock } from "./format.js";

const HEIGHT = 150;
const cursors = globalThis.uPlot.sync("time"); // the plots show the same moment

/**
 * Return a plot. `lines` have a `label`, the name of a `color` of the style sheet, and `dots` where
 * single values stand apart; `write` makes a text of a value, `axis` one for the axis. The axis ends
 * at `least` at the lowest, or always at `most`.
 */
export class Plot {
  #lines;
  #write;
  #axis;
  #top;
  #uplot = null;
  #data = null;

  constructor(title, lines, { write, axis = write, least = 1, most = null }) {
    this.#lines = lines;
    this.#write = write;
    this.#axis = axis;
    this.#top = (value) => most ?? Math.max(value * 1.1, least);
    this.readout = h("p", { class: "readout" });
    this.place = h("div", { class: "plot-area", role: "img", "aria-label": `Plot: ${title}` });
    this.element = h("section", { class: "card plot" },
      h("div", { class: "plot-head" }, h("h3", {}, title), this.readout), this.place);
    new ResizeObserver(() => this.#resize()).observe(this.place);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  /** Show columns: the times, and one of values for each line. */
  show(data) {
    this.#data = data;
    if (this.#uplot) {
      this.#uplot.setData(data);
      this.#read(this.#uplot.cursor.idx ?? data[0].length - 1);
    } else {
      this.#draw();
    }
  }

  #draw() {
    const width = this.place.clientWidth;
    if (!this.#data || !width) return;
    this.#uplot?.destroy();
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(name).trim();
    const quiet = {
      stroke: color("--muted"), font: `11px ${style.fontFamily}`, ticks: { show: false },
      grid: { stroke: color("--line"), width: 1 },
    };
    this.#uplot = new globalThis.uPlot({
      width,
      height: HEIGHT,
      padding: [8, 4, 0, 0],
      legend: { show: false },
      cursor: { sync: { key: cursors.key }, y: false, drag: { setScale: false }, points: { size: 7 } },
      scales: { y: { range: (_plot, _low, high) => [0, this.#top(high ?? 0)] } },
      axes: [
        { ...quiet, grid: { show: false }, space: 70, size: 26, values: (_plot, times) => times.map((time) => clock(time).slice(0, 5)) },
        { ...quiet, size: 56, space: 34, values: (_plot, values) => values.map(this.#axis) },
      ],
      series: [{}, ...this.#lines.map((line) => ({
        label: line.label,
        stroke: color(line.color),
        width: 1.75,
        fill: line.fill ? `color-mix(in srgb, ${color(line.color)} 14%, transparent)` : undefined,
        points: { show: Boolean(line.dots), size: 4, fill: color(line.color) },
      }))],
      hooks: { setCursor: [(plot) => this.#read(plot.cursor.idx ?? this.#data[0].length - 1)] },
    }, this.#data, this.place);
    this.#read(this.#data[0].length - 1);
  }

  #resize() {
    if (this.#uplot && this.place.clientWidth) {
      this.#uplot.setSize({ width: this.place.clientWidth, height: HEIGHT });
    } else {
      this.#draw();
    }
  }

  /** Say the values of a step, beside the name of their line if there is more than one. */
  #read(index) {
    const words = this.#lines.map(({ label }, line) => {
      const value = this.#data[line + 1][index];
      const text = value === null || value === undefined ? "–" : this.#write(value);
      return this.#lines.length > 1 ? `${label} ${text}` : text;
    });
    const end = index === this.#data[0].length - 1;
    if (!end && this.#data[0][index]) words.unshift(clock(this.#data[0][index]));
    say(this.readout, words.join("  ·  "));
  }
}
