/**
 * Types of logout-react.js: React hooks for logging out, with the React of the page.
 *
 * ```js
 * import * as React from "react";
 * import { createHooks } from "/auth/logout-react.js";
 *
 * export const { AuthProvider, useAuth, useLogout } = createHooks(React);
 *
 * function LogoutButton() {
 *   const { logout, isLoading, error } = useLogout();
 *   return <button onClick={logout} aria-busy={isLoading}>Log out</button>;
 * }
 * ```
 */
import type { Connection, LogoutOptions, LogoutResult, Session } from "./logout.js";

/** The server did not end the login; this browser is logged out all the same. */
export interface LogoutError extends Error {
  result: LogoutResult;
}

/** Never rejects. An event in the place of the options is taken for none, so `onClick={logout}` is right. */
export type Logout = (options?: LogoutOptions | { nativeEvent: unknown }) => Promise<LogoutResult>;

export interface LogoutHook {
  logout: Logout;
  /** True from the call to its end, in every component: one logout runs at a time on a page. */
  isLoading: boolean;
  /** Why the last logout on this page is known to this browser alone; null if it is not. */
  error: LogoutError | null;
}

export interface Auth {
  /** The last known session; null until it is known. With `unknown`, the server could not be asked. */
  session: Session | null;
  isAuthenticated: boolean;
  /** True until it is known whether somebody is logged in, also while the server cannot say. */
  isLoading: boolean;
  logout: Logout;
  connection: Connection;
}

export interface Hooks {
  /** Gives `useAuth` to what stands in it. */
  AuthProvider(props: { children?: any }): any;
  /** Who is logged in, and every change of it, wherever it was made. Throws without an `AuthProvider` above. */
  useAuth(): Auth;
  /** Works anywhere. `defaults`: options of every call. */
  useLogout(defaults?: LogoutOptions): LogoutHook;
}

/** What is used of React, 18 or newer. */
export interface ReactLike {
  createContext: any;
  createElement: any;
  useCallback: any;
  useContext: any;
  useMemo: any;
  useSyncExternalStore: any;
}

export function createHooks(React: ReactLike): Hooks;

/** The hooks of `globalThis.React`; they throw where there is none. */
export const AuthProvider: Hooks["AuthProvider"];
export const useAuth: Hooks["useAuth"];
export const useLogout: Hooks["useLogout"];
