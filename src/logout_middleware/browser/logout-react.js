/** React hooks over logout.js. React comes from the page; what each hook gives is in logout-react.d.ts. */
import * as kit from "./logout.js";

// It is the page's, not a component's: one logout runs at a time, and everybody on the page is out after it.
const unknown = { session: null, isKnown: false, connection: "off", isLoading: false, error: null };
let state = unknown;
let turn = 0;
const listeners = new Set();

function show(changes) {
  state = { ...state, ...changes };
  listeners.forEach((listener) => listener());
}

async function refresh() {
  const mine = ++turn;
  const session = await kit.session();
  // What happened meanwhile is newer than this answer.
  if (mine === turn) show({ session, isKnown: true });
}

function changed({ detail }) {
  turn++;
  show({ session: detail, isKnown: true });
}

const heard = {
  "auth.statusChange": changed,
  "auth.sessionChange": changed,
  "auth.connectionChange"() {
    show({ connection: kit.connection });
    // The server is there again, or was never asked with success.
    if (!state.session || state.session.unknown) refresh();
  },
};

function subscribe(listener) {
  if (!listeners.size) {
    for (const type in heard) addEventListener(type, heard[type]);
    // Between the last component and this one much may have happened.
    state = { ...state, connection: kit.connection };
    refresh();
  }
  listeners.add(listener);
  return () => {
    listeners.delete(listener);
    if (!listeners.size) for (const type in heard) removeEventListener(type, heard[type]);
  };
}

async function run(options) {
  show({ isLoading: true, error: null });
  const result = await kit.logout(options);
  show({ isLoading: false, error: result.ok ? null : failure(result) });
  return result;
}

function failure(result) {
  const why = result.status ? `the server answered ${result.status}` : "the server could not be reached";
  return Object.assign(new Error(`Logged out in this browser, but ${why}`), { result });
}

function hooks({ createContext, createElement, useCallback, useContext, useMemo, useSyncExternalStore }) {
  const Context = createContext(null);
  const now = () => state;
  const onServer = () => unknown;
  const useState = () => useSyncExternalStore(subscribe, now, onServer);

  function useLogout(defaults) {
    const { isLoading, error } = useState();
    // `onClick={logout}` hands over an event, which has no member with the name of an option.
    const logout = useCallback((options) => run({ ...defaults, ...options }), [defaults]);
    return { logout, isLoading, error };
  }

  function AuthProvider({ children }) {
    const { session, isKnown, connection } = useState();
    const { logout } = useLogout();
    const value = useMemo(() => {
      // What cannot be known is not "logged out".
      const isLoading = !isKnown || session?.unknown === true;
      return { session, isAuthenticated: session?.authenticated === true, isLoading, logout, connection };
    }, [session, isKnown, connection, logout]);
    return createElement(Context.Provider, { value }, children);
  }

  function useAuth() {
    const value = useContext(Context);
    if (!value) throw new Error("useAuth() needs an <AuthProvider> above it");
    return value;
  }

  return { AuthProvider, useAuth, useLogout };
}

const made = new WeakMap();

/** The same hooks for the same React, so that every file of an application can call it. */
export function createHooks(React) {
  if (!made.has(React)) made.set(React, hooks(React));
  return made.get(React);
}

function own() {
  if (globalThis.React) return createHooks(globalThis.React);
  throw new Error("logout-react.js finds no globalThis.React; call createHooks(React) instead");
}

export const AuthProvider = (props) => own().AuthProvider(props);
export const useAuth = () => own().useAuth();
export const useLogout = (defaults) => own().useLogout(defaults);
