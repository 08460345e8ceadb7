"""The kit as files: how small, importable without a page, and typed."""

from __future__ import annotations

import gzip
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from .conftest import ROOT, SCRIPTS

MODULES = ROOT / ".venv/node/node_modules"


def zipped(*names: str) -> int:
    """The bytes that a browser loads."""
    return sum(len(gzip.compress((SCRIPTS / name).read_bytes(), 9)) for name in names if (SCRIPTS / name).exists())


def test_what_a_page_with_a_button_loads_first_is_below_six_kilobytes() -> None:
    """`logout.js` and `logout-button.js` as they are, comments included."""
    assert zipped("logout.js", "logout-button.js") < 6144


def test_what_follows_after_the_page_is_below_five_more() -> None:
    """`logout-watch.js`."""
    assert zipped("logout-watch.js") < 5120


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js."""
    program = shutil.which("node")
    if program is None:
        pytest.skip("node is not installed; on Debian: apt-get install nodejs")
    return program


@pytest.mark.parametrize("name", ["logout.js", "logout-watch.js", "logout-adapters.js"])
def test_importing_it_without_a_page_does_nothing(node: str, name: str) -> None:
    """On a server that renders pages: no timer, no connection, no error; the process ends."""
    script = f"""
      const {{setTimeout: timer}} = globalThis;
      globalThis.setTimeout = globalThis.fetch = () => {{ throw new Error("it did something") }};
      const kit = await import({json.dumps((SCRIPTS / name).as_uri())});
      kit.onLogout?.(() => {{}})();
      kit.configure?.({{redirect: "/bye"}});
      console.log(Object.keys(kit).join(" "));
    """

    done = subprocess.run(
        [node, "--input-type=module", "--eval", script], capture_output=True, text=True, timeout=20, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() != ""


SAMPLE = """
import {
  ask, configure, confirmLogout, connection, logout, onLogout, session,
  type Connection, type LogoutDetail, type LogoutResult, type Options, type Session,
} from "./logout.js";
import { Userfront, VGS } from "./logout-adapters.js";

const options: Options = {
  base: "/auth", redirect: false, scope: "global", accessToken: "access", refreshToken: async () => "token",
  localStorage: ["cart"], sessionStorage: "*", cookies: ["id.abc"], idle: 600, warn: 30, push: true, poll: 5,
  onClose: true, timeout: 3000, channel: "app", confirm: async (question, yes, no) => question !== yes || !no,
  texts: { question: "Leave?", yes: "Yes", no: "No" },
};
configure(options);
const stop: () => void = onLogout((detail: LogoutDetail) => console.log(detail.session?.sub, detail.remote));
stop();
const result: LogoutResult = await logout({ redirect: ({ ok }) => (ok ? "/bye" : true), reason: "lunch" });
console.log(result.revoked?.tokens, result.offline);
const confirmed: LogoutResult | null = await confirmLogout({ texts: { question: "Sure?" }, scope: "others" });
const who: Session = await session({ fresh: true });
const how: Connection = connection;
const yes: boolean = await ask("Sure?", "Yes", "No", document.body);
addEventListener("auth.logout", (event) => console.log(event.detail.reason));
addEventListener("auth.expiring", ({ detail }) => console.log(detail.seconds));
addEventListener("auth.connectionChange", ({ detail }) => console.log(detail.connection === how));
Userfront.init("abcdefg", { timeout: 1000 });
await Userfront.logout({ redirect: "/bye" });
VGS.init();
VGS.Event.subscribe("auth.logout", (detail) => console.log(detail.reason));
VGS.Event.unsubscribe("auth.sessionChange", (now) => console.log(now.authenticated));
await VGS.Auth.logout(({ ok }) => console.log(ok, confirmed, who.expires_at, yes));
"""
MISTAKES = """
import { configure, logout, onLogout } from "./logout.js";
import { VGS } from "./logout-adapters.js";
configure({ redirects: "/bye" });
logout({ scope: "everywhere" });
configure({ scope: "others" });
onLogout((detail) => detail.nothing);
VGS.Event.subscribe("auth.login", () => {});
"""


def test_the_types_fit_every_export_and_find_mistakes(node: str, tmp_path: Path) -> None:
    """A page's code that uses all of it is right; each line of the other one has a mistake."""
    compiler = MODULES / "typescript/bin/tsc"
    if not compiler.exists():
        pytest.skip("typescript is not installed; make does that")
    for each in SCRIPTS.glob("*.d.ts"):
        shutil.copy(each, tmp_path)
    (tmp_path / "sample.ts").write_text(SAMPLE)
    (tmp_path / "mistakes.ts").write_text(MISTAKES)
    options = ["--strict", "--noEmit", "--target", "es2022", "--module", "es2022", "--moduleResolution", "bundler"]
    libraries = ["--lib", "es2022,dom", "--types", ""]

    done = subprocess.run(
        [node, str(compiler), *options, *libraries, "sample.ts", "mistakes.ts"],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    places = [line.partition(",")[0] for line in done.stdout.splitlines() if "error" in line]
    assert places == [f"mistakes.ts({line}" for line in (4, 5, 6, 7, 8)], done.stdout


def test_every_export_is_typed(node: str) -> None:
    """And nothing is typed that does not exist."""
    for name in ("logout", "logout-adapters"):
        script = f"console.log(Object.keys(await import({json.dumps((SCRIPTS / f'{name}.js').as_uri())})).join(' '))"
        done = subprocess.run(
            [node, "--input-type=module", "--eval", script], capture_output=True, text=True, timeout=20, check=True
        )
        types = (SCRIPTS / f"{name}.d.ts").read_text("utf-8").splitlines()
        prefixes = ("export function ", "export let ", "export declare const ")
        typed = {
            line.removeprefix(each).split("(")[0].split(":")[0]
            for line in types
            for each in prefixes
            if line.startswith(each)
        }

        assert typed == set(done.stdout.split())
