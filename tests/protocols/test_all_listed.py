"""Every statement of a standard that we play a part in has a test that is named by its id; the others say why not.

The ids are those of the checklists that the project works from: one for each rule of the specification named beside
them. A test may carry several: `test_BCL_17_18_19_…`, `test_REV_4_INT_2_…`.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parents[1]

LISTED: dict[str, range | tuple[int, ...]] = {
    "RPI": (*range(1, 14), *range(20, 27)),  # OpenID Connect RP-Initiated Logout 1.0
    "BCL": range(1, 27),  # OpenID Connect Back-Channel Logout 1.0
    "FCL": range(1, 11),  # OpenID Connect Front-Channel Logout 1.0
    "SM": (1,),  # OpenID Connect Session Management 1.0
    "REV": range(1, 16),  # RFC 7009
    "INT": range(1, 10),  # RFC 7662
    "BEAR": range(1, 12),  # RFC 6750
    "DPOP": range(1, 8),  # RFC 9449
    "AT": range(1, 6),  # RFC 9068
    "JBP": range(1, 10),  # RFC 8725
    "OBP": range(1, 9),  # RFC 9700
    "CSRF": range(1, 8),
    "RL": range(1, 9),  # draft-ietf-httpapi-ratelimit-headers
    "PD": range(1, 5),  # RFC 9457
    "GTR": range(1, 8),  # Global Token Revocation
    "SET": range(1, 13),  # RFC 8417, RFC 8935
    "CAEP": range(1, 7),  # OpenID CAEP 1.0
    "POLL": (1,),  # RFC 8936
}
STATEMENTS = {f"{name}_{number}" for name, numbers in LISTED.items() for number in numbers}

AS_PROVIDER = "a duty of the OpenID provider; we are the client of one"
AS_ISSUER = "a duty of the authorization server that issues the tokens; we issue none"
NOT_OURS = {
    "RPI_20": AS_PROVIDER,
    "RPI_21": AS_PROVIDER,
    "RPI_22": AS_PROVIDER,
    "RPI_23": AS_PROVIDER,
    "RPI_24": AS_PROVIDER,
    "RPI_25": AS_PROVIDER,
    "RPI_26": AS_PROVIDER,
    "DPOP_2": "an application that knows Bearer alone may take a bound token by it (RFC 9449 7.2), and only the "
    "application knows which schemes it supports",
    "DPOP_3": "a check of the proof (RFC 9449 4.3), which stays with the application; the guard reads no DPoP field",
    "DPOP_5": "revoking by key is no scope of ours: a device is a session, and ends by its `sid`",
    "DPOP_7": "we keep no replay cache of proofs; that of tokens is the identity, which folds the twins of a signature",
    "OBP_6": AS_ISSUER + ", and only it sees a refresh token used twice",
    "OBP_7": AS_ISSUER + ", and only it sees a code used twice",
    "PD_1": "our errors are JSON of our own, `error` and `message`, not application/problem+json",
}
IN_PART = {
    "AT_5": "a logout everywhere goes by `sub` alone: where the issuer lets a client and a user share a name (which "
    "RFC 9068 5 tells it not to), the logout of that user ends the tokens of both",
    "BCL_4": "we negotiate no encryption: an encrypted token is refused",
    "BEAR_2": "a token in the address or in a form is not looked at, so only fields and handshakes can have two",
    "BEAR_7": "insufficient_scope is the application's; we know no scopes",
    "BEAR_10": "`resource_metadata` (RFC 9728) is the application's; we describe no resource",
    "CSRF_1": "Referer is not read: where neither Sec-Fetch-Site nor Origin is sent, a form is refused",
    "DPOP_4": "no `algs`: which proofs are taken, only the application knows",
    "RL_5": "no problem type, as our errors are JSON of our own",
    "RL_6": "X-RateLimit-* are on, and there is no switch",
    "RL_8": "no metric counts what was not counted",
}


def _ids_in(name: str) -> set[str]:
    """The ids in the name of a test: `BCL_17_18_19` is three, `REV_4_INT_2` two."""
    found = set()
    for known, numbers in re.findall(rf"(?<=_)({'|'.join(LISTED)})((?:_\d+)+)(?=_)", name):
        found |= {f"{known}_{number}" for number in numbers.strip("_").split("_")}
    return found


def _tests_in(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    inner = [node.body for node in tree.body if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    functions = [node for body in (tree.body, *inner) for node in body]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
    return [node.name for node in functions if isinstance(node, kinds) and node.name.startswith("test_")]


def _tested() -> set[str]:
    names = [name for path in TESTS.rglob("test_*.py") for name in _tests_in(path)]
    return set().union(*map(_ids_in, names))


def test_an_id_is_found_wherever_it_stands_in_a_name() -> None:
    """A name that says an id and is not understood would leave a hole that nobody sees."""
    assert _ids_in("test_BCL_17_18_19_success") == {"BCL_17", "BCL_18", "BCL_19"}
    assert _ids_in("test_REV_4_INT_2_a_wrong_secret") == {"REV_4", "INT_2"}
    assert _ids_in("test_SET_4_and_JBP_8_only_401") == {"SET_4", "JBP_8"}
    assert _ids_in("test_AT_2_rs256_is_taken_in_2026") == {"AT_2"}
    assert _ids_in("test_SUBSET_4_is_no_id") == _ids_in("test_a_logout_at_2_o_clock") == set()


def test_every_statement_is_tested_or_says_whose_it_is() -> None:
    """A statement without a test is not kept, it is hoped for."""
    tested = _tested()

    assert STATEMENTS - tested - NOT_OURS.keys() == set()
    assert tested - STATEMENTS == set(), "a test names a statement that is not on the list: add it there"


def test_no_statement_is_both_tested_and_not_ours() -> None:
    """What is kept in part has a test, and says which part it is."""
    tested = _tested()

    assert NOT_OURS.keys() & tested == set()
    assert IN_PART.keys() - tested == set()
    assert NOT_OURS.keys() <= STATEMENTS
    assert all(len(reason) > 20 for reason in (NOT_OURS | IN_PART).values())
