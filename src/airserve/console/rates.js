// Calls a second, from two readings of a counter.

const before = new Map();

/** How fast the counter `name` grew since it was last read; null at the first reading, or after a restart. */
export function growth(name, count, nowMs) {
  const last = before.get(name);
  if (last === undefined || count < last.count) {
    before.set(name, { count, nowMs, rate: null });
    return null;
  }
  // Pages drawn again within the second keep what was known.
  if (nowMs - last.nowMs < 1000) return last.rate;
  const rate = ((count - last.count) * 1000) / (nowMs - last.nowMs);
  before.set(name, { count, nowMs, rate });
  return rate;
}
