// The last hour in steps of some seconds, put together from what the daemon tells each time.

const STEPS = 720;

/** Columns by name, and `times`, the Unix seconds at the end of each step; the oldest first. */
export class History {
  #steps = new Map(); // by the number of the step: its values by the name of their column
  #now = 0; // Unix seconds, by the daemon's clock
  step = 5;

  /** Take what the daemon told `now`; steps that are known already are replaced. */
  take({ step_s, end, ...columns }, now) {
    this.#now = now;
    this.step = step_s;
    const length = columns.requests.length;
    const last = Math.round(end / step_s);
    for (let index = 0; index < length; index += 1) {
      const values = {};
      for (const name of Object.keys(columns)) values[name] = columns[name][index];
      this.#steps.set(last - length + 1 + index, values);
    }
    for (const number of this.#steps.keys()) if (number <= last - STEPS) this.#steps.delete(number);
  }

  /** Return the last whole steps, so many seconds of them. */
  last(seconds) {
    const whole = [...this.#steps.keys()].filter((number) => number * this.step <= this.#now);
    const numbers = whole.sort((a, b) => a - b).slice(-Math.ceil(seconds / this.step));
    return {
      times: numbers.map((number) => number * this.step),
      column: (name) => numbers.map((number) => this.#steps.get(number)[name]),
    };
  }

  /** Return the sum of a column over the last seconds. */
  sum(name, seconds) {
    return this.last(seconds).column(name).reduce((sum, value) => sum + (value ?? 0), 0);
  }

  /** Return the mean of a column's values over the last seconds; null if there are none. */
  mean(name, seconds) {
    const values = this.last(seconds).column(name).filter((value) => value !== null);
    return values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null;
  }
}
