// Goes wrong in the way that the address names.
const ways = {
  throw: () => setTimeout(() => { throw new Error("thrown on purpose"); }),
  reject: () => { Promise.reject(new Error("rejected on purpose")); },
  console: () => console.error("said on purpose"),
  csp: () => document.documentElement.setAttribute("style", "color: red"),
  load: () => document.head.append(Object.assign(document.createElement("script"), { src: "/nothing.js" })),
};
ways[location.hash.slice(1)]();
