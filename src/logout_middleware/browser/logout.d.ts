/**
 * Types of logout.js, the browser's side of logging out.
 *
 * ```html
 * <meta name="logout" content='{"redirect": "/bye", "localStorage": ["cart"]}'>
 * <script type="module" src="/auth/logout.js"></script>
 * ```
 *
 * Importing it is enough: this tab then follows the login of its browser. It learns of a logout that another tab or
 * another device made, cleans up, tells the page by three events on `window`, and goes to the login page. After the page
 * it loads logout-watch.js, which lies beside it and has nothing of its own to call.
 *
 * The server needs a key or a cookie secret to know who is logged in. Without one the kit logs out, and that is all: its
 * tabs learn of no logout elsewhere and of no end.
 */

/** Where to go: an address of http(s) or a path of this site; `false` stays; `true` takes the page's `?redirect=`. */
export type Redirect = string | boolean;

/** A token: the key under which it lies in localStorage or sessionStorage, or a function that returns it. */
export type TokenSource = string | (() => string | null | undefined | Promise<string | null | undefined>);

export type Scope = "local" | "others" | "global";

export interface Texts {
  /** Default: "Log out?" */
  question?: string;
  /** Default: "Log out" */
  yes?: string;
  /** Default: "Cancel" */
  no?: string;
}

/** Asks this question; `yes` and `no` are the words for its answers, where the page has some. */
export type Confirm = (question: string, yes?: string, no?: string) => boolean | Promise<boolean>;

export interface Options {
  /**
   * Where the endpoints are. Default: the folder of this module's own address, else "/auth". Another site can only be
   * named by `configure`, not by the `<meta>`.
   */
  base?: string;
  /**
   * Where to go after a logout. Default: where the server says, else "/login". `false` leaves it to the page to take away
   * what is private, also where it comes back out of the back/forward cache: it is then shown again as soon as its
   * listeners of `auth.logout` were told. `preventDefault()` on that event does the same.
   */
  redirect?: Redirect;
  /** What a logout ends where the call does not say; the default is the server's. */
  scope?: Exclude<Scope, "others">;
  /** Sent as `Authorization: Bearer`. A storage key is also deleted at the logout. */
  accessToken?: TokenSource;
  /** Sent in the body. A storage key is also deleted at the logout. */
  refreshToken?: TokenSource;
  /** Keys that are deleted at a logout. */
  localStorage?: string[];
  /** Keys that are deleted at a logout; "*" clears all of it. */
  sessionStorage?: string[] | "*";
  /** Names of cookies that scripts can read, deleted at this host, its parent domains, and every parent path. */
  cookies?: string[];
  /** Seconds without a key, click, touch or scroll in any tab after which this browser logs out. Default: none. */
  idle?: number;
  /** How many seconds before an end `auth.expiring` is dispatched. Default: 60. */
  warn?: number;
  /** Hold one event stream a browser, so that a logout elsewhere is known at once. Default: true. */
  push?: boolean;
  /** Seconds between questions where there is no stream; only while a tab is visible. Default: 5. */
  poll?: number;
  /**
   * Log out when the last tab of the site is closed. Default: what the server says (`LOGOUT_ON_BROWSER_CLOSE`).
   *
   * A page can see where a link, a form, a script, or F5 leads within this site. In the last tab anything else counts as
   * closing it: an address that is typed, the browser's own reload button, and a link to another site. Only in browsers
   * with the Navigation API.
   */
  onClose?: boolean;
  /** Milliseconds that the server has for its answer. Default: 5000. */
  timeout?: number;
  /** The name of the BroadcastChannel; two applications of one origin with logins of their own need two. */
  channel?: string;
  /** Asks the question of `confirmLogout` instead of the built-in dialog. */
  confirm?: Confirm;
  /** The texts of the built-in dialog. */
  texts?: Texts;
}

/** May be called at any time, also again; `<meta name="logout" content='{…}'>` gives the same options as JSON. */
export function configure(options: Options): void;

export interface LogoutResult {
  /**
   * Did the server end the login? (Whatever it says, this browser is cleaned up.) True for a 204, or a 2xx with a text
   * `message`, as the server sends it; and for a 429 where a login was known and is over.
   */
  ok: boolean;
  /** The server wrote it down, and it is in force on one host until its store is back. */
  pending: boolean;
  /**
   * The server was away or failed, or something else answered in its place, such as a proxy's page. The logout is tried
   * again, and never ends a newer login: it must be the same user, session and end. Old tokens of another login are then
   * sent alone, and end nothing but themselves.
   */
  offline: boolean;
  /** What the server ended, where it says so. */
  revoked: { tokens: number; sessions: number; connections: number } | null;
  /** Where the server would go. */
  redirectTo?: string;
  /** That is where the provider's session ends (OpenID Connect), and comes before any `redirect` but `false`. */
  provider?: boolean;
  /** The status of the answer; 0 without one. */
  status: number;
  reason: string;
}

export interface LogoutOptions {
  /** "others": this browser stays logged in, and nothing but the promise tells of it; it is not tried again. */
  scope?: Scope;
  /** Overrides `configure({redirect})`. A function gets the result. */
  redirect?: Redirect | ((result: LogoutResult) => Redirect | undefined);
  /** What the events say; default "logout". */
  reason?: string;
  /** The access token, instead of `configure({accessToken})`. */
  token?: string;
  refreshToken?: string;
}

/**
 * Log out: ask the server, clean up whatever it answers, dispatch `auth.logout`, `auth.statusChange` and
 * `auth.sessionChange` on `window`, tell the other tabs, and go to the next page.
 *
 * Never rejects. A call while another one runs gets the same promise. `preventDefault()` on `auth.logout` stays. A refusal
 * of the server (403, say) is told on the console, as a warning.
 */
export function logout(options?: LogoutOptions): Promise<LogoutResult>;

export interface ConfirmOptions extends LogoutOptions {
  confirm?: Confirm;
  texts?: Texts;
}

/** Ask first; null if the person said no. */
export function confirmLogout(options?: ConfirmOptions): Promise<LogoutResult | null>;

/**
 * Show a modal question under this root, without anything that a strict Content-Security-Policy forbids; true for yes.
 * Its parts for styling are `dialog`, `question`, `confirm` and `cancel`.
 */
export function ask(question: string, yes?: string, no?: string, root?: Node): Promise<boolean>;

/** The detail of `auth.logout`. A logout that was made elsewhere has a reason, and no answer of the server. */
export interface LogoutDetail extends Partial<LogoutResult> {
  reason: string;
  /** Made in this tab. */
  local?: boolean;
  /** Learned from the server: another device, an administrator, the end of the token. */
  remote?: boolean;
  /** Learned from another tab. */
  relayed?: boolean;
  /** The login that ended, where it was known. */
  session: Session | null;
}

/** Called for every logout that this tab learns of, whoever made it. Returns what unsubscribes. */
export function onLogout(listener: (detail: LogoutDetail) => void): () => void;

export interface Session {
  authenticated: boolean;
  sub?: string | null;
  sid?: string | null;
  /** RFC 3339 */
  expires_at?: string | null;
  idle_expires_at?: string | null;
  ends_on_close?: boolean;
  /** The server could not be asked: this is the last that was known. */
  unknown?: true;
}

/** The last known session. It is asked for where none is known, and with `fresh`. Never rejects. */
export function session(options?: { fresh?: boolean }): Promise<Session>;

export type Connection = "live" | "polling" | "offline" | "off";

/** How this browser follows the server; every change is dispatched as `auth.connectionChange`. */
export let connection: Connection;

export interface ExpiringDetail {
  reason: "expired" | "idle";
  seconds: number;
  /** RFC 3339 */
  expires_at: string;
}

declare global {
  interface WindowEventMap {
    "auth.logout": CustomEvent<LogoutDetail>;
    "auth.statusChange": CustomEvent<Session>;
    "auth.sessionChange": CustomEvent<Session>;
    "auth.expiring": CustomEvent<ExpiringDetail>;
    "auth.connectionChange": CustomEvent<{ connection: Connection }>;
  }
}
