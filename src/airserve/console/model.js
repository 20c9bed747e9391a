// The page of one model: versions, variants with their frontier, the rollout that runs, drift.

import { ask } from "/console/control.js";
import { badge, element, table } from "/console/dom.js";
import { driftSection } from "/console/drift.js";
import { stateBadge } from "/console/overview.js";
import { pareto } from "/console/pareto.js";
import { growth } from "/console/rates.js";
import { rolloutSection } from "/console/rollout.js";
import { accuracy, bytes, milliseconds, moment, rate, short } from "/console/units.js";

const MOST_LETTERS = 200;

export async function model(name) {
  const path = encodeURIComponent(name);
  const [versions, drift, rollouts] = await Promise.all([
    ask(`/models/${path}`),
    ask(`/models/${path}/drift`),
    ask("/rollouts"),
  ]);
  const rollout = rollouts.some((each) => each.model === name) ? await ask(`/models/${path}/rollout`) : null;
  const newest = versions.filter((each) => each.retired_ns === null);
  const shown = newest.find((each) => each.aliases.includes("prod")) ?? newest.at(-1) ?? versions.at(-1);
  return element(
    "div",
    {},
    element("nav", { "aria-label": "Breadcrumb" }, element("a", { href: "#/" }, "Models"), " / ", name),
    element("h1", {}, name),
    shown.manifest.description ? element("p", {}, beginning(shown.manifest.description)) : null,
    rollout === null ? null : rolloutSection(rollout),
    versionsTable(versions),
    ...variantsSection(shown),
    ...drift.map(driftSection),
    drift.length === 0
      ? element(
          "p",
          { class: "quiet" },
          "No baseline: drift is not watched. ",
          element("code", {}, "airserve publish … --baseline SAMPLE"),
          " adds one.",
        )
      : null,
  );
}

function beginning(text) {
  return text.length <= MOST_LETTERS ? text : `${text.slice(0, MOST_LETTERS)} …`;
}

function versionsTable(versions) {
  const nowMs = Date.now();
  const columns = [
    ["Version", (each) => String(each.version)],
    ["Aliases", (each) => each.aliases.join(", ") || "–"],
    ["State", stateBadge],
    ["Size", (each) => bytes(each.size_bytes)],
    ["Published", (each) => moment(each.published_ns)],
    ["Calls", (each) => rate(growth(`${each.model}/${each.version}`, each.calls, nowMs))],
    ["Calls in all", (each) => String(each.calls)],
    ["Failed", failures],
    ["Mean time", (each) => milliseconds(each.mean_ms)],
  ];
  return table("Versions", columns, [...versions].reverse());
}

function failures(version) {
  const found = Object.entries(version.failures).map(([code, count]) => `${count} ${code}`);
  return found.join(", ") || "0";
}

function variantsSection(version) {
  const { variants, served, frontier, accuracy_floor: floor } = version.manifest;
  if (variants.length === 0) return [];
  const columns = [
    ["Variant", (each) => each.name],
    ["Accuracy", accuracyCell],
    ["Metric", (each) => each.metric ?? "–"],
    ["Size", (each) => bytes(each.weights_bytes)],
    ["p50", (each) => milliseconds(each.measured?.p50_ms)],
    ["p99", (each) => milliseconds(each.measured?.p99_ms)],
    [
      "Rows a second",
      (each) => (each.measured ? `${short(each.measured.rows_per_s)} (batch ${each.measured.best_batch})` : "–"),
    ],
    ["Memory", (each) => (each.measured ? bytes(each.measured.memory_bytes) : "–")],
    ["Made by", (each) => madeBy(each)],
    ["Answered", (each) => answeredCalls(each, version, served)],
    ["Notes", (each) => marks(each, served, frontier)],
  ];
  const plot = pareto(version.manifest);
  const machine = variants.find((each) => each.measured)?.measured;
  return [
    element("h2", {}, `Variants of version ${version.version}`),
    plot,
    table("Variants", columns, variants, (each) => ({ class: frontier.includes(each.name) ? null : "dominated" })),
    machine
      ? element("p", { class: "quiet" }, `Measured on ${machine.machine}, ${machine.threads} threads.`)
      : element("p", { class: "quiet" }, "Not measured: ", element("code", {}, "airserve optimise"), " does that."),
    floor === null || floor === undefined
      ? null
      : element("p", { class: "quiet" }, `No answer is given below an accuracy of ${accuracy(floor)}.`),
  ];
}

/** How many calls a variant answered; they are told apart only where several are served. */
function answeredCalls(variant, version, served) {
  if (!served.includes(variant.name)) return "–";
  return String(served.length === 1 ? version.calls : (version.by_variant[variant.name] ?? 0));
}

function accuracyCell(variant) {
  const told = accuracy(variant.accuracy);
  if (variant.low === undefined || variant.high === undefined || variant.low === null) return told;
  return `${told} (${accuracy(variant.low)} to ${accuracy(variant.high)})`;
}

function madeBy(variant) {
  if (!variant.cascade) return variant.method || "–";
  const { small, full, share } = variant.cascade;
  return `${small} where it is sure (${Math.round(share * 100)} %), else ${full}`;
}

function marks(variant, served, frontier) {
  const found = [];
  if (served.includes(variant.name)) found.push(badge("good", "served"));
  if (!frontier.includes(variant.name)) found.push(badge("plain", "beaten"));
  return element("span", {}, ...found);
}
