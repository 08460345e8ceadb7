/** `<logout-button>`; see logout-button.d.ts. */
import { ask, confirmLogout } from "./logout.js";

// Colors are the browser's, which knows dark pages and forced colors.
const STYLE = `
:host { display: inline-block; position: relative }
:host([hidden]) { display: none }
button { width: 100%; padding: .5em 1em; border: 1px solid; border-radius: .5em; font: inherit; cursor: pointer }
:focus-visible { outline: 3px solid; outline-offset: 2px }
[aria-busy] { cursor: progress }
[aria-busy]::after { content: ""; display: inline-block; padding: .25em; margin-inline-start: .5em; border: 2px solid;
  border-right-color: #0000; border-radius: 50%; forced-color-adjust: none; animation: turn 1s linear infinite }
@keyframes turn { to { rotate: 1turn } }
@media (prefers-reduced-motion) { ::after { animation: none !important } }
[role=status] { position: absolute; width: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap }
dialog { padding: 1.5em; border-width: 1px; border-radius: .5em; text-align: start; white-space: normal }
p ~ button { width: auto; margin-inline-end: .5em }
::backdrop { background: #0008 }`;
let sheet;

export class LogoutButton extends (globalThis.HTMLElement ?? Object) {
  #states = this.attachInternals().states;
  #root = this.attachShadow({ mode: "open", delegatesFocus: true });
  #button = document.createElement("button");
  #label = document.createElement("slot");
  #status = document.createElement("span");
  #light = new MutationObserver(() => this.#name());
  #pressed = false;

  constructor() {
    super();
    if (!sheet) (sheet = new CSSStyleSheet()).replaceSync(STYLE);
    this.#root.adoptedStyleSheets = [sheet];
    this.#root.append(this.#button, this.#status);
    this.#button.append(this.#label);
    this.#button.type = this.#button.part = "button";
    this.#button.onclick = () => this.#press();
    // A press of "Cancel" is no click on this element.
    this.#root.addEventListener("click", (event) => event.target.closest("dialog") && event.stopPropagation());
    this.#status.role = this.#status.part = "status";
  }

  connectedCallback() {
    this.#name();
    this.#light.observe(this, { childList: true, characterData: true, subtree: true });
  }

  disconnectedCallback() {
    this.#light.disconnect();
    // Nobody has said yes.
    this.#root.querySelector("dialog")?.close();
  }

  click() {
    this.#button.click();
  }

  #name() {
    // No button may stand in a button: then the slot has a name that no child asks for, and shows a text.
    const fallback = this.querySelector("a, button, [type=submit]");
    this.#label.name = !fallback && (this.textContent.trim() || this.childElementCount) ? "" : "-";
    this.#label.textContent = fallback?.textContent.trim() || fallback?.ariaLabel || fallback?.value || "Log out";
  }

  async #press() {
    // It is never `disabled`, which would lose the focus.
    if (this.#pressed) return;
    this.#pressed = true;
    const given = (name) => this.getAttribute(name) || undefined;
    const redirect = given("redirect");
    await confirmLogout({
      redirect: { true: true, false: false }[redirect] ?? redirect,
      scope: given("scope"),
      reason: given("reason"),
      confirm: async (question, yes, no) => {
        if (this.hasAttribute("confirm")) {
          const words = [given("confirm") ?? question, given("text-yes") ?? yes, given("text-no") ?? no];
          const isSure = await ask(...words, this.#root);
          // Safari's click does not focus a button, so it would not give the focus back.
          this.focus();
          if (!isSure) return false;
        }
        this.#show(given("text-busy") ?? "Logging out…");
        return true;
      },
    });
    this.#show();
    this.#pressed = false;
  }

  #show(busy) {
    this.toggleAttribute("pending", !!busy);
    this.#button.ariaDisabled = this.#button.ariaBusy = busy ? "true" : null;
    this.#status.textContent = busy;
    // Older browsers, whose names of states have dashes, throw.
    if (CSS.supports("selector(:state(a))")) this.#states[busy ? "add" : "delete"]("pending");
  }
}

// Not on a server, and once where a page loads both names of this file.
const elements = globalThis.customElements;
if (!elements?.get("logout-button")) elements?.define("logout-button", LogoutButton);
