/* An application as its author would write it: who is logged in, and buttons of its own. */
import { configure } from "/auth/logout.js";
import * as module from "/auth/logout-react.js";
import { React, createRoot, renderToString } from "/vendor/react.js";

const { AuthProvider, useAuth, useLogout } = module.createHooks(React);
const element = React.createElement;
const stay = { redirect: false };

configure({ redirect: "/login" });
// Everything that was shown, in this order.
window.shown = [];

function Who() {
  const auth = useAuth();
  const { session, isAuthenticated, isLoading } = auth;
  const text = isLoading ? "asking" : isAuthenticated ? `in as ${session.sub}` : "out";
  Object.assign(window, { auth });
  window.shown.push(text);
  return element("output", { "aria-label": "Login" }, text);
}

function Leave({ label }) {
  const hook = useLogout(stay);
  const { logout, isLoading, error } = hook;
  Object.assign(window, { given: hook });
  return element(
    "div",
    { id: label },
    // The event is handed over, as in most applications.
    element("button", { type: "button", onClick: logout, "aria-busy": isLoading, "aria-disabled": isLoading }, label),
    element("p", { role: "alert" }, error ? error.message : ""),
  );
}

function Everywhere() {
  const { logout } = useAuth();
  return element("button", { type: "button", id: "members", onClick: () => logout({ scope: "global" }) }, "Everywhere");
}

// In strict mode React mounts everything twice, which finds effects that are not undone.
const application = element(
  React.StrictMode,
  null,
  element(
    AuthProvider,
    null,
    element(Who),
    element(Leave, { label: "Leave" }),
    element(Leave, { label: "Go" }),
    element(Everywhere),
  ),
);

function mount() {
  const root = createRoot(document.querySelector("#root"));
  root.render(application);
  window.unmount = () => root.unmount();
}

/** The message of what is thrown. */
function thrown(action) {
  try {
    return action();
  } catch (error) {
    return error.message;
  }
}

function Global() {
  const { isAuthenticated } = module.useAuth();
  const { isLoading } = module.useLogout();
  return `${isAuthenticated ? "in" : "out"}, ${isLoading ? "busy" : "idle"}`;
}

Object.assign(window, {
  React,
  createHooks: module.createHooks,
  mount,
  outside: () => thrown(() => renderToString(element(Who))),
  renderedOnServer: () => renderToString(application),
  withoutReact() {
    delete window.React;
    return thrown(() => module.useLogout());
  },
  renderWithGlobalReact() {
    window.React = React;
    const place = document.createElement("p");
    place.id = "global";
    document.querySelector("main").append(place);
    createRoot(place).render(element(module.AuthProvider, null, element(Global)));
  },
});
mount();
