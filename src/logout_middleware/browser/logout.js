/**
 * The browser's side of logging out: one ES module, no dependency, no build. What each option and result means is
 * written in logout.d.ts. It starts by itself, follows the login of this browser, and does nothing without a page.
 */

const hasPage = typeof window === "object" && typeof document === "object";

// A page may load this file under two names (/auth/logout.js and its immutable name), and it logs out once.
const state = (globalThis[Symbol.for("logout-middleware")] ??= {
  given: {}, // to configure()
  meta: null, // the options in <meta name="logout">
  session: null, // the last known answer of /auth/session
  turn: 0, // of the newest question about the session: an older answer is out of date
  running: null, // the promise of the logout that runs
  endedAt: 0,
  pending: null, // a logout that the server does not know of yet
  retrying: null,
  connection: "off",
  leads: false, // does this tab hold the one connection of the browser?
  warned: {}, // the ends that were announced, by reason
  kept: {}, // what a browser without storage remembers
  pauses: new Set(),
  others: new Set(), // the ids of the other tabs
  id: Math.random(),
});

// ---- Options ----------------------------------------------------------------------------------------------------

const folder = /^(https?:.*)\/logout(\.\w+)?\.js/.exec(import.meta.url)?.[1];
const DEFAULTS = { base: folder ?? "/auth", warn: 60, push: true, poll: 5, timeout: 5000, channel: "logout-middleware" };
const DAY = 86_400_000;

/** What browsers may refuse (blocked storage, say) must not stop a logout. */
function attempt(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}

function settings() {
  if (hasPage && !state.meta) {
    const meta = document.querySelector("meta[name=logout]");
    if (meta || document.readyState !== "loading") state.meta = attempt(() => JSON.parse(meta.content)) ?? {};
  }
  return { ...DEFAULTS, ...state.meta, ...state.given };
}

export function configure(options) {
  Object.assign(state.given, options);
  state.stream?.abort();
  wake();
}

const remembered = (key) => attempt(() => localStorage.getItem(`logout.${key}`)) ?? state.kept[key];

function remember(key, value) {
  state.kept[key] = value;
  attempt(() => localStorage.setItem(`logout.${key}`, value));
}

// ---- Waiting ----------------------------------------------------------------------------------------------------

/** Resolves after this time, or before it when something happened (`wake`). */
function pause(milliseconds) {
  return new Promise((resolve) => {
    state.pauses.add(resolve);
    setTimeout(resolve, milliseconds);
  });
}

function wake() {
  state.pauses.forEach((resolve) => resolve());
  state.pauses.clear();
}

// ---- The server -------------------------------------------------------------------------------------------------

/** A token: from the function, or the storage key, that the page named. */
async function read(source) {
  try {
    if (typeof source !== "function") return source && (localStorage.getItem(source) ?? sessionStorage.getItem(source));
    return await Promise.race([source(), new Promise((resolve) => setTimeout(resolve, settings().timeout))]);
  } catch {
    return undefined;
  }
}

async function ask(path, { token, signal, ...init } = {}) {
  const { base, timeout, accessToken } = settings();
  const url = new URL(`${base}/${path}`, location.origin);
  const bearer = token ?? (await read(accessToken));
  const headers = { Accept: "application/json", ...init.headers };
  if (bearer) headers.Authorization = `Bearer ${bearer}`;
  // What the kit asks is no activity of the user. (Other origins do not expect the field.)
  if (url.origin === location.origin) headers["X-Logout-Passive"] = "1";
  return fetch(url, {
    credentials: "include", cache: "no-store", ...init, headers, signal: signal ?? AbortSignal.timeout(timeout),
  });
}

/** The answer of /auth/session, or undefined if it cannot be had now. `skew`: how far our clock is behind. */
async function whoIs(token) {
  try {
    const response = await ask("session", { token });
    if (!response.ok) return undefined;
    const skew = Date.parse(response.headers.get("Date")) - Date.now();
    return { ...(await response.json()), skew: Math.abs(skew) > 5000 ? skew : 0 };
  } catch {
    return undefined;
  }
}

/** Ask whether the login still lives, and act on the answer. */
async function refresh() {
  if (state.pending && !(await retry())) return undefined;
  const turn = ++state.turn;
  const answer = await whoIs();
  if (answer && turn === state.turn && !state.running) learn(answer);
  return answer;
}

function learn(session) {
  const before = state.session;
  if (before?.authenticated && !session.authenticated) return ended({ reason: "ended" }, { remote: true });
  state.session = session;
  if (before && before.authenticated !== session.authenticated) {
    fire("auth.statusChange", session);
    tell({ type: "ask" });
    wake();
  }
  if (before && (before.sid !== session.sid || before.sub !== session.sub)) fire("auth.sessionChange", session);
  check();
}

export async function session({ fresh = false } = {}) {
  if (!fresh && state.session) return state.session;
  return (await refresh()) ?? { authenticated: false, ...state.session, unknown: true };
}

// ---- Logging out ------------------------------------------------------------------------------------------------

/** One at a time: every button that is pressed meanwhile gets the same promise. */
export function logout(options = {}) {
  return (state.running ??= perform(options).then(({ result, leaves }) => {
    // The old page can still be clicked while the next one loads.
    if (leaves) setTimeout(() => (state.running = null), settings().timeout);
    else state.running = null;
    return result;
  }));
}

async function perform({ scope, redirect, reason = "logout", token, refreshToken }) {
  const options = settings();
  const order = {
    sub: state.session?.sub,
    sid: state.session?.sid,
    scope: scope ?? options.scope,
    token: token ?? (await read(options.accessToken)),
    refreshToken: refreshToken ?? (await read(options.refreshToken)),
  };
  const signal = hasPage && AbortSignal.timeout(options.timeout);
  let result = await post(order, { signal });
  if (result.offline && !signal.aborted) result = await post(order, { signal });
  result.reason = reason;
  if (!hasPage) return { result };
  const leaves = ended(result, { local: true, redirect });
  if (result.offline) postpone(order, leaves);
  return { result, leaves };
}

/** One request. It never throws: whatever happens is an answer. */
async function post({ scope, token, refreshToken }, init) {
  const result = { ok: false, pending: false, offline: false, revoked: null, status: 0 };
  try {
    const headers = { "Content-Type": "application/json" };
    const body = JSON.stringify({ scope, refreshToken: refreshToken || undefined });
    const response = await ask("logout", { method: "POST", keepalive: true, token: token ?? "", headers, body, ...init });
    const answer = await response.json().catch(() => null);
    const { ok, status } = response;
    Object.assign(result, { ok, status, pending: status === 202, offline: status >= 500 });
    result.revoked = answer?.revoked ?? null;
    result.redirectTo = answer?.redirect_to ?? answer?.redirectTo;
    // Over its limit the server still ends a login that it can verify.
    if (status === 429) result.ok = (await whoIs(token))?.authenticated === false;
  } catch {
    result.offline = true;
  }
  return result;
}

/** This browser is logged out, whoever did it: clean up, tell the page and the other tabs, go. */
function ended(result, { redirect, ...how }) {
  const { session } = state;
  state.turn++;
  state.endedAt = Date.now();
  state.session = { authenticated: false };
  clean();
  remember("ended", state.endedAt);
  const stays = !fire("auth.logout", { ...result, ...how, session }, true);
  fire("auth.statusChange", state.session);
  fire("auth.sessionChange", state.session);
  const { redirectTo, ...told } = result;
  const target = typeof redirect === "function" ? undefined : redirect;
  if (!how.relayed) tell({ type: "logout", result: { ...told, redirectTo: onSite(redirectTo) }, how, redirect: target });
  state.stream?.abort();
  check();
  return !stays && go(redirect, result, how);
}

function fire(type, detail, cancelable = false) {
  return dispatchEvent(new CustomEvent(type, { detail, cancelable }));
}

export function onLogout(listener) {
  const listen = ({ detail }) => listener(detail);
  if (hasPage) addEventListener("auth.logout", listen);
  return () => hasPage && removeEventListener("auth.logout", listen);
}

// ---- Cleaning up ------------------------------------------------------------------------------------------------

function clean() {
  const options = settings();
  const tokens = [options.accessToken, options.refreshToken].filter((each) => typeof each === "string");
  for (const storage of ["localStorage", "sessionStorage"]) {
    const keys = options[storage] ?? [];
    attempt(() => {
      if (keys === "*") window[storage].clear();
      else [...keys, ...tokens].forEach((key) => window[storage].removeItem(key));
    });
  }
  (options.cookies ?? []).forEach(forget);
}

/** A script cannot see where a cookie was set, so it is deleted at every place that this page can reach. */
function forget(name) {
  const paths = location.pathname.split("/").map((_, index, parts) => parts.slice(0, index + 1).join("/"));
  const hosts = location.hostname.split(".").map((_, index, parts) => `; Domain=${parts.slice(index).join(".")}`);
  for (const path of paths.flatMap((each) => [each, `${each}/`]))
    for (const host of ["", ...hosts])
      for (const kind of ["", "; Secure", "; Secure; SameSite=None; Partitioned"])
        attempt(() => (document.cookie = `${name}=; Max-Age=0; Path=${path || "/"}${host}${kind}`));
}

// ---- Where to go ------------------------------------------------------------------------------------------------

/** The address, if it is spelled as a path of this site or as http(s)://; "//host" and "\host" are neither. */
function safe(target) {
  const url = attempt(() => new URL(target, location.origin));
  if (!url || !/^https?:$/.test(url.protocol)) return undefined;
  return url.origin === location.origin || /^https?:\/\//i.test(target) ? url : undefined;
}

function onSite(target) {
  const url = typeof target === "string" && safe(target);
  return url && url.origin === location.origin ? url.href : undefined;
}

/** Leave for the target; false if the page stays. */
function go(redirect, result, { local }) {
  let target = typeof redirect === "function" ? attempt(() => redirect(result)) : redirect;
  target ??= settings().redirect ?? result.redirectTo;
  if (target === false) return false;
  if (target === true) target = onSite(new URLSearchParams(location.search).get("redirect")) ?? result.redirectTo ?? "/";
  const url = safe(target ?? "/login") ?? safe("/login");
  // Another tab that shows the login page already is left in peace.
  if (!local && url.origin + url.pathname === location.origin + location.pathname) return false;
  location.replace(url);
  return !url.hash;
}

// ---- Trying again: a logout that the server did not hear of, and no other -----------------------------------------

function note(pending) {
  const { sub, sid, scope } = pending ?? {};
  attempt(() =>
    pending
      ? sessionStorage.setItem("logout.pending", JSON.stringify({ sub, sid, scope, at: Date.now() }))
      : sessionStorage.removeItem("logout.pending"),
  );
}

function postpone(order, leaves) {
  if (!state.warnedOnce) console.warn("The server could not be told of the logout; it will be tried again.");
  state.warnedOnce = true;
  state.pending = order;
  // Whose login it was is not known: only the next page may try, before anybody logs in.
  if (order.sid || leaves) note(order);
  retryLater();
}

async function retryLater() {
  for (let seconds = 1; state.pending; seconds = Math.min(2 * seconds, 60)) {
    await pause(seconds * 1000);
    await retry();
  }
}

/** True when nothing is left to try. */
function retry() {
  return (state.retrying ??= tryAgain().finally(() => (state.retrying = null)));
}

async function tryAgain() {
  const { pending } = state;
  if (!pending) return true;
  const now = await whoIs("");
  const isSame = now?.authenticated && (pending.sid ? now.sid === pending.sid && now.sub === pending.sub : pending.isFirst);
  if (!now && !pending.isFirst) return false;
  if (isSame || (now && (pending.token || pending.refreshToken))) {
    // The cookie may belong to a newer login: then the old tokens go alone.
    const answer = await post(pending, { credentials: isSame ? "include" : "omit" });
    if (answer.offline && !pending.isFirst) return false;
  }
  if (state.pending === pending) {
    state.pending = null;
    note(null);
  }
  return true;
}

// ---- The end of a login: its token's, and after inactivity ---------------------------------------------------------

const loginName = () => state.session?.sid ?? state.session?.expires_at ?? "";

/** When somebody last did something in any tab; the first look at a new login counts as that. */
function lastActivity() {
  const [at, name] = attempt(() => JSON.parse(remembered("activity"))) ?? [];
  if (name === loginName()) return at;
  noteActivity();
  return Date.now();
}

const noteActivity = () => remember("activity", JSON.stringify([Date.now(), loginName()]));

function touched() {
  const { idle } = settings();
  if (!idle || !state.session?.authenticated) return;
  const since = Date.now() - lastActivity();
  // A computer that slept is woken by a key, too: then it is too late.
  if (since >= idle * 1000) check();
  else if (since >= 1000) noteActivity();
}

/** The ends that are known: [reason, name of this end, time by our clock, does the server decide?]. */
function ends() {
  const { expires_at, idle_expires_at, skew = 0 } = state.session;
  const { idle } = settings();
  const last = idle && lastActivity();
  return [
    ["expired", expires_at, Date.parse(expires_at) - skew, true],
    ["idle", idle_expires_at, Date.parse(idle_expires_at) - skew, true],
    ["idle", last, last + idle * 1000, false],
  ].filter(([, , end]) => end > 0);
}

/** Announce an end that is near, log out at one that has come, and look again when the next is due. */
function check() {
  if (!hasPage) return;
  clearTimeout(state.timer);
  if (!state.session?.authenticated || state.running) return;
  let next = DAY;
  for (const end of ends()) {
    let left = end[2] - Date.now();
    if (left <= 0) return void over(end);
    if (left <= settings().warn * 1000) announce(end, left);
    else left -= settings().warn * 1000;
    next = Math.min(next, left);
  }
  state.timer = setTimeout(check, next);
}

async function announce([reason, name, end, byServer], left) {
  if (state.warned[reason] === name) return;
  state.warned[reason] = name;
  // The login may have been prolonged in another tab.
  if (byServer && (await refresh()) && !ends().some((each) => each[0] === reason && each[1] === name)) return;
  fire("auth.expiring", { reason, seconds: Math.ceil(left / 1000), expires_at: new Date(end).toISOString() });
}

async function over([reason, name, , byServer]) {
  const later = (action, time) => (state.timer = setTimeout(action, time));
  if (byServer) {
    const answer = await whoIs();
    if (answer?.authenticated) {
      state.session = answer;
      return later(check, 1000);
    }
  }
  // Ten tabs see the same end: one of them tells the server, and then the others.
  const claimed = await alone("logout.over", () => {
    if (remembered("over") === `${reason} ${name}`) return false;
    remember("over", `${reason} ${name}`);
    return true;
  });
  if (claimed) return logout({ reason });
  later(() => state.session?.authenticated && ended({ reason }, { relayed: true }), settings().timeout);
}

/** Run this while no other tab does; without locks at once. */
async function alone(name, action, options = {}) {
  return navigator.locks ? navigator.locks.request(name, options, action) : action();
}

// ---- The other tabs -----------------------------------------------------------------------------------------------

function tell(message) {
  attempt(() => state.channel?.postMessage({ ...message, id: state.id }));
}

function heard({ data: { type, id, ...message } }) {
  if (type === "logout") {
    // The server's push and another tab may tell of the same logout.
    if (state.running || Date.now() - state.endedAt < settings().timeout) return;
    const { local, ...how } = message.how;
    ended(message.result, { ...how, relayed: true, redirect: message.redirect });
  } else if (type === "hello" || type === "here") {
    state.others.add(id);
    if (type === "hello") tell({ type: "here" });
    if (state.leads) tell({ type: "connection", connection: state.connection });
  } else if (type === "bye") state.others.delete(id);
  else if (type === "connection" && !state.leads) connect(message.connection);
  else if (type === "ask" && state.leads) wake();
}

// ---- Following the server: one tab leads, and holds one stream; without it, it polls ---------------------------------

function connect(connection) {
  if (state.leads) tell({ type: "connection", connection });
  if (state.connection === connection) return;
  state.connection = connection;
  fire("auth.connectionChange", { connection });
}

async function lead(stop) {
  state.leads = true;
  let pushAgainAt = 0;
  while (!stop.aborted) {
    const answer = await refresh();
    const { push, poll } = settings();
    let wait = document.hidden ? DAY : poll * 1000;
    if (!answer) connect("offline");
    else if (!answer.authenticated) {
      connect("off");
      wait = DAY;
    } else if (push && Date.now() >= pushAgainAt) {
      if (await listen(stop)) wait = 1000;
      else pushAgainAt = Date.now() + 60_000;
      if (wait > 1000) connect("polling");
    } else connect("polling");
    // Not all browsers at once, when a server comes back.
    if (!stop.aborted) await pause(wait * (0.8 + 0.4 * Math.random()));
  }
  state.leads = false;
}

/** Hold the stream until it ends; false if there is none. (EventSource can neither send a token nor see a dead line.) */
async function listen(stop) {
  const control = (state.stream = new AbortController());
  const abort = () => control.abort();
  stop.addEventListener("abort", abort);
  let alarm;
  const watch = () => {
    clearTimeout(alarm);
    alarm = setTimeout(abort, 50_000); // the server says something every 20 s
  };
  let isLive = false;
  try {
    watch();
    const response = await ask("events", { headers: { Accept: "text/event-stream" }, signal: control.signal });
    isLive = response.status === 200 && /event-stream/.test(response.headers.get("Content-Type"));
    if (isLive) {
      connect("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = "", part; !(part = await reader.read()).done; ) {
        watch();
        const events = (text + part.value).split(/\r?\n\r?\n/);
        text = events.pop();
        events.forEach(received);
      }
    }
  } catch {
    // It ended; the caller asks why.
  }
  clearTimeout(alarm);
  stop.removeEventListener("abort", abort);
  control.abort();
  return isLive;
}

function received(text) {
  const field = (name) => new RegExp(`^${name}: ?(.*)$`, "m").exec(text)?.[1];
  if (field("event") === "auth.expiring") refresh();
  if (field("event") !== "auth.logout" || state.running || !state.session?.authenticated) return;
  ended({ reason: "ended", ...attempt(() => JSON.parse(field("data"))) }, { remote: true });
}

// ---- The life of a page -------------------------------------------------------------------------------------------

function start() {
  if (state.stop) return;
  const stop = (state.stop = new AbortController()).signal;
  state.shownAt = Date.now();
  state.channel = attempt(() => new BroadcastChannel(settings().channel));
  if (state.channel) state.channel.onmessage = heard;
  tell({ type: "hello" });
  alone("logout.lead", () => lead(stop), { signal: stop }).catch(() => {});
  if (!state.leads && !state.session) refresh();
}

/** Streams, locks and channels would keep the page out of the back/forward cache. */
function pageHidden({ persisted }) {
  if (!persisted && !state.staysOnSite && !state.others.size) closed();
  tell({ type: "bye" });
  state.stop?.abort();
  state.stop = null;
  wake();
  state.channel?.close();
}

/** The last tab is closed. */
async function closed() {
  const { onClose, scope, accessToken, refreshToken } = settings();
  if (!(onClose || state.session?.ends_on_close) || !state.session?.authenticated) return;
  const order = [await read(accessToken), await read(refreshToken)];
  post({ scope, token: order[0], refreshToken: order[1] });
  clean();
  remember("ended", Date.now());
}

/** A page out of the back/forward cache shows nothing until it is known whose it is. */
async function pageShown({ persisted }) {
  if (!persisted) return;
  const { session, shownAt } = state;
  state.running = null;
  if (session?.authenticated) {
    const root = document.documentElement;
    root.hidden = true;
    const answer = await whoIs();
    if (answer?.authenticated && (answer.sid !== session.sid || answer.sub !== session.sub)) return location.reload();
    if (answer ? !answer.authenticated : remembered("ended") > shownAt) ended({ reason: "ended" }, { remote: true });
    root.hidden = false;
  }
  start();
}

function watchPage() {
  for (const type of ["pointerdown", "keydown", "scroll", "touchstart"])
    addEventListener(type, touched, { capture: true, passive: true });
  for (const type of ["visibilitychange", "focus", "online"])
    addEventListener(
      type,
      () => {
        if (document.hidden) return;
        touched();
        check();
        if (!state.session?.authenticated && state.stop) refresh();
        wake();
      },
      true,
    );
  addEventListener("pagehide", pageHidden);
  addEventListener("pageshow", pageShown);
  window.navigation?.addEventListener("navigate", ({ destination }) => {
    state.staysOnSite = new URL(destination.url).origin === location.origin;
  });
  const pending = attempt(() => JSON.parse(sessionStorage.getItem("logout.pending")));
  if (pending) {
    state.pending = { ...pending, isFirst: !pending.sid && Date.now() - pending.at < 60_000 };
    retryLater();
  }
}

/** Whether and how the server is followed: "live", "polling", "offline" or "off". */
export let connection = state.connection;

if (hasPage) {
  addEventListener("auth.connectionChange", (event) => (connection = event.detail.connection));
  if (!state.isWatched) {
    state.isWatched = true;
    watchPage();
    // Scripts of the page come first, so that they can configure.
    if (document.readyState === "complete") setTimeout(start);
    for (const type of ["DOMContentLoaded", "load"]) addEventListener(type, start, { once: true });
  }
}

// ---- Asking first -------------------------------------------------------------------------------------------------

export async function confirmLogout(options = {}) {
  const texts = { question: "Log out?", yes: "Log out", no: "Cancel", ...settings().texts, ...options.texts };
  const confirm = options.confirm ?? settings().confirm ?? (() => dialog(texts));
  let isSure = false;
  try {
    isSure = await confirm(texts.question);
  } catch {
    // Whoever could not be asked did not say yes.
  }
  return isSure ? logout(options) : null;
}

function dialog({ question, yes, no }) {
  const box = document.createElement("dialog");
  const text = document.createElement("p");
  const buttons = [yes, no].map((label, index) => {
    const button = document.createElement("button");
    button.textContent = label;
    button.onclick = () => box.close(index ? "" : "yes");
    return button;
  });
  text.textContent = question;
  box.setAttribute("aria-label", question);
  box.append(text, ...buttons);
  document.body.append(box);
  box.showModal();
  return new Promise((resolve) => {
    box.onclose = () => {
      box.remove();
      resolve(box.returnValue === "yes");
    };
  });
}
