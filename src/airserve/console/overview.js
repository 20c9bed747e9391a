// The first page: every model that is published, and what needs somebody.

import { ask } from "/console/control.js";
import { badge, element, table } from "/console/dom.js";
import { growth } from "/console/rates.js";
import { bytes, counted, milliseconds, moment, rate, short } from "/console/units.js";

/** The link to a model's page. */
export function modelLink(name) {
  return element("a", { href: `#/models/${encodeURIComponent(name)}` }, name);
}

/** What a version's state is called, with how bad that is. */
export function stateBadge(version) {
  if (version.retired_ns !== null) return badge("plain", "retired");
  const kinds = { ready: "good", failed: "bad", loading: "warn", unloaded: "warn" };
  return badge(kinds[version.state] ?? "plain", version.state);
}

/** The alerts of drift, as a list; null where there are none. */
export function driftAlerts(alerts) {
  if (alerts.length === 0) return null;
  return element(
    "section",
    { class: "alerts", "aria-label": "Alerts" },
    element("h2", {}, "Alerts"),
    element(
      "ul",
      {},
      ...alerts.map((each) => {
        const worst = each.drifted.slice(0, 3).map((one) => `${one.name} (PSI ${short(one.psi)})`);
        const more = each.drifted.length > 3 ? ` and ${each.drifted.length - 3} more` : "";
        const since = Math.min(...each.drifted.map((one) => one.since_ns));
        return element(
          "li",
          {},
          badge("bad", "drift"),
          " Inputs of ",
          modelLink(each.model),
          ` version ${each.version} left the baseline: ${worst.join(", ")}${more}; since ${moment(since)}.`,
        );
      }),
    ),
  );
}

export async function overview() {
  const [versions, alerts, rollouts] = await Promise.all([
    ask("/models"),
    ask("/drift"),
    ask("/rollouts?running=true"),
  ]);
  const nowMs = Date.now();
  const shown = versions.filter((each) => each.retired_ns === null);
  const names = new Set(shown.map((each) => each.model));
  const rolling = new Map(rollouts.map((each) => [each.model, each]));
  const columns = [
    ["Model", (each) => modelLink(each.model)],
    ["Version", (each) => String(each.version)],
    ["Aliases", (each) => each.aliases.join(", ") || "–"],
    ["State", stateBadge],
    ["Engine", (each) => each.engine],
    ["Size", (each) => bytes(each.size_bytes)],
    ["Calls", (each) => rate(growth(`${each.model}/${each.version}`, each.calls, nowMs))],
    ["Mean time", (each) => milliseconds(each.mean_ms)],
    ["Notes", (each) => notes(each, rolling.get(each.model))],
  ];
  return element(
    "div",
    {},
    element("h1", {}, "Models"),
    driftAlerts(alerts),
    shown.length === 0
      ? element("p", {}, "Nothing is published yet. ", element("code", {}, "airserve publish"), " does that.")
      : table(`${counted(names.size, "model")}, ${counted(shown.length, "version")}`, columns, shown),
    element("p", { class: "quiet" }, "Calls and times are those of the server that answers here, since it started."),
  );
}

function notes(version, rollout) {
  const found = [];
  if (version.drifted.length > 0) found.push(badge("bad", "drift"));
  if (rollout !== undefined && rollout.to_version === version.version) found.push(badge("warn", "rolling out"));
  if (version.reason) found.push(element("span", {}, version.reason));
  return found.length === 0 ? "" : element("span", {}, ...found);
}
