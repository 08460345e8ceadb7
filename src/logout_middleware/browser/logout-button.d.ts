/**
 * `<logout-button>`: a button that logs out, for keyboard, mouse and screen reader.
 *
 * ```html
 * <script type="module" src="/auth/logout-button.js"></script>
 * <logout-button redirect="/login" confirm="Really log out?">
 *   <form method="post" action="/auth/logout"><button>Log out</button></form>
 * </logout-button>
 * ```
 *
 * Its label is what stands in it. A form, a link or a button in it is what works without script: with script, only its
 * words are shown. Several on one page are fine: whichever are pressed, one request is sent.
 */

/** What can be written on the tag. All are read when the button is pressed, so they may change at any time. */
export interface LogoutButtonAttributes {
  /** Where to go afterwards: a path or an http(s) address. "false" stays; "true" goes where the page's `?redirect=` says. */
  redirect?: string;
  /** Which logins end: this one, the user's others, or all. */
  scope?: "local" | "others" | "global";
  /** Ask first; the value is the question. */
  confirm?: string;
  /** Noted with the logout, and told to listeners. */
  reason?: string;
  /** What a screen reader says while it runs; "Logging out…". */
  "text-busy"?: string;
  /** The button of the question that logs out; "Log out". */
  "text-yes"?: string;
  /** The button of the question that does nothing; "Cancel". */
  "text-no"?: string;
}

/**
 * Style it by its parts, from any style sheet of the page: `logout-button::part(button)`, `::part(status)`,
 * `::part(dialog)`, `::part(confirm)`, `::part(cancel)`. While the logout runs, it has the attribute `pending` and the
 * state `:state(pending)`: `logout-button[pending]::part(button)`. The button is then `aria-disabled` and `aria-busy`,
 * and keeps the focus.
 */
export class LogoutButton extends HTMLElement {
  /** Press it. */
  click(): void;
}

declare global {
  interface HTMLElementTagNameMap {
    "logout-button": LogoutButton;
  }
}
