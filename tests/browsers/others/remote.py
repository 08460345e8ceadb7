"""Firefox and WebKitGTK, by the remote control `drive.mjs`.

Every process is ended by its pid, and looked for afterwards. Should the tests be killed, the remote control notices
that its input ends and takes Firefox with it; Xvfb and WebKitWebDriver are watched like every server of the tests.
"""

from __future__ import annotations

import contextlib
import glob
import json
import os
import queue
import shutil
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.peers.node import node_modules
from tests.services import HOST, Process, free_port, until
from tests.services.process import family, lives

from .browser import PATIENCE_SECONDS, Browser, Profile, Tab, missing

_DRIVE = Path(__file__).with_name("drive.mjs")
_ANSWER_SECONDS = 45.0
"""Longer than the remote control's own patience, so that its words about what hangs arrive."""
_FIREFOX = ("firefox-esr", "firefox")
_MINI_BROWSER = "/usr/lib/*/webkit2gtk-4.*/MiniBrowser"


def find(program: str) -> str | None:
    """Where a program is."""
    if program == "MiniBrowser":  # a part of the library's package, in no folder of programs
        return next(iter(sorted(glob.glob(_MINI_BROWSER), reverse=True)), None)
    if program == "firefox":
        return next(filter(None, map(shutil.which, _FIREFOX)), None)
    return shutil.which(program)


class RemoteControl:
    """A running `drive.mjs`; `ask` gives it a command and returns its answer."""

    def __init__(self, kind: str, options: dict[str, Any], folder: Path) -> None:
        self._log = (folder / f"{kind}.log").open("w+")
        # Firefox makes its profile in the folder for temporary files; this one goes with the tests' own.
        self._process = subprocess.Popen(
            ["node", str(_DRIVE), str(node_modules() / "any.js"), kind, json.dumps(options)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True, start_new_session=True,
            env=os.environ | {"TMPDIR": str(folder)},
        )  # fmt: skip
        self._answers: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._last = 0
        try:
            self._answer("the start")
        except BaseException:
            self.stop()
            raise

    def _read(self) -> None:
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put("")

    def _answer(self, what: str) -> Any:
        try:
            line = self._answers.get(timeout=_ANSWER_SECONDS)
        except queue.Empty:
            raise TimeoutError(f"the remote control says nothing to {what}:\n{self._words()}") from None
        if not line:
            raise RuntimeError(f"the remote control ended at {what}:\n{self._words()}")
        answer = json.loads(line)
        assert answer["id"] == self._last
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def _words(self) -> str:
        return Path(self._log.name).read_text(errors="replace")[-2000:]

    def ask(self, do: str, **arguments: Any) -> Any:
        """Do this in the browser; RuntimeError with what the browser says against it."""
        self._last += 1
        self._process.stdin.write(json.dumps({"id": self._last, "do": do} | arguments) + "\n")
        self._process.stdin.flush()
        return self._answer(f"{do} {arguments}")

    def stop(self) -> None:
        """End it and the browsers that it started; return when none of them lives."""
        pids = family(self._process.pid)
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in pids:
            if lives(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(lives, pids)), "the end of the browser's processes")
        self._reader.join()
        self._process.stdout.close()
        self._log.close()


class RemoteTab(Tab):
    def __init__(self, control: RemoteControl, number: int) -> None:
        self._control, self._number = control, number

    def _ask(self, do: str, **arguments: Any) -> Any:
        return self._control.ask(do, tab=self._number, **arguments)

    def go(self, url: str) -> None:
        self._ask("go", url=url)

    def evaluate(self, script: str, argument: Any = None) -> Any:
        return self._ask("evaluate", script=script, argument=argument)

    def wait(self, script: str, argument: Any = None, *, seconds: float = PATIENCE_SECONDS) -> Any:
        return self._ask("wait", script=script, argument=argument, seconds=seconds)

    def click_at(self, point: dict[str, int]) -> None:
        self._ask("click", at=point)

    def press(self, *keys: str) -> None:
        self._ask("press", keys=keys)

    def back(self) -> None:
        self._ask("back")

    @property
    def url(self) -> str:
        return str(self._ask("url"))

    @property
    def uncaught(self) -> list[str]:
        return [str(each) for each in self._ask("errors")]

    def close(self) -> None:
        self._ask("closeTab")


class RemoteProfile(Profile):
    def __init__(self, control: RemoteControl, number: int) -> None:
        self._control, self._number = control, number

    def tab(self) -> RemoteTab:
        return RemoteTab(self._control, self._control.ask("tab", profile=self._number))

    def cookies(self, tab: Tab) -> dict[str, str]:
        # Each profile of these tests sees one site alone.
        return {each["name"]: each["value"] for each in self._control.ask("cookies", profile=self._number)}

    def close(self) -> None:
        self._control.ask("closeProfile", profile=self._number)


class Firefox(Browser):
    """Firefox without a window. Where no scripts shall run, a second one with that setting."""

    programs = (("node", "nodejs"), ("firefox", "firefox-esr"))

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._controls: dict[bool, RemoteControl] = {}

    def profile(self, *, scripts: bool = True) -> RemoteProfile:
        if scripts not in self._controls:
            preferences = {} if scripts else {"javascript.enabled": False}
            options = {"executablePath": find("firefox"), "extraPrefsFirefox": preferences}
            self._controls[scripts] = RemoteControl("firefox", options, self._folder)
        control = self._controls[scripts]
        return RemoteProfile(control, control.ask("profile"))

    def stop(self) -> None:
        for control in self._controls.values():
            control.stop()


class WebKit(Browser):
    """WebKitGTK's MiniBrowser on a screen that nobody sees."""

    programs = (
        ("node", "nodejs"), ("Xvfb", "xvfb"), ("WebKitWebDriver", "webkit2gtk-driver"),
        ("MiniBrowser", "webkit2gtk-driver"),
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stack = contextlib.ExitStack()
        self._drivers: list[tuple[Process, str]] = []
        screen_folder = folder / "screen"
        screen_folder.mkdir()
        # Xvfb looks for a free display itself, and says which.
        screen = Process(
            ["Xvfb", "-displayfd", "1", "-screen", "0", "1280x800x24", "-nolisten", "tcp"], screen_folder,
            lambda: (screen_folder / "log").read_text().split("\n")[0].isdigit(),
        )  # fmt: skip
        self._stack.callback(screen.end)
        try:
            screen.start()
            self._display = ":" + screen.log.split("\n")[0]
            self._control = RemoteControl("webkit", {"binary": find("MiniBrowser")}, folder)
            self._stack.callback(self._control.stop)
        except BaseException:
            self._stack.close()
            raise

    def profile(self, *, scripts: bool = True) -> RemoteProfile:
        arguments = [] if scripts else ["--enable-javascript=false"]
        # On a machine that is very busy, one start of a MiniBrowser in a hundred hangs; another WebKitWebDriver helps.
        for is_last in (False, True):
            driver, server = self._drivers.pop() if self._drivers else self._start_driver()
            try:
                number = self._control.ask("profile", server=server, browserArguments=arguments)
            except RuntimeError as error:
                driver.end()
                if is_last or "took longer" not in str(error):
                    raise
            else:
                break
        return _WebKitProfile(self._control, number, lambda: self._drivers.append((driver, server)))

    def _start_driver(self) -> tuple[Process, str]:
        """A new WebKitWebDriver, and its address. One of them runs one MiniBrowser at a time."""
        port = free_port()
        folder = self._folder / f"driver-{port}"
        folder.mkdir()
        env = {name: value for name, value in os.environ.items() if name != "WAYLAND_DISPLAY"}
        driver = Process(
            [str(find("WebKitWebDriver")), f"--host={HOST}", f"--port={port}"], folder, lambda: _listens(port),
            env=env | {"DISPLAY": self._display},
        )  # fmt: skip
        self._stack.callback(driver.end)
        driver.start()
        return driver, f"http://{HOST}:{port}"

    def stop(self) -> None:
        self._stack.close()


class _WebKitProfile(RemoteProfile):
    def __init__(self, control: RemoteControl, number: int, give_back: Any) -> None:
        super().__init__(control, number)
        self._give_back = give_back

    def close(self) -> None:
        super().close()
        self._give_back()


def _listens(port: int) -> bool:
    with socket.create_connection((HOST, port), timeout=1):
        return True


def missing_for(kind: type[Firefox | WebKit]) -> str | None:
    """What to install before this browser can run."""
    return missing(kind.programs, find)
