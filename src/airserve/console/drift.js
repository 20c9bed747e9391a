// How a model's calls compare with its baseline: the worst statistics, each with its two histograms.

import { badge, element, shape, table } from "/console/dom.js";
import { counted, short } from "/console/units.js";

const WIDTH = 160;
const HEIGHT = 40;
const KINDS = { significant: "bad", moderate: "warn", none: "good", "few calls": "plain" };

/** Shares of the baseline as outlines, those of now as filled bars, bin by bin. */
function histogram(statistic) {
  const bins = statistic.before.length;
  const most = Math.max(...statistic.before, ...statistic.now, 1e-9);
  const width = WIDTH / bins;
  const bar = (share, at, kind) =>
    shape("rect", {
      x: at * width + 1,
      width: Math.max(width - 2, 1),
      y: HEIGHT - (share / most) * HEIGHT,
      height: (share / most) * HEIGHT,
      class: kind,
    });
  const told = statistic.now.map((share, at) => `${Math.round(statistic.before[at] * 100)}→${Math.round(share * 100)}`);
  return shape(
    "svg",
    {
      viewBox: `-1 -1 ${WIDTH + 2} ${HEIGHT + 2}`,
      role: "img",
      class: "histogram",
      "aria-label": `Shares in percent, baseline → now, bin by bin: ${told.join(", ")}`,
    },
    ...statistic.now.map((share, at) => bar(share, at, "now")),
    ...statistic.before.map((share, at) => bar(share, at, "before")),
  );
}

/** The section of one version. */
export function driftSection(found) {
  const columns = [
    ["Statistic", (each) => each.name],
    ["PSI", (each) => short(each.psi)],
    ["By chance", (each) => short(each.expected)],
    ["Change", (each) => badge(KINDS[each.level] ?? "plain", each.level)],
    ["Baseline and now", histogram],
  ];
  const center =
    found.centroid === null ? "" : ` The mean embedding moved by ${short(found.centroid)} of the baseline’s spread.`;
  const minutes = Math.round(found.window_s / 60);
  return element(
    "section",
    {},
    element("h2", {}, `Inputs of version ${found.version} against the baseline`),
    element(
      "p",
      {},
      `${counted(found.rows, "row")} of ${counted(found.calls, "call")} in the last ${minutes} minutes, ` +
        `${counted(found.baseline_rows, "row")} in the baseline.${center}`,
    ),
    found.statistics.some((each) => each.level === "few calls")
      ? element("p", { class: "quiet" }, "Too few calls to tell: 20 calls with 100 rows are needed.")
      : table(
          "The worst statistics. Outlines are the baseline, filled is now.",
          columns,
          found.statistics.slice(0, 10),
        ),
  );
}
