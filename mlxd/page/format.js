// Numbers and times as people read them.

const COUNT = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** 12345 as "12,345". */
export const count = (number) => COUNT.format(number);

/** Bytes as "4.1 GB", in powers of 1000 as mlxctl writes them. */
export function size(bytes) {
  let unit = 0;
  while (bytes >= 999.5 && unit < UNITS.length - 1) {
    bytes /= 1000;
    unit += 1;
  }
  return `${bytes < 10 && unit > 0 ? bytes.toFixed(1) : bytes.toFixed(0)} ${UNITS[unit]}`;
}

/** Seconds as "35 ms", "1.24 s", "3 min" or "2 h 5 min". */
export function seconds(value) {
  if (value < 0.9995) return `${(value * 1000).toFixed(0)} ms`;
  if (Number.isInteger(value) && value < 60) return `${value} s`;
  if (value < 10) return `${value.toFixed(2)} s`;
  if (value < 59.95) return `${value.toFixed(1)} s`;
  const minutes = Math.round(value / 60);
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  if (hours >= 48) return `${Math.round(hours / 24)} days`;
  return minutes % 60 ? `${hours} h ${minutes % 60} min` : `${hours} h`;
}

/** A rate or another number as "0", "7.3" or "184". */
export const rate = (value) => (value === 0 || value >= 99.5 ? count(value) : value.toFixed(1));

/** A share from 0 to 1 as "41 %". */
export const percent = (share) => `${(share * 100).toFixed(0)} %`;

/** The number of things with their name: "1 request", "2 requests". */
export const things = (number, name) => `${count(number)} ${name}${number === 1 ? "" : "s"}`;

/** Unix seconds as the local time of the day, "15:04:05". */
export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB");
