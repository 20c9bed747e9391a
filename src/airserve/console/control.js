// The control API, asked with the operator's key. The key lives in this tab's session storage and nowhere else.

const KEPT = "airserve.operator-key";

/** What the service refused, in its own sentence. */
export class Refusal extends Error {
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

export function key() {
  return sessionStorage.getItem(KEPT);
}

export function keepKey(text) {
  sessionStorage.setItem(KEPT, text);
}

export function forgetKey() {
  sessionStorage.removeItem(KEPT);
}

/** The document at /control/…; throws a Refusal, with status 0 where no answer came. */
export async function ask(path) {
  let answer;
  try {
    answer = await fetch(`/control${path}`, {
      headers: { authorization: `Bearer ${key()}` },
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
  } catch {
    throw new Refusal(0, "The service does not answer. The page tries again.");
  }
  const document = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refusal(answer.status, document.detail ?? `HTTP ${answer.status}`);
  return document;
}
