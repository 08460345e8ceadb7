/**
 * Follows the login of this browser while a page is open: loaded by logout.js, which lends it its parts (`kit`).
 *
 * Push or polling, expiry and inactivity, the back button, the last tab that is closed, and logouts to try again.
 */
const DAY = 86_400_000;
const LOGIN = ["sub", "sid", "expires_at"]; // by what it is recognized
const DEFAULTS = { warn: 60, push: true, poll: 5 };

let kit;
let shownAt; // when this page was last shown
let stop; // ends the following of this time that the page is shown
let stream; // the AbortController of the event stream
let timer; // of the next thing to do about an end
let warned; // the end that was announced
let touchedAt = 0; // when somebody last did something in this tab
let isChecking, isLeader, staysOnSite;
let denied; // the browser refuses locks, as it does where cookies are blocked
let wake = () => {};
const id = Math.random();
const others = new Set(); // the ids of the other tabs

const settings = () => ({ ...DEFAULTS, ...kit.options });
const recall = (key) => kit.attempt(() => localStorage.getItem(`logout.${key}`));
const record = (key, value) => kit.attempt(() => localStorage.setItem(`logout.${key}`, value));
const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

/** Until the time is over, or something happened that may need an answer. */
const pause = (time) => Promise.race([sleep(time), new Promise((resolve) => (wake = resolve))]);

export function watch(given) {
  kit = given;
  Object.assign(kit, { changed, learn, retry });
  kit.pending ??= noted();
  const on = (types, listener, options) => types.forEach((type) => addEventListener(type, listener, options));
  on(["pointerdown", "keydown", "scroll", "touchstart"], touched, { capture: true, passive: true });
  on(["focus", "visibilitychange", "online"], looked);
  on(["pagehide"], hidden);
  on(["pageshow"], shown);
  on(["keydown"], ({ key = "", ctrlKey, metaKey }) => {
    staysOnSite = key === "F5" || (/^r$/i.test(key) && (ctrlKey || metaKey));
  });
  globalThis.navigation?.addEventListener("navigate", ({ destination, downloadRequest }) => {
    // A download leaves the page where it is.
    if (downloadRequest == null) staysOnSite = !destination.sameDocument && new URL(destination.url).origin === location.origin;
  });
  start();
}

function start() {
  stop = new AbortController();
  shownAt = Date.now();
  kit.channel?.addEventListener("message", heard);
  kit.tell({ type: "hello", id });
  changed();
  follow(stop.signal);
  if (!isLeader) kit.refresh();
}

/** Something is different: what is known, the options, or a logout to try again. */
function changed(isOther) {
  if (isOther) {
    stream?.abort();
    wake();
  }
  // It names the login, whose end leaves nothing of it behind.
  if (kit.known.authenticated === false) kit.attempt(() => localStorage.removeItem("logout.activity"));
  check();
  retryLater();
}

/** Somebody looks at this tab, or the network is back. */
function looked() {
  wake();
  if (document.hidden) return;
  touched();
  check();
  if (!isLeader && !kit.known.authenticated) kit.refresh();
}

// ---- The end of a login: its token's, and after inactivity

/** When something was last done in any tab. The first look at a new login is that, too. */
function lastActivity(isNow) {
  const name = kit.known.sid ?? kit.known.expires_at;
  const [time, of] = kit.attempt(() => JSON.parse(recall("activity"))) ?? [];
  if (!isNow && time && of === name) return time;
  record("activity", JSON.stringify([Date.now(), name]));
  return Date.now();
}

function touched() {
  const { idle } = settings();
  if (!idle || !kit.known.authenticated || Date.now() - touchedAt < 1000) return;
  touchedAt = Date.now();
  const since = Date.now() - lastActivity();
  // A key wakes a computer that slept: too late.
  if (since >= idle * 1000) check();
  else lastActivity(true);
}

/** The end that comes first, by our clock. `isLocal`: the server does not know of it. */
function nextEnd() {
  const { idle } = settings();
  const { expires_at, idle_expires_at } = kit.known;
  return [
    { reason: "expired", at: Date.parse(expires_at) },
    { reason: "idle", at: Date.parse(idle_expires_at) },
    { reason: "idle", at: idle ? lastActivity() + idle * 1000 : NaN, isLocal: true },
  ]
    .filter(({ at }) => !Number.isNaN(at))
    .map((end) => ({ ...end, left: end.at - Date.now() }))
    .reduce((first, end) => (end.left < first.left ? end : first), { left: Infinity });
}

/** Announce an end that is near, log out at one that has come, and look again when the next thing is due. */
async function check() {
  clearTimeout(timer);
  if (!kit.known.authenticated || kit.running || isChecking) return;
  const warn = settings().warn * 1000;
  let end = nextEnd();
  let answer;
  if (end.left <= warn) {
    // It may have been prolonged; and only the server's clock says when it is over.
    isChecking = true;
    answer = await kit.refresh();
    isChecking = false;
    if (!kit.known.authenticated || kit.running) return;
    end = nextEnd();
  }
  const { at, left, reason, isLocal } = end;
  if (left <= 0 && (isLocal || !answer)) return over(end);
  if (left > 0 && left <= warn && warned !== at) {
    warned = at;
    kit.fire("expiring", { reason, seconds: Math.ceil(left / 1000), expires_at: new Date(at).toISOString() });
  }
  const again = settings().poll * 1000;
  const next = left > warn ? left - warn : left > 0 ? left : again;
  clearTimeout(timer);
  timer = setTimeout(check, Math.min(next, DAY));
}

/** The server says who is logged in. */
function learn(answer) {
  const { authenticated, sid, sub } = kit.known;
  if (answer.authenticated) kit.endedAt = 0;
  else if (authenticated) {
    const end = nextEnd();
    return end.left > 0 ? kit.ended({ reason: "ended", remote: true }) : over(end);
  }
  kit.known = answer;
  if (authenticated === false && answer.authenticated) kit.fire("statusChange", answer);
  if (authenticated !== undefined && (sid !== answer.sid || sub !== answer.sub)) kit.fire("sessionChange", answer);
  if (!authenticated && answer.authenticated) kit.tell({ type: "login" });
  changed(authenticated !== answer.authenticated || sid !== answer.sid);
}

/** Ten tabs see the same end, at the same moment: one of them tells the server, and then the others. */
function over({ at, reason }) {
  const { known } = kit;
  let isDone;
  const act = () => {
    if (isDone || kit.known !== known) return undefined;
    isDone = true;
    if (recall("over") === `${at}`) {
      timer = setTimeout(() => kit.known === known && kit.ended({ reason, relayed: true }), settings().timeout);
      return undefined;
    }
    record("over", at);
    return kit.logout({ reason });
  };
  return (navigator.locks?.request("logout.over", act) ?? Promise.reject()).catch(act);
}

// ---- Following the server: one tab leads, holds a stream or polls, and tells the others

function connect(now) {
  if (kit.connection === now) return;
  kit.connection = now;
  kit.fire("connectionChange", { connection: now });
  if (isLeader) kit.tell({ type: "here", id, now });
}

function heard({ data }) {
  if (data.type === "bye") others.delete(data.id);
  else if (data.id) others.add(data.id);
  if (data.type === "hello") kit.tell({ type: "here", id, now: isLeader ? kit.connection : undefined });
  if (data.now && !isLeader) connect(data.now);
}

async function follow(signal) {
  while (!signal.aborted) {
    if (document.hidden) await pause(DAY);
    else if (!navigator.locks || denied) await lead(signal);
    else {
      const request = navigator.locks.request("logout.lead", { signal }, () => lead(signal));
      await request.catch(() => (denied = !signal.aborted));
    }
  }
}

async function lead(signal) {
  let pushAgainAt = 0;
  isLeader = true;
  do {
    const answer = await kit.refresh();
    if (signal.aborted) break;
    const { push, poll } = settings();
    let wait = poll * 1000;
    if (!answer) connect("offline");
    else if (push && Date.now() >= pushAgainAt && (await listen(signal))) wait = 1000;
    else if (kit.known.authenticated) {
      connect("polling");
      if (Date.now() >= pushAgainAt) pushAgainAt = Date.now() + 60_000;
    } else {
      connect("off");
      wait = DAY;
    }
    // Not all browsers at once, when a server comes back.
    if (!signal.aborted) await pause(wait * (0.8 + 0.4 * Math.random()));
    // A hidden tab leaves the asking to one that is seen; a stream it would have kept.
  } while (!signal.aborted && !document.hidden);
  isLeader = false;
}

/** Hold the stream until it ends; true if there was one. (EventSource can send no token, and sees no dead line.) */
async function listen(signal) {
  const control = (stream = new AbortController());
  let isLive, alarm;
  const watchLine = () => {
    clearTimeout(alarm);
    alarm = setTimeout(() => control.abort(), 50_000); // the server says something every 20 s
  };
  try {
    watchLine();
    const answer = await kit.request("events", {
      headers: { Accept: "text/event-stream" },
      signal: AbortSignal.any([signal, control.signal]),
    });
    isLive = /^text\/event-stream/.test(answer.headers.get("Content-Type"));
    if (isLive) connect("live");
    const reader = answer.body?.pipeThrough(new TextDecoderStream()).getReader();
    for (let text = "", part; isLive && !(part = await reader.read()).done; ) {
      watchLine();
      const events = (text + part.value).split("\n\n");
      text = events.pop();
      events.forEach(received);
    }
  } catch {
    // It ended; the next question tells why.
  }
  clearTimeout(alarm);
  control.abort();
  return isLive;
}

async function received(event) {
  const [, type, data] = /^event: (.*)\ndata: (.*)/m.exec(event) ?? [];
  if (type === "auth.expiring") check();
  if (type !== "auth.logout") return;
  // The stream is as old as the login that it was opened with, and the browser may have a newer one.
  const { known } = kit;
  const { authenticated } = await kit.call("session");
  if (authenticated || kit.running || kit.known !== known) return;
  const { reason = "ended" } = kit.attempt(() => JSON.parse(data)) ?? {};
  // A refresh token may outlive what expired, so the server is told all the same.
  if (reason === "expired" || reason === "idle") over({ at: nextEnd().at ?? Date.now(), reason });
  else kit.ended({ reason, remote: true });
}

// ---- Trying again, and never on a newer login

let retrying, isWaiting;

/** The logout of the page before this one that the server did not hear of. */
function noted() {
  const note = kit.attempt(() => JSON.parse(sessionStorage.getItem("logout.pending")));
  if (!note) return null;
  const isThere = location.origin + location.pathname === note.to;
  return { ...note, isNext: !isKnown(note) && isThere && Date.now() - note.at < 60_000 };
}

const isKnown = ({ sub, sid }) => (sub ?? sid) != null;

async function retryLater() {
  if (isWaiting) return;
  isWaiting = true;
  for (let wait = 1000; kit.pending; wait = Math.min(2 * wait, 60_000)) {
    await sleep(wait);
    if (kit.pending) await kit.refresh();
  }
  isWaiting = false;
}

/** True when nothing is left to try. `answer`: who is logged in now. */
function retry(answer) {
  return (retrying ??= tryAgain(answer).finally(() => (retrying = null)));
}

async function tryAgain(answer) {
  const { pending } = kit;
  // A page that is being left leaves it to the next one.
  if (kit.running) return false;
  const { token = "", refreshToken, isNext } = pending;
  if (!("authenticated" in answer) && !isNext) return false;
  const isSame =
    answer.authenticated && (isKnown(pending) ? LOGIN.every((name) => answer[name] === pending[name]) : isNext);
  // The cookie may be of a newer login: then the old tokens go alone, and end nothing but themselves.
  if (isSame || token || refreshToken) {
    const order = { ...pending, token, scope: isSame ? pending.scope : "local" };
    const { offline } = await kit.post(order, { credentials: isSame ? "include" : "omit" });
    if (offline && !isNext) return false;
  }
  kit.pending = null;
  kit.attempt(() => sessionStorage.removeItem("logout.pending"));
  // A page that was opened meanwhile, by a cookie that was still alive, shows what is nobody's any more.
  if (isSame && pending.at) kit.ended({ reason: "logout", remote: true }, () => location.reload() ?? false);
  return true;
}

// ---- The life of a page

/** Nothing of this may keep the page out of the back/forward cache. */
async function hidden({ persisted }) {
  kit.tell({ type: "bye", id });
  kit.channel?.close();
  stop.abort();
  wake();
  // Without the Navigation API every step to the next page would look like the end.
  const isClosed = globalThis.navigation && !persisted && !staysOnSite && !others.size;
  const { onClose = kit.known.ends_on_close, scope, accessToken, refreshToken } = settings();
  if (!isClosed || !onClose || !kit.known.authenticated) return;
  const tokens = [await kit.read(accessToken), await kit.read(refreshToken)];
  kit.post({ scope, token: tokens[0] ?? "", refreshToken: tokens[1] });
  kit.clean();
}

/** A page that comes back shows nothing until it is known whose it is. */
async function shown({ persisted }) {
  if (!persisted) return;
  const root = document.documentElement;
  const { known } = kit;
  kit.running = null;
  kit.open();
  if (known.authenticated) {
    root.hidden = true;
    const { authenticated, sid, sub } = await kit.call("session");
    if (authenticated && (sid !== known.sid || sub !== known.sub)) return location.reload();
    const isOver = authenticated === undefined ? recall("ended") > shownAt : !authenticated;
    if (isOver) {
      // The page was told; it is shown again only if it, or its options, stay of their own will.
      const isLeaving = kit.ended({ reason: "ended", remote: true });
      if (isLeaving === undefined) location.reload();
      if (isLeaving !== false) return undefined;
    }
    root.hidden = false;
  }
  others.clear();
  start();
}
