// The console: asks for the key once, then shows the page that the address names and keeps it fresh.

import { Refusal, ask, forgetKey, keepKey, key } from "/console/control.js";
import { model } from "/console/model.js";
import { overview } from "/console/overview.js";

const FRESH_MS = 5000;

const page = document.getElementById("page");
const enter = document.getElementById("enter");
const forget = document.getElementById("forget");
const problem = document.getElementById("problem");
const input = document.getElementById("key");

let drawing = 0;
let timer = null;

function pageOf(hash) {
  const match = /^#\/models\/([^/]+)$/.exec(hash);
  return match === null ? { title: "Models", draw: overview } : named(match[1]);
}

function named(part) {
  const name = decodeURIComponent(part);
  return { title: name, draw: () => model(name) };
}

function tell(text) {
  problem.textContent = text;
  problem.hidden = text === "";
}

function askForKey() {
  forget.hidden = true;
  enter.hidden = false;
  page.replaceChildren();
  page.setAttribute("aria-busy", "false");
  document.title = "Airserve console";
  input.focus();
}

/** Draw a page. One that is only fresh keeps what the reader has in focus, and waits while text is selected. */
function put(drawn, moved) {
  const selected = !moved && !document.getSelection().isCollapsed;
  if (selected) return;
  const held = page.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  page.replaceChildren(drawn);
  if (moved) page.focus();
  else if (held !== null) page.querySelector(`a[href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}

async function show({ moved }) {
  clearTimeout(timer);
  if (key() === null) {
    askForKey();
    return;
  }
  const number = (drawing += 1);
  const { title, draw } = pageOf(location.hash);
  try {
    const drawn = await draw();
    // A page that was left meanwhile is not drawn over the next one.
    if (number !== drawing) return;
    enter.hidden = true;
    forget.hidden = false;
    document.title = `${title} – Airserve console`;
    put(drawn, moved);
    tell("");
  } catch (error) {
    if (number !== drawing) return;
    if (!(error instanceof Refusal)) throw error;
    tell(error.message);
    if (error.status === 401 || error.status === 403) {
      forgetKey();
      askForKey();
      return;
    }
    if (moved) page.replaceChildren();
  } finally {
    page.setAttribute("aria-busy", "false");
  }
  timer = setTimeout(() => show({ moved: false }), FRESH_MS);
}

enter.addEventListener("submit", async (event) => {
  event.preventDefault();
  keepKey(input.value.trim());
  input.value = "";
  try {
    const { role } = await ask("/me");
    if (role !== "operator") throw new Refusal(403, "This key is no operator’s; it begins with as_adm_.");
    await show({ moved: true });
  } catch (error) {
    forgetKey();
    askForKey();
    tell(error.message);
  }
});

forget.addEventListener("click", () => {
  forgetKey();
  tell("");
  askForKey();
});

window.addEventListener("hashchange", () => show({ moved: true }));
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(timer);
  else show({ moved: false });
});
show({ moved: false });
