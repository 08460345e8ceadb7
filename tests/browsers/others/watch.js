// The first script of each page: notes what goes wrong on it, and what the kit tells.
// The notes are in window.name: it outlives a page, belongs to this tab alone, and is no storage that a logout clears.
{
  const note = (what, text) => {
    window.name = JSON.stringify([...JSON.parse(window.name || "[]"), [what, String(text)]]);
  };

  addEventListener("error", ({ message, target }) => note("error", message ?? `${target.src ?? target.href} did not load`), true);
  addEventListener("unhandledrejection", ({ reason }) => note("rejection", reason));
  document.addEventListener("securitypolicyviolation", ({ violatedDirective, blockedURI, sourceFile, lineNumber }) =>
    note("csp", `${violatedDirective} ${blockedURI} at ${sourceFile}:${lineNumber}`));
  for (const method of ["error", "warn"]) {
    const own = console[method];
    console[method] = (...words) => {
      note(`console.${method}`, words.join(" "));
      own.apply(console, words);
    };
  }

  const names = ["auth.logout", "auth.statusChange", "auth.sessionChange", "auth.expiring"];
  for (const name of names) addEventListener(name, ({ detail }) => note(name, JSON.stringify(detail)));

  // What a person sees of a page that comes back out of the back/forward cache: its first frame.
  addEventListener("pageshow", ({ persisted }) => {
    if (persisted) requestAnimationFrame(() => note("back", document.body.checkVisibility() ? "shown" : "hidden"));
  });
}
