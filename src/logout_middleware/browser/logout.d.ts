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

export interface Options {
  /** Where the endpoints are. Default: the folder of this module's own address, else "/auth". */
  base?: string;
  /** Where to go after a logout. Default: where the server says, else "/login". */
  redirect?: Redirect;
  /** What a logout ends where the call does not say; the default is the server's. */
  scope?: Scope;
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
   * A page can see where a link, a form, a script, or F5 leads, but not the browser's own reload button or an address that
   * is typed: in the last tab these look like its end. Only in browsers with the Navigation API.
   */
  onClose?: boolean;
  /** Milliseconds that the server has for its answer. Default: 5000. */
  timeout?: number;
  /** The name of the BroadcastChannel; two applications of one origin with logins of their own need two. */
  channel?: string;
  /** Asks the question of `confirmLogout` instead of the built-in dialog. */
  confirm?: (question: string) => boolean | Promise<boolean>;
  /** The texts of the built-in dialog. */
  texts?: Texts;
}

/** May be called at any time, also again; `<meta name="logout" content='{…}'>` gives the same options as JSON. */
export function configure(options: Options): void;

export interface LogoutResult {
  /** Did the server end the login? (Whatever it says, this browser is cleaned up.) */
  ok: boolean;
  /** The server wrote it down, and it is in force on one host until its store is back. */
  pending: boolean;
  /** The server was away or failed; the logout is tried again, and never ends a newer login. */
  offline: boolean;
  /** What the server ended, where it says so. */
  revoked: { tokens: number; sessions: number; connections: number } | null;
  /** Where the server would go. */
  redirectTo?: string;
  /** The status of the answer; 0 without one. */
  status: number;
  reason: string;
}

export interface LogoutOptions {
  scope?: Scope;
  /** Overrides `configure({redirect})`. A function gets the result and returns a target. */
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
 * Never rejects. A call while another one runs gets the same promise. `preventDefault()` on `auth.logout` stays.
 */
export function logout(options?: LogoutOptions): Promise<LogoutResult>;

export interface ConfirmOptions extends LogoutOptions {
  confirm?: (question: string) => boolean | Promise<boolean>;
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
