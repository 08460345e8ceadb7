// What this page adds to the kit: the live indicator, and the list of devices. Logging out works without it.
import "/auth/logout-button.js";
import { connection, session } from "/auth/logout.js";

const inside = document.querySelector("#inside");
const outside = document.querySelector("#outside");
const indicator = document.querySelector("#connection");
const devices = document.querySelector("#devices");

// ---- the live indicator: will this page hear of a logout on another device? ----------------------------

const WORDS = {
  live: "Live: a logout elsewhere shows here at once",
  polling: "Connected: a logout elsewhere shows here within seconds",
  offline: "Offline: the server cannot be reached",
  off: "Connecting…",
};

function showConnection() {
  indicator.dataset.state = connection;
  indicator.textContent = WORDS[connection];
  indicator.hidden = false;
}

addEventListener("auth.connectionChange", showConnection);

// ---- logged out from elsewhere: say so, instead of leaving for the login page without a word -----------

addEventListener("auth.logout", (event) => {
  if (!event.detail.remote) return;
  event.preventDefault(); // the kit stays here
  inside.remove(); // what was private is gone from the page, too
  outside.hidden = false;
  outside.querySelector("h1").focus();
  document.title = "You were logged out";
});

// ---- my devices ----------------------------------------------------------------------------------------

async function showDevices() {
  if (!(await session({ fresh: true })).authenticated) return;
  const answer = await ask("GET", "/auth/sessions");
  if (!answer?.ok) return;
  const { sessions } = await answer.json();
  devices.querySelector("ul").replaceChildren(...sessions.map(row));
  devices.hidden = false;
}

function row(device) {
  const item = devices.querySelector("template").content.cloneNode(true);
  const name = nameOf(device.user_agent ?? "");
  const seen = new Date(device.last_seen).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  item.querySelector("strong").textContent = name;
  item.querySelector("small").textContent = device.current ? "This device" : `Last seen ${seen}`;
  const button = item.querySelector("button");
  if (device.current) button.remove();
  else {
    button.setAttribute("aria-label", `End ${name}, last seen ${seen}`);
    button.addEventListener("click", () => end(device.id, name));
  }
  return item;
}

async function end(id, name) {
  const answer = await ask("DELETE", `/auth/sessions/${id}`);
  const told = answer?.ok ? `${name} is logged out.` : "This did not work. Please try again.";
  devices.querySelector(".told").textContent = told;
  await showDevices();
  devices.querySelector("h2").focus(); // the button that was pressed is gone
}

// Nobody did anything when a page asks by itself, so that is no activity.
const ask = (method, path) => fetch(path, { method, headers: { "X-Logout-Passive": "1" } }).catch(() => null);

function nameOf(userAgent) {
  const [browser] = /Edg|OPR|Firefox|Chrome|Safari/.exec(userAgent) ?? ["Browser"];
  const [system] = /Windows|Android|iPhone|iPad|Mac|Linux/.exec(userAgent) ?? ["unknown system"];
  const names = { Edg: "Edge", OPR: "Opera" };
  return `${names[browser] ?? browser} on ${system}`;
}

for (const type of ["auth.statusChange", "auth.sessionChange", "focus"]) {
  addEventListener(type, () => inside.isConnected && showDevices());
}
showConnection();
showDevices();
