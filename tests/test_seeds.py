"""The five published logouts that this package reproduces, statement by statement; none is left without a test.

GA is GenAuth's "Backend Logout", UM "User Management / Logout User", SP SPiD's "logout flows", UF Userfront's "Logout",
CB CampusBite's `POST /api/auth/logout`. A test carries the ids of what it proves in its name, wherever it is.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tests.named_tests import Found, Reader

TESTS = Path(__file__).parent

GENAUTH = {
    1: "two ways to log out, by a visit of an address and by a call that revokes the token",
    2: "the visit ends the login on the server, copies of the cookie included",
    3: "the address can be generated",
    4: "a revoked access token is refused from then on",
    5: "a token is all it takes: no browser, no cookie",
    6: "`token` is required, and a text",
    7: "only a client with its id and secret is served",
    8: "`revokeToken` is true",
    9: "introspection after it says inactive",
    10: "introspection before it says active",
    11: "both calls exist by both spellings",
    12: "verification fails as well, not only introspection",
}
USER_MANAGEMENT = {
    1: "POST /logout exists, and no other method on it",
    2: "no refresh token of the user works any more",
    3: "the session ends",
    4: "no token can be used after it",
    5: "a valid JWT in the Authorization header is required",
    6: "the answer has a message",
    7: "the answer has the time",
    8: "a React hook: logout, isLoading, error",
    9: "a complete context for React",
    10: "a logout that asks first; no means no",
    11: "a handler for the server",
    12: "one call for all devices",
    13: "click, refresh tokens dead, storage cleared, on to the login, in this order",
    14: "a password change logs out every device",
    15: "suspicious activity logs out, and the record says why",
    16: "a compromised account is logged out, open sockets included",
    17: "an expired token is refused, and the page logs out once",
    18: "closing the browser logs out, where that is wanted",
    19: "so does doing nothing for a while",
    20: "refresh tokens die on the server, whatever a client keeps",
    21: "all local tokens and data are cleared",
    22: "even if the server cannot be reached, and the user is sent to the login",
    23: "the page shows that it is logging out",
    24: "access tokens are refused at once",
    25: "every logout is one record for the audit",
    26: "a logout that fails is no crash, and is tried again",
    27: "the user ends on a fitting page",
    28: "network errors are nobody's unhandled rejection",
    29: "all refresh tokens of the user, without being asked to",
    30: "the application's session data can be cleared",
    31: "a dead token is a success",
    32: "20 logouts in 5 minutes for each user",
    33: "over that, one's own login still ends",
    34: "the limit is in the headers of every answer",
    35: "a login right after it works, a refresh does not",
}
SPID = {
    1: "three ways: by script, by redirect, by API; they combine",
    2: "by script: the session of the cookie ends",
    3: "three events in their order, after the answer",
    4: "then the application cleans up, in the page and on the server, knowing what",
    5: "by script no redirect is needed",
    6: "GET /logout ends the session of the cookie",
    7: "it requires the client_id of a registered client",
    8: "it may have a redirect_uri, followed after the logout",
    9: "which must be registered for that client, byte for byte",
    10: "and be encoded",
    11: "without one there is a default page",
    12: "an oauth_token must be the logged-in user's own",
    13: "and is then revoked with the session",
    14: "by API: that token, and no session anywhere",
    15: "later calls with it fail",
    16: "an app without a session logs out with its token alone",
    17: "who logs in by redirect logs out by redirect; by script is optional and smoother",
    18: "without its token the session ends and the token stays usable",
    19: "a server's own token is never touched",
    20: "a token in the address leaks nowhere",
}
USERFRONT = {
    1: "Userfront.logout() without an argument",
    2: "a button",
    3: "several buttons, one request",
    4: "first the token is dead at the server",
    5: "then the cookies access.<account> and their like are gone from the browser",
    6: "then the browser goes on: in this order",
    7: "to /login",
    8: "or where the settings say",
    9: "a path leads to the host of the button, whatever the headers say",
    10: "an absolute address works if the owner set it",
    11: "plain http is warned of, and downgrades nothing",
    12: "its own client's options and answers, by GET as it asks",
}
CAMPUSBITE = {
    1: "POST /api/auth/logout, JSON in and out",
    2: "the refresh token obtains nothing any more",
    3: "refreshToken is optional",
    4: "success is always true",
    5: "the answer is exactly the sample",
    6: "no token, no body, an unknown token: 200",
    7: "500 for a failure of our own, and only then",
    8: "as often as one likes",
    9: "the access token is left alone",
    10: "until it expires",
    11: "other devices are left alone",
    12: "every copy of the token is dead",
    13: "the client calls, goes on after an error, clears up and goes to the login",
    14: "no Authorization header is needed",
    15: "malformed JSON is no 500, a wrong type is no token",
}
STATEMENTS = {
    f"{seed}_{number}": sentence
    for seed, sentences in [
        ("GA", GENAUTH), ("UM", USER_MANAGEMENT), ("SP", SPID), ("UF", USERFRONT), ("CB", CAMPUSBITE),
    ]
    for number, sentence in sentences.items()
}  # fmt: skip

PRESET = {
    "GA": "genauth", "UM": "user-management", "SP": "spid", "UF": "userfront", "CB": "campusbite",
}  # fmt: skip
# Where one seed wants what another forbids: each is shown with the preset of its own.
DISAGREEING = {
    "who may call": ("GA_7", "UM_5", "SP_16", "CB_14"),
    "a call without a login, or with a dead one": ("UM_31", "CB_6", "UF_12"),
    "how far it reaches": ("GA_4", "UM_12", "UM_29", "SP_2", "SP_14", "UF_4", "CB_11"),
    "the access token": ("GA_4", "UM_4", "UM_24", "SP_13", "SP_18", "UF_4", "CB_9", "CB_10"),
    "paths and methods": ("UM_1", "SP_6", "SP_7", "UF_12", "CB_1"),
    "the answer": ("GA_8", "UM_6", "UM_7", "UF_12", "CB_4", "CB_5"),
    "where to": ("SP_9", "SP_11", "UF_7", "UM_27"),
    "failures": ("UM_26", "SP_8", "UF_6", "CB_7", "CB_15"),
    "how often": ("UM_32", "UM_34", "CB_8"),
    "names of cookies": ("UF_5",),
}
BY_PRESET = sorted({each for ids in DISAGREEING.values() for each in ids})
# What these say of a page's script is only proven in a real browser.
IN_A_BROWSER = (
    "SP_3", "SP_4", "SP_5", "UM_8", "UM_9", "UM_10", "UM_13", "UM_17", "UM_18", "UM_21", "UM_22", "UM_23", "UM_26",
    "UM_28", "UF_1", "UF_2", "UF_3", "UF_12", "CB_13",
)  # fmt: skip
# Of the defects that were measured in well-known releases, those that we show and do not have.
MEASURED = {f"M{number}" for number in (1, 3, 5, 6, 7, 9, 10)}


@pytest.fixture(scope="module")
def found() -> list[Found]:
    """Every test that names a statement."""
    return Reader(TESTS, tuple(PRESET)).found()


@pytest.fixture(scope="module")
def proven(found: list[Found]) -> dict[str, list[Found]]:
    """The tests that prove something, by statement."""
    return {each: [test for test in found if each in test.ids and test.fault is None] for each in STATEMENTS}


def test_the_list_is_whole() -> None:
    """Twelve, thirty-five, twenty, twelve and fifteen, without a gap and each said once."""
    numbers = Counter(each.partition("_")[0] for each in STATEMENTS)

    assert numbers == {"GA": 12, "UM": 35, "SP": 20, "UF": 12, "CB": 15}
    for sentences in (GENAUTH, USER_MANAGEMENT, SPID, USERFRONT, CAMPUSBITE):
        assert list(sentences) == list(range(1, len(sentences) + 1))
    assert len(set(STATEMENTS.values())) == 94
    assert {*BY_PRESET, *IN_A_BROWSER} <= STATEMENTS.keys()


@pytest.mark.parametrize("statement", STATEMENTS)
def test_every_statement_is_proven(statement: str, proven: dict[str, list[Found]]) -> None:
    """A statement without a test is not kept, it is hoped for."""
    assert proven[statement], f"{statement} ({STATEMENTS[statement]}) has no test named test_{statement}_…"


@pytest.mark.parametrize("statement", BY_PRESET)
def test_where_seeds_disagree_each_is_shown_with_its_preset(statement: str, proven: dict[str, list[Found]]) -> None:
    """What is true by default only is not what that seed says."""
    preset = PRESET[statement.partition("_")[0]]

    assert any(preset in test.words for test in proven[statement]), f"no test of {statement} uses {preset!r}"


@pytest.mark.parametrize("statement", IN_A_BROWSER)
def test_what_a_page_does_is_shown_in_a_browser(statement: str, proven: dict[str, list[Found]]) -> None:
    """A script that nobody runs proves nothing."""
    assert any(test.where.startswith("browsers") for test in proven[statement]), f"{statement} is tried in no browser"


def test_every_test_that_names_a_statement_proves_it(found: list[Found]) -> None:
    """None is skipped, empty, shadowed, uncollected, misnamed, or named by an id that does not exist."""
    useless = {f"{test.where}::{test.name}": test.fault for test in found if test.fault is not None}
    unknown = {test.name: sorted(set(test.ids) - STATEMENTS.keys()) for test in found}

    assert useless == {}
    assert {name: ids for name, ids in unknown.items() if ids} == {}


def test_the_measured_defects_are_shown() -> None:
    """With the release that has each, and with ours that has not."""
    names = [name for path in TESTS.rglob("test_*.py") for name in path.read_text("utf-8").split("def test_")[1:]]
    shown = {name.partition("_")[0] for name in names if name[:1] == "M" and name[1:2].isdigit()}

    assert shown == MEASURED


# ---- the reader itself ----------------------------------------------------------------------------------

GOOD = {
    "an assert": "def test_UM_1_x(http):\n    assert http.x()",
    "a method": "class TestIt:\n    def test_UM_1_x(self):\n        assert f()",
    "an exception": "def test_UM_1_x():\n    with pytest.raises(ValueError):\n        f()",
    "expect": "def test_UM_1_x(page):\n    expect(page).to_be_visible()",
    "a helper": "def check(x):\n    assert x\n\ndef test_UM_1_x():\n    check(1)",
    "a method of a helper": ("from tests.shared import Tab\n\ndef test_UM_1_x(tab: Tab):\n    tab.is_at('/login')"),
    "a helper of another module": "from tests.shared import check\n\ndef test_UM_1_x():\n    check(1)",
    "a fixture that skips where something is missing": (
        "@pytest.fixture\ndef chrome():\n    if not which('x'):\n        pytest.skip('')\n\n"
        "def test_UM_1_x(chrome):\n    assert f()"
    ),
    "a coroutine inside": "def test_UM_1_x():\n    async def go():\n        assert f()\n    run(go())",
    "a coroutine": "async def test_UM_1_x():\n    assert await f()",
}
USELESS = {
    "no assert": ("def test_UM_1_x(http):\n    http.x()", "asserts nothing"),
    "an assert of a constant": ("def test_UM_1_x():\n    assert True", "asserts nothing"),
    "a helper that asserts nothing": ("def go(): return 1\n\ndef test_UM_1_x():\n    go()", "asserts nothing"),
    "a helper that gives a value": (
        "def login():\n    assert f()\n    return f()\n\ndef test_UM_1_x():\n    login()", "asserts nothing",
    ),
    "a method that gives a value": (
        "from tests.shared import Tab\n\ndef test_UM_1_x(tab: Tab):\n    tab.login()", "asserts nothing",
    ),
    "an assert inside what nobody calls": (
        "def test_UM_1_x():\n    def check():\n        assert f()", "asserts nothing",
    ),
    "skip": ("@pytest.mark.skip\ndef test_UM_1_x():\n    assert f()", "skipped"),
    "skipif": ("@pytest.mark.skipif(X, reason='')\ndef test_UM_1_x():\n    assert f()", "skipped"),
    "xfail": ("@pytest.mark.xfail\ndef test_UM_1_x():\n    assert f()", "skipped"),
    "a skip inside": ("def test_UM_1_x():\n    pytest.skip('no')\n    assert f()", "skipped"),
    "a skipped class": ("@pytest.mark.skip\nclass TestIt:\n    def test_UM_1_x(self):\n        assert f()", "skipped"),
    "a skipped module": ("pytestmark = pytest.mark.skip\n\ndef test_UM_1_x():\n    assert f()", "skipped"),
    "a module that needs another": (
        "x = pytest.importorskip('x')\n\ndef test_UM_1_x():\n    assert f()", "skipped",
    ),
    "a fixture that skips": (
        "@pytest.fixture\ndef chrome():\n    pytest.skip('')\n\ndef test_UM_1_x(chrome):\n    assert f()", "skipped",
    ),
    "a fixture of the conftest that skips": ("def test_UM_1_x(firefox):\n    assert f()", "skipped"),
    "no cases": ("@pytest.mark.parametrize('x', [])\ndef test_UM_1_x(x):\n    assert x", "no cases"),
    "shadowed": ("def test_UM_1_x():\n    assert f()\n\ndef test_UM_1_x():\n    assert g()", "its name"),
    "inside a function": ("def outer():\n    def test_UM_1_x():\n        assert f()", "not collect"),
    "inside another class": ("class Helper:\n    def test_UM_1_x(self):\n        assert f()", "not collect"),
    "without an underscore": ("def test_UM1_x():\n    assert f()", "no id"),
    "in lower case": ("def test_um_1_x():\n    assert f()", "no id"),
    "with a letter": ("def test_UM_1b_x():\n    assert f()", "no id"),
}  # fmt: skip


SHARED = """
def check(x):
    assert x

class Tab:
    def is_at(self, path):
        self.page.wait_for_url(path)

    def login(self):
        assert self.page
        return self.page
"""


def read(folder: Path, code: str, file: str = "test_some.py") -> list[Found]:
    """What the reader finds in this code."""
    root = folder / "tests"
    root.mkdir()
    (root / file).write_text(code, "utf-8")
    (root / "shared.py").write_text(SHARED, "utf-8")
    (root / "conftest.py").write_text("@pytest.fixture\ndef firefox():\n    pytest.skip('none')\n", "utf-8")
    return Reader(root, tuple(PRESET)).found()


@pytest.mark.parametrize("kind", GOOD)
def test_a_test_that_can_fail_counts(kind: str, tmp_path: Path) -> None:
    """In every form that the tests are written in."""
    (test,) = read(tmp_path, GOOD[kind])

    assert (test.ids, test.fault) == (("UM_1",), None)


@pytest.mark.parametrize("kind", USELESS)
def test_a_test_that_cannot_fail_does_not_count(kind: str, tmp_path: Path) -> None:
    """Whatever its name promises."""
    code, why = USELESS[kind]

    faults = [test.fault or "" for test in read(tmp_path, code)]

    assert faults
    assert all(why in fault for fault in faults)


def test_a_test_in_a_file_that_pytest_does_not_read_does_not_count(tmp_path: Path) -> None:
    """Its name would be found, and it would never run."""
    (test,) = read(tmp_path, GOOD["an assert"], file="buttons.py")

    assert test.fault == "pytest does not collect it"


@pytest.mark.parametrize(
    ("name", "ids"),
    [
        ("test_UM_7_the_time", ("UM_7",)),
        ("test_GA_8_9_10_12_all", ("GA_8", "GA_9", "GA_10", "GA_12")),
        ("test_GA_8_GA_9_both", ("GA_8", "GA_9")),
        ("test_GA_6_to_12", ("GA_6",)),
        ("test_UM_99_unknown", ("UM_99",)),
        ("test_UM_7", ()),
        ("test_RPI_1_another_list", ()),
    ],
)
def test_a_name_may_carry_several_ids(name: str, ids: tuple[str, ...]) -> None:
    """As long as each is written out."""
    assert Reader(TESTS, tuple(PRESET)).ids(name) == ids


def test_words_are_those_of_fixtures_too(tmp_path: Path) -> None:
    """A preset may be named where the site is built, or in what parametrizes the test."""
    (by_fixture,) = read(
        tmp_path, "@pytest.fixture\ndef http(): return site('spid')\n\ndef test_SP_1_x(http):\n    assert http"
    )

    assert "spid" in by_fixture.words
    assert "genauth" not in by_fixture.words
