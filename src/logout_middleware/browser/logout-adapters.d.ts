/**
 * Types of logout-adapters.js: the kit under the names of two SDKs, for pages that call those already.
 *
 * ```js
 * import { Userfront } from "/auth/logout-adapters.js";
 * Userfront.init("abcdefg");
 * Userfront.logout({ redirect: "/bye" });
 * ```
 *
 * ```js
 * import { VGS } from "/auth/logout-adapters.js";
 * VGS.init();
 * VGS.Event.subscribe("auth.logout", (detail) => cleanUp(detail));
 * VGS.Auth.logout();
 * ```
 */
import type { LogoutDetail, LogoutResult, Options, Redirect, Session } from "./logout.js";

export declare const Userfront: {
  /**
   * The account's id; its tokens are the cookies `access.<id>`, `id.<id>` and `refresh.<id>`, which every logout deletes.
   * The first is sent as `Authorization: Bearer`, the last in the body, where scripts can read them.
   */
  init(tenantId: string, options?: Options): void;
  /**
   * `redirect`: `false` stays, a text is where to go, `true` is the page's `?redirect=`, else where the server says, else "/".
   *
   * Unlike the original, this goes on to the next page also when the server is away.
   */
  logout(options?: { redirect?: Redirect }): Promise<LogoutResult>;
};

export interface Events {
  "auth.logout": LogoutDetail;
  "auth.statusChange": Session;
  "auth.sessionChange": Session;
}

export declare const VGS: {
  /** Like `configure`, but no tab leaves its page after a logout: where to go is up to the application. */
  init(options?: Options): void;
  Event: {
    /** The same listener twice is called once. */
    subscribe<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): void;
    unsubscribe<Name extends keyof Events>(name: Name, listener: (detail: Events[Name]) => void): void;
  };
  Auth: {
    /** Ends the login without leaving the page; the callback comes after the three events. */
    logout(callback?: (result: LogoutResult) => void): Promise<LogoutResult>;
  };
};
