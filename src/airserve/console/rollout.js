// A rollout: how far it is, how each guard stands, and what it waits for.

import { badge, element, table } from "/console/dom.js";
import { moment, short } from "/console/units.js";

const STATES = { shadow: "warn", canary: "warn", complete: "good", rolled_back: "bad", stopped: "plain" };

/** The section of a model's last rollout, from /control/models/NAME/rollout. */
export function rolloutSection({ rollout, percent, calls, old_calls: oldCalls, guards, waiting }) {
  const state = rollout.state.replace("_", " ");
  const progress = element("progress", { max: 100, value: percent, "aria-label": "Part of the tenants, percent" });
  return element(
    "section",
    {},
    element("h2", {}, `Rollout of version ${rollout.from_version} → ${rollout.to_version}`),
    element(
      "p",
      {},
      badge(STATES[rollout.state] ?? "plain", state),
      ` '${rollout.alias}' since ${moment(rollout.started_ns)} `,
      progress,
      ` ${short(percent)} % of the tenants (steps ${rollout.steps.join(", ")})`,
    ),
    rollout.reason ? element("p", {}, `Why: ${rollout.reason}`) : null,
    element("p", {}, `In this step: ${calls} calls by the new version, ${oldCalls} by the old one.`),
    guardsTable(guards),
    waiting.length === 0 ? null : element("ul", {}, ...waiting.map((each) => element("li", {}, `It waits: ${each}.`))),
  );
}

const GUARDS = { failed: "bad", passed: "good", waiting: "plain" };

function guardsTable(guards) {
  const percent = (share) => `${short(share * 100)} %`;
  const columns = [
    ["Guard", (each) => each.guard],
    ["State", (each) => badge(GUARDS[each.state] ?? "plain", each.state)],
    ["Bad calls", (each) => `${each.bad} of ${each.count}`],
    ["Rate is within", (each) => (each.count === 0 ? "–" : `${percent(each.low)} to ${percent(each.high)}`)],
    ["Allowed", (each) => percent(each.limit)],
    ["Needs", (each) => (each.missing > 0 ? `${each.missing} more calls` : "–")],
  ];
  return table("Guards", columns, guards);
}
