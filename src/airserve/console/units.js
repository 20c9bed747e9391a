// Numbers as people read them.

/** 3.2 MB */
export function bytes(count) {
  const units = ["B", "kB", "MB", "GB", "TB"];
  let at = 0;
  while (count >= 1000 && at < units.length - 1) {
    count /= 1000;
    at += 1;
  }
  return `${at === 0 ? count : short(count)} ${units[at]}`;
}

/** Three digits that count: 0.0123, 1.23, 123, 12300. */
export function short(value) {
  return String(Number(value.toPrecision(3)));
}

/** 12.3 ms */
export function milliseconds(value) {
  return value === null || value === undefined ? "–" : `${short(value)} ms`;
}

/** Four digits after the point: differences between variants are that small. */
export function accuracy(value) {
  return value === null || value === undefined ? "–" : value.toFixed(4);
}

/** 12.3 /s; "…" until there are two readings to tell a rate from. */
export function rate(value) {
  return value === null ? "…" : `${short(value)} /s`;
}

/** A moment in UTC nanoseconds as local date and time. */
export function moment(ns) {
  return ns === null || ns === undefined ? "–" : new Date(ns / 1e6).toLocaleString();
}

/** "3 models", "1 model". */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}
