// Accuracy against latency: one bubble for each variant, as large as its weights. Those that another beats are grey.

import { element, shape } from "/console/dom.js";
import { accuracy, bytes, milliseconds, short } from "/console/units.js";

const WIDTH = 640;
const HEIGHT = 360;
const EDGE = { left: 64, right: 24, top: 24, bottom: 48 };
const BUBBLE = { least: 6, most: 22 };
const LETTER = { width: 7.5, height: 15 };

/** The variants that can be drawn, as {name, accuracy, low, high, ms, bytes, dominated}. */
export function points(variants, frontier) {
  return variants
    .filter((each) => each.measured && each.accuracy !== undefined && each.accuracy !== null)
    .map((each) => ({
      name: each.name,
      accuracy: each.accuracy,
      low: each.low ?? each.accuracy,
      high: each.high ?? each.accuracy,
      ms: each.measured.p50_ms,
      bytes: each.weights_bytes,
      dominated: !frontier.includes(each.name),
    }));
}

/** Round numbers that span from `low` to `high`. */
export function ticks(low, high, about = 5) {
  const step = [1, 2, 5, 10].map((each) => each * 10 ** Math.floor(Math.log10((high - low) / about)));
  const size = step.find((each) => (high - low) / each <= about) ?? step.at(-1);
  const found = [];
  for (let value = Math.ceil(low / size) * size; value <= high + size / 1e6; value += size) {
    found.push(Number(value.toPrecision(12)));
  }
  return found;
}

function scale(values, from, to, logarithmic) {
  const bend = logarithmic ? Math.log10 : (value) => value;
  let [low, high] = [Math.min(...values), Math.max(...values)];
  if (logarithmic) [low, high] = [low / 1.25, high * 1.25];
  else {
    const room = (high - low || Math.abs(high) * 0.01 || 1) * 0.15;
    [low, high] = [low - room, high + room];
  }
  const place = (value) => from + ((bend(value) - bend(low)) / (bend(high) - bend(low))) * (to - from);
  return { low, high, place };
}

function logTicks(low, high) {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.log10(high); power += 1) {
    found.push(...[1, 2, 5].map((each) => each * 10 ** power));
  }
  return found.filter((each) => each >= low && each <= high);
}

/** The plot of a manifest, as the control API tells it; null where fewer than two variants were measured. */
export function pareto({ variants, served, frontier }) {
  const all = points(variants, frontier);
  if (all.length < 2) return null;
  const fastest = Math.min(...all.map((each) => each.ms));
  const logarithmic = fastest > 0 && Math.max(...all.map((each) => each.ms)) / fastest > 8;
  const x = scale(
    all.map((each) => each.ms),
    EDGE.left,
    WIDTH - EDGE.right,
    logarithmic,
  );
  const y = scale(
    all.flatMap((each) => [each.low, each.high]),
    HEIGHT - EDGE.bottom,
    EDGE.top,
    false,
  );
  const largest = Math.max(...all.map((each) => each.bytes));
  const told = all
    .map(
      (each) => `${each.name}: accuracy ${accuracy(each.accuracy)} at ${milliseconds(each.ms)}, ${bytes(each.bytes)}`,
    )
    .join("; ");
  const xTicks = logarithmic ? logTicks(x.low, x.high) : ticks(x.low, x.high);
  const plot = shape(
    "svg",
    { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-labelledby": "pareto-title pareto-told", class: "pareto" },
    shape("title", { id: "pareto-title" }, "Accuracy of each variant against its latency"),
    shape("desc", { id: "pareto-told" }, told),
    ...xTicks.map((each) => tick(x.place(each), null, short(each))),
    ...ticks(y.low, y.high).map((each) => tick(null, y.place(each), short(each))),
    shape(
      "text",
      { x: WIDTH / 2, y: HEIGHT - 8, class: "axis" },
      `latency of one row, ms (median)${logarithmic ? ", logarithmic" : ""}`,
    ),
    shape("text", { x: -HEIGHT / 2, y: 16, class: "axis", transform: "rotate(-90)" }, "accuracy"),
    ...[...all]
      .sort((one, other) => other.bytes - one.bytes)
      .map((each) => bubble(each, x, y, largest, served.includes(each.name))),
    ...labelPlaces(all, x, y, largest).map((place, at) =>
      shape("text", { ...place, class: all[at].dominated ? "name dominated" : "name" }, all[at].name),
    ),
  );
  return element(
    "figure",
    {},
    plot,
    element(
      "figcaption",
      {},
      "Up and to the left is better. A bubble is as large as the weights, bars are 95 % confidence. A thick edge " +
        "marks what calls are answered with. Grey: another variant is as accurate, as fast and as small.",
    ),
  );
}

function radius(point, largest) {
  return Math.max(BUBBLE.least, BUBBLE.most * Math.sqrt(point.bytes / (largest || 1)));
}

function tick(x, y, text) {
  if (x !== null) {
    return shape(
      "g",
      {},
      shape("line", { x1: x, x2: x, y1: EDGE.top, y2: HEIGHT - EDGE.bottom, class: "grid" }),
      shape("text", { x, y: HEIGHT - EDGE.bottom + 16, class: "tick middle" }, text),
    );
  }
  return shape(
    "g",
    {},
    shape("line", { x1: EDGE.left, x2: WIDTH - EDGE.right, y1: y, y2: y, class: "grid" }),
    shape("text", { x: EDGE.left - 8, y: y + 4, class: "tick end" }, text),
  );
}

function bubble(point, x, y, largest, answers) {
  const [cx, cy] = [x.place(point.ms), y.place(point.accuracy)];
  const kind = `${point.dominated ? "dominated" : "best"}${answers ? " served" : ""}`;
  return shape(
    "g",
    { class: kind },
    shape(
      "title",
      {},
      `${point.name}: ${accuracy(point.accuracy)} at ${milliseconds(point.ms)}, ${bytes(point.bytes)}`,
    ),
    shape("line", { x1: cx, x2: cx, y1: y.place(point.low), y2: y.place(point.high), class: "bar" }),
    shape("circle", { cx, cy, r: radius(point, largest) }),
  );
}

/**
 * Where the names go, in the order of `all`: beside their bubble, above or below it, wherever no other name is. A name
 * that finds no room stays at the right.
 */
export function labelPlaces(all, x, y, largest) {
  const taken = [];
  return all.map((point) => {
    const [cx, cy, away] = [x.place(point.ms), y.place(point.accuracy), radius(point, largest) + 4];
    const width = point.name.length * LETTER.width;
    const choices = [
      { x: cx + away, y: cy + 4 },
      { x: cx - away - width, y: cy + 4 },
      { x: cx - width / 2, y: cy - away },
      { x: cx - width / 2, y: cy + away + LETTER.height - 2 },
    ];
    const fits = (one) =>
      one.x >= EDGE.left && one.x + width <= WIDTH && one.y > LETTER.height && one.y < HEIGHT - EDGE.bottom;
    const free = (one) =>
      taken.every(
        (other) =>
          one.x + width < other.x || other.x + other.width < one.x || Math.abs(one.y - other.y) >= LETTER.height,
      );
    const found = choices.find((one) => fits(one) && free(one)) ?? choices.find(fits) ?? choices[0];
    taken.push({ ...found, width });
    return found;
  });
}
