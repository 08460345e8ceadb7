// A remote control for browsers: one JSON command in each line of the input, one JSON answer in each line of the output.
//
//   {"id": 1, "do": "open", "profile": 2}  ->  {"id": 1, "value": 3}  or  {"id": 1, "error": "..."}
//
// `node drive.mjs <a file beside the npm packages> firefox|webkit <JSON: what to start>`. Firefox is driven by
// puppeteer-core (WebDriver BiDi); WebKitGTK by selenium-webdriver, through WebKitWebDrivers that the caller started.
// The browsers end with the input, so they do not outlive whoever holds its other end.

import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const [packages, kind, given] = process.argv.slice(2);
const options = JSON.parse(given);
const require = createRequire(packages);
const ANSWER_MS = 30_000;
const PROFILE_MS = 10_000; // Shorter, because the caller can try again.
const LOOK_AGAIN_MS = 20;

const source = (script, argument) => `(${script})(${JSON.stringify(argument ?? null)})`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** One Firefox; a profile is a container with cookies and storage of its own. */
class Firefox {
  static async start() {
    const { launch } = require("puppeteer-core").default ?? require("puppeteer-core");
    return new Firefox(await launch({ browser: "firefox", headless: true, ...options }));
  }

  constructor(browser) {
    this.browser = browser;
  }

  newProfile() {
    return this.browser.createBrowserContext();
  }

  async newTab(profile) {
    const page = await profile.newPage();
    const tab = { page, errors: [] };
    // Not "pageerror": Firefox's warnings come as that, too.
    page.mainFrame().browsingContext.on("log", ({ entry }) => {
      if (entry.type === "javascript" && entry.level === "error") tab.errors.push(entry.text);
    });
    return tab;
  }

  go({ page }, url) {
    return page.goto(url);
  }

  evaluate({ page }, script, argument) {
    return page.evaluate(source(script, argument));
  }

  async click({ page }, { x, y }) {
    await page.bringToFront();
    await page.mouse.click(x, y);
  }

  async press({ page }, keys) {
    await page.bringToFront();
    for (const key of keys) await page.keyboard.press(key === "Space" ? " " : key);
  }

  back({ page }) {
    // Not goBack(): it waits for a load, and a page out of the back/forward cache has loaded long ago.
    return page.mainFrame().browsingContext.traverseHistory(-1);
  }

  async url({ page }) {
    // A page out of the back/forward cache is not told to puppeteer, which would name the page before.
    return page.evaluate("location.href").catch(() => page.url());
  }

  async cookies(profile) {
    return (await profile.cookies()).map(({ name, value, httpOnly }) => ({ name, value, httpOnly }));
  }

  closeTab({ page }) {
    return page.close();
  }

  closeProfile(profile) {
    return profile.close();
  }

  stop() {
    return this.browser.close();
  }
}

/** A MiniBrowser for each profile. */
class WebKit {
  static async start() {
    return new WebKit(require("selenium-webdriver"));
  }

  constructor(selenium) {
    this.selenium = selenium;
    this.drivers = new Set();
  }

  async newProfile({ server, browserArguments }) {
    const driver = await new this.selenium.Builder()
      .usingServer(server)
      .withCapabilities({
        browserName: "MiniBrowser",
        "webkitgtk:browserOptions": { binary: options.binary, args: ["--automation", ...browserArguments] },
      })
      .build();
    await driver.manage().setTimeouts({ script: ANSWER_MS, pageLoad: ANSWER_MS });
    this.drivers.add(driver);
    return { driver, shown: null, fresh: true };
  }

  async newTab(profile) {
    // A MiniBrowser starts with one tab. It keeps others in the background, where no click arrives: so, a window.
    if (!profile.fresh) await profile.driver.switchTo().newWindow("window");
    profile.fresh = false;
    profile.shown = await profile.driver.getWindowHandle();
    return { profile, handle: profile.shown, errors: [] };
  }

  async #show({ profile, handle }) {
    if (profile.shown !== handle) await profile.driver.switchTo().window(handle);
    profile.shown = handle;
    return profile.driver;
  }

  async go(tab, url) {
    await (await this.#show(tab)).get(url);
  }

  async evaluate(tab, script, argument) {
    const body = `const done = arguments[0];
      (async () => ${source(script, argument)})().then((value) => done({ value }), (error) => done({ error: String(error) }));`;
    const answer = await (await this.#show(tab)).executeAsyncScript(body);
    if (answer.error) throw new Error(answer.error);
    return answer.value;
  }

  async click(tab, { x, y }) {
    const driver = await this.#show(tab);
    await driver.actions({ async: true }).move({ x, y, origin: "viewport" }).click().perform();
  }

  async press(tab, keys) {
    const driver = await this.#show(tab);
    const { Key } = this.selenium;
    for (const key of keys) {
      const character = Key[key.toUpperCase()] ?? key;
      await driver.actions({ async: true }).keyDown(character).keyUp(character).perform();
    }
  }

  async back(tab) {
    await (await this.#show(tab)).navigate().back();
  }

  async url(tab) {
    return (await this.#show(tab)).getCurrentUrl();
  }

  async cookies({ driver }) {
    return (await driver.manage().getCookies()).map(({ name, value, httpOnly }) => ({ name, value, httpOnly }));
  }

  async closeTab(tab) {
    const driver = await this.#show(tab);
    const [other] = (await driver.getAllWindowHandles()).filter((each) => each !== tab.handle);
    await driver.close();
    if (other) await driver.switchTo().window(other);
    tab.profile.shown = other;
  }

  async closeProfile({ driver }) {
    this.drivers.delete(driver);
    await driver.quit();
  }

  async stop() {
    await Promise.allSettled([...this.drivers].map((driver) => driver.quit()));
  }
}

const numbered = new Map();
let last = 0;

/** Hands the thing out as a number. */
function number(thing) {
  numbered.set(++last, thing);
  return last;
}

function named(id) {
  if (!numbered.has(id)) throw new Error(`nothing here has the number ${id}`);
  return numbered.get(id);
}

function forget(id) {
  const thing = named(id);
  numbered.delete(id);
  return thing;
}

/** The first value of the script that is true. Between two pages there is none, and a script may fail. */
async function awaited(browser, tab, { script, argument, seconds }) {
  const deadline = Date.now() + seconds * 1000;
  let trouble = "";
  do {
    try {
      const value = await browser.evaluate(tab, script, argument);
      if (value) return value;
    } catch (error) {
      trouble = error;
    }
    await pause(LOOK_AGAIN_MS);
  } while (Date.now() < deadline);
  throw new Error(`waited ${seconds} s in vain at ${await browser.url(tab)} for ${script} ${trouble}`);
}

const commands = {
  profile: async (browser, command) => number(await browser.newProfile(command)),
  tab: async (browser, { profile }) => number(await browser.newTab(named(profile))),
  go: (browser, { tab, url }) => browser.go(named(tab), url),
  evaluate: (browser, { tab, script, argument }) => browser.evaluate(named(tab), script, argument),
  wait: (browser, command) => awaited(browser, named(command.tab), command),
  click: (browser, { tab, at }) => browser.click(named(tab), at),
  press: (browser, { tab, keys }) => browser.press(named(tab), keys),
  back: (browser, { tab }) => browser.back(named(tab)),
  url: (browser, { tab }) => browser.url(named(tab)),
  errors: (browser, { tab }) => named(tab).errors,
  cookies: (browser, { profile }) => browser.cookies(named(profile)),
  closeTab: (browser, { tab }) => browser.closeTab(forget(tab)),
  closeProfile: (browser, { profile }) => browser.closeProfile(forget(profile)),
};

/** The value, or an error if the command hangs. */
async function inTime(promise, milliseconds) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`took longer than ${milliseconds} ms`)), milliseconds);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

const say = (answer) => process.stdout.write(`${JSON.stringify(answer)}\n`);

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const browser = await (kind === "firefox" ? Firefox : WebKit).start();
say({ id: 0, value: "ready" });
for await (const line of lines) {
  const command = JSON.parse(line);
  try {
    const value = await inTime(commands[command.do](browser, command), command.do === "profile" ? PROFILE_MS : ANSWER_MS);
    say({ id: command.id, value: value ?? null });
  } catch (error) {
    say({ id: command.id, error: `${command.do}: ${error.message ?? error}` });
  }
}
await Promise.race([browser.stop(), pause(5_000)]);
process.exit(0);
