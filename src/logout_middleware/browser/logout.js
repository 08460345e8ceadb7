/** Logs out in the browser; see logout.d.ts. What follows the login of an open page is in logout-watch.js. */
const page = globalThis.document;

// A page may load this file by two names: the first is the kit.
const kit = (globalThis[Symbol.for("logout-middleware")] ??= {
  options: {
    base: /^(http.*)\/logout(\.\w+)?\.js/.exec(import.meta.url)?.[1] ?? "/auth",
    timeout: 5000,
    channel: "logout-middleware",
    localStorage: [],
    sessionStorage: [],
    cookies: [],
  },
  known: {}, // the last answer of /auth/session
  turn: 0, // of the newest question; older answers are out of date
  endedAt: 0,
  connection: "off",

  configure(options) {
    Object.assign(kit.options, options);
    kit.changed?.(true);
  },

  /** One at a time; ending the other logins keeps nobody from ending this one. */
  logout({ scope = kit.options.scope, ...order } = {}) {
    return scope === "others" ? perform({ scope, ...order }) : (kit.running ??= perform({ scope, ...order }));
  },

  async confirmLogout(order = {}) {
    const { question = "Log out?", yes, no } = { ...kit.options.texts, ...order.texts };
    const { confirm = ask } = { ...kit.options, ...order };
    const isSure = await (async () => confirm(question, yes, no))().catch(() => false);
    return isSure ? kit.logout(order) : null;
  },

  onLogout(listener) {
    const listen = ({ detail }) => listener(detail);
    globalThis.addEventListener?.("auth.logout", listen);
    return () => globalThis.removeEventListener?.("auth.logout", listen);
  },

  async session({ fresh } = {}) {
    if (!fresh && "authenticated" in kit.known) return kit.known;
    return (await refresh()) ?? { authenticated: false, ...kit.known, unknown: true };
  },

  // Lent to logout-watch.js
  attempt, call, clean, ended, fire, open, post, read, refresh, request, tell,
});

export const { configure, logout, confirmLogout, onLogout, session } = kit;
export let connection = kit.connection;

/** What a browser may refuse, such as storage, must not stop a logout. */
function attempt(action) {
  try {
    return action();
  } catch {
    return undefined;
  }
}

function fire(name, detail) {
  return dispatchEvent(new CustomEvent(`auth.${name}`, { detail, cancelable: true }));
}

// ---- The server

/** A token, from the function or the storage key that the page named. */
async function read(source) {
  try {
    if (typeof source !== "function") return source && (localStorage.getItem(source) ?? sessionStorage.getItem(source));
    return await Promise.race([source(), new Promise((resolve) => setTimeout(resolve, kit.options.timeout))]);
  } catch {
    return undefined;
  }
}

async function request(path, { token, headers, ...init } = {}) {
  token ??= await read(kit.options.accessToken);
  return fetch(new URL(`${kit.options.base}/${path}`, location.origin), {
    credentials: "include",
    cache: "no-store",
    signal: AbortSignal.timeout(kit.options.timeout),
    headers: { Accept: "application/json", ...headers, ...(token && { Authorization: `Bearer ${token}` }) },
    ...init,
  });
}

/** The answer's members and status; 0 if there is none. */
async function call(path, init) {
  try {
    const answer = await request(path, init);
    return { ...(await answer.json().catch(() => {})), status: answer.status };
  } catch {
    return { status: 0 };
  }
}

/** Ask who is logged in, and act on it; undefined if that cannot be known. */
async function refresh() {
  const turn = ++kit.turn;
  const answer = await call("session");
  if (kit.pending) return (await kit.retry?.(answer)) ? refresh() : undefined;
  if (!("authenticated" in answer)) return undefined;
  if (turn === kit.turn && !kit.running) kit.learn?.(answer);
  return answer;
}

// ---- Logging out

async function perform({ scope, redirect, reason = "logout", token, refreshToken }) {
  const { options } = kit;
  const order = { ...kit.known, scope };
  order.token = token ?? (await read(options.accessToken)) ?? "";
  order.refreshToken = refreshToken ?? (await read(options.refreshToken)) ?? undefined;
  const signal = AbortSignal.timeout(options.timeout);
  let result = await post(order, { signal });
  if (result.offline && !signal.aborted) result = await post(order, { signal });
  result.reason = reason;
  if (!result.ok && !result.offline) {
    console.warn(`The server refused the logout (${result.status}); the login may still be alive.`);
  }
  if (scope === "others") return result;
  const isLeaving = page && ended({ ...result, local: true }, redirect);
  if (page && result.offline) postpone({ ...order, to: isLeaving && kit.leadsTo });
  // The page can be clicked while the next one loads.
  if (isLeaving) setTimeout(() => (kit.running = null), options.timeout);
  else kit.running = null;
  return result;
}

async function post({ scope, token, refreshToken }, init) {
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify({ scope, refreshToken });
  const answer = await call("logout", { method: "POST", keepalive: true, token, headers, body, ...init });
  const { status, message, revoked = null, redirect_to, redirectTo = redirect_to, provider } = answer;
  // A proxy's page says 200, too.
  let ok = status === 204 || (status < 300 && typeof message === "string");
  const offline = !ok && (status < 400 || status >= 500);
  // Over its limit the server still ends what it can verify.
  if (status === 429 && kit.known.authenticated) ok = (await call("session", { token })).authenticated === false;
  return { ok, pending: status === 202, offline, revoked, status, redirectTo, provider };
}

/** This browser is logged out, whoever did it. True if the page is being left. */
function ended(detail, redirect) {
  // The server, another tab and the next question tell of the same logout.
  if (!detail.local && Date.now() - kit.endedAt < kit.options.timeout) return kit.isLeaving;
  detail.session = kit.known;
  kit.known = { authenticated: false };
  kit.turn++;
  kit.endedAt = Date.now();
  clean();
  attempt(() => localStorage.setItem("logout.ended", kit.endedAt));
  const mayLeave = fire("logout", detail);
  fire("statusChange", kit.known);
  fire("sessionChange", kit.known);
  if (!detail.relayed) tell({ type: "logout", detail, redirect: typeof redirect === "function" ? undefined : redirect });
  kit.changed?.(true);
  return (kit.isLeaving = mayLeave && go(redirect, detail));
}

function clean() {
  const { accessToken, refreshToken, cookies, ...options } = kit.options;
  for (const name of ["localStorage", "sessionStorage"]) {
    attempt(() => {
      if (options[name] === "*") window[name].clear();
      else [...options[name], accessToken, refreshToken].forEach((key) => key && window[name].removeItem(key));
    });
  }
  // Where a cookie was set cannot be seen: it is deleted from here upwards, but not for "com".
  const paths = location.pathname.split("/").map((_, index, all) => all.slice(0, index + 1).join("/"));
  const names = location.hostname.split(".").map((_, index, all) => `; Domain=${all.slice(index).join(".")}`);
  const hosts = names.filter((each) => /\..*[a-z]/.test(each));
  for (const name of cookies)
    for (const path of [...paths, ...paths.map((each) => `${each}/`)])
      for (const host of ["", ...hosts])
        for (const kind of ["", "; Secure", "; Secure; Partitioned"])
          page.cookie = `${name}=; Max-Age=0; Path=${path}${host}${kind}`;
}

/** Note whose login the server was not told of, and where the next page is, so that no newer login is ended. */
function postpone(order) {
  console.warn("The server could not be told of the logout; this will be tried again.");
  kit.pending = order;
  const note = JSON.stringify({ ...order, at: Date.now() }, ["sub", "sid", "expires_at", "scope", "to", "at"]);
  attempt(() => sessionStorage.setItem("logout.pending", note));
  kit.changed?.();
}

// ---- Where to go

function onSite(target) {
  const url = attempt(() => new URL(target, location.origin));
  return url?.href.startsWith(`${location.origin}/`) ? url : undefined;
}

/** A path of this site, or what begins with http(s)://; neither is "//host" or "javascript:". */
function safe(target) {
  return onSite(target) ?? (/^https?:\/\//i.test(target) ? attempt(() => new URL(target)) : undefined);
}

function go(redirect, { local, ...result }) {
  let target = typeof redirect === "function" ? attempt(() => redirect(result)) : redirect;
  target ??= kit.options.redirect ?? (local ? result.redirectTo : onSite(result.redirectTo ?? "/login"));
  if (target === false) return false;
  if (local && result.provider) target = result.redirectTo;
  if (target === true) {
    const asked = new URLSearchParams(location.search).get("redirect");
    target = (asked ? onSite(asked) : undefined) ?? result.redirectTo ?? "/";
  }
  const url = safe(target ?? "/login") ?? safe("/login");
  // Another tab that was out already and shows the login page is left in peace.
  if (!local && !result.session.authenticated && url.pathname === location.pathname) return false;
  kit.leadsTo = url.origin + url.pathname;
  location.replace(url);
  // Another part of the same page is shown at once.
  return !url.hash || location.href !== url.href || undefined;
}

// ---- Asking first

/** A modal question; true for yes. */
export function ask(question, yes = "Log out", no = "Cancel", root = page.body) {
  const make = (tag, part, textContent) => Object.assign(page.createElement(tag), { part, textContent });
  const dialog = make("dialog", "dialog", "");
  const buttons = [make("button", "cancel", no), make("button", "confirm", yes)];
  for (const button of buttons) button.onclick = () => dialog.close(`${button.part}`);
  dialog.ariaLabel = question;
  dialog.append(make("p", "question", question), ...buttons);
  root.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.onclose = () => {
      dialog.remove();
      resolve(dialog.returnValue === "confirm");
    };
  });
}

// ---- Other tabs

function tell(message) {
  attempt(() => kit.channel.postMessage(message));
}

function heard({ data }) {
  if (data.type === "login") refresh();
  if (data.type !== "logout" || kit.running) return;
  ended({ ...data.detail, local: false, relayed: true }, data.redirect);
}

function open() {
  kit.channel = attempt(() => new BroadcastChannel(kit.options.channel)) ?? null;
  kit.channel?.addEventListener("message", heard);
}

function start() {
  if (kit.channel !== undefined) return;
  open();
  // Without it a logout works all the same.
  import("./logout-watch.js").then(({ watch }) => watch(kit)).catch(() => {});
}

if (page) {
  addEventListener("auth.connectionChange", ({ detail }) => (connection = detail.connection));
  // In the body anybody may have written it, and no other site gets a token.
  const { base, ...given } = attempt(() => JSON.parse(page.head.querySelector("meta[name=logout]").content)) ?? {};
  Object.assign(kit.options, given, base && onSite(base) && { base });
  // After the page's own modules, so that they can configure first.
  for (const type of ["DOMContentLoaded", "load"]) addEventListener(type, start);
  if (page.readyState === "complete") setTimeout(start);
}
