"""The commands. Each asks a BlockingLogout one thing and prints it, as text or with --json as one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import click

from .. import values
from ..errors import ConfigurationError, LogoutError
from ..events import timestamp
from ..flows.introspection import described
from ..flows.sessions import Session
from ..logout import BlockingLogout
from ..opening import schema_of
from ..settings import LogoutSettings

_BATCH = 5000

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
reason = click.option("--reason", default=None, help="Why, for the audit record, e.g. password_change.")
issuer = click.option("--issuer", default=None, help="Whose id it is; without it, our own realm.")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="logout-middleware", prog_name="logout-middleware")
def root() -> None:
    """Look at, and log out, what LOGOUT_STORE remembers. All settings are LOGOUT_* variables."""


@contextmanager
def _opened(*, printing_json: bool) -> Iterator[BlockingLogout]:
    """The Logout of the environment."""
    with mistakes_told(printing_json=printing_json):
        logout = BlockingLogout(max_staleness=0)  # a command asks the store itself
        try:
            yield logout
        finally:
            logout.close()


@contextmanager
def mistakes_told(*, printing_json: bool) -> Iterator[None]:
    """Whatever is wrong is printed, never a stack trace; exit status 1."""
    try:
        yield
    except LogoutError as error:
        problems = error.mistakes if isinstance(error, ConfigurationError) else (str(error),)
        if printing_json:
            click.echo(json.dumps({"ok": False, "problems": problems}))
        else:
            for problem in problems:
                click.echo(problem, err=True)
        sys.exit(1)


def _say(values: dict[str, Any], *, printing_json: bool) -> None:
    if printing_json:
        click.echo(json.dumps(values))
        return
    for name, value in values.items():
        if isinstance(value, dict):
            _say({f"{name} {inner}": text for inner, text in value.items()}, printing_json=False)
        else:
            click.echo(f"{name}: {', '.join(value) or 'none' if isinstance(value, list) else value}")


def _token(text: str) -> str:
    """A token from the command line, or from standard input for `-`, where no other process can read it."""
    token = sys.stdin.read().strip() if text == "-" else text
    if not token:
        raise click.UsageError("the token is empty")
    return token


@root.command()
@click.option("--schema", is_flag=True, help="Print the tables that an SQL store needs, and ask nobody.")
@as_json
def check(*, schema: bool, as_json: bool) -> None:
    """Check the settings and ask the store, for real, what it is and what it promises."""
    if schema:
        with mistakes_told(printing_json=as_json):
            text = schema_of(LogoutSettings.load())
            click.echo(json.dumps({"schema": text}) if as_json else text)
        return
    with _opened(printing_json=as_json) as logout:
        found = logout.check()
        findings = [text for text in found.values() if text.startswith("UNSAFE")]
        if not logout.inner.raw_store.durable and not logout.settings.allow_unsafe_store:
            findings.append("the store forgets when the process ends; use LOGOUT_STORE=sqlite:///logout.db")
        _say({"ok": not findings, **found, "findings": findings}, printing_json=as_json)
    sys.exit(1 if findings else 0)


@root.command("adopt-store")
@click.option("--keep-logins", is_flag=True, help="Log nobody out, though old logouts may be forgotten.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def adopt_store(*, keep_logins: bool, yes: bool, as_json: bool) -> None:
    """Accept a store that has forgotten (emptied, restored, another one), in every worker.

    Nobody knows any more who had logged out, so everybody is logged out, unless --keep-logins.
    """
    if not yes:
        what = "Logouts that the store has forgotten are undone." if keep_logins else "This logs out every user."
        click.confirm(f"{what} Go on?", abort=True, err=True)
    with _opened(printing_json=as_json) as logout:
        logout.adopt_store(keep_logins=keep_logins)
        if not logout.inner.identifier.policy.verifies_tokens and not keep_logins:
            click.echo(
                "tokens cannot be verified without LOGOUT_JWT_KEY or LOGOUT_JWKS_URL, so they cannot be logged out "
                "together: one whose logout was forgotten passes until it expires",
                err=True,
            )
        _say({"ok": True, "adopted": True, "everybody_logged_out": not keep_logins}, printing_json=as_json)


@root.group()
def revoke() -> None:
    """Log out a token, a session, a user, a client, or everyone. Returns once it is durable."""


@contextmanager
def _revoking(what: str, *, printing_json: bool) -> Iterator[BlockingLogout]:
    """The Logout of the environment; afterwards it is said how far it got, and exit status 1 if not everywhere."""
    outcomes = set()
    with _opened(printing_json=printing_json) as logout:
        logout.on_event(lambda event: outcomes.add(event.outcome))
        yield logout
    if "pending" not in outcomes:
        return _say({"ok": True, "revoked": what}, printing_json=printing_json)
    why = (
        "the store is away: it is in LOGOUT_JOURNAL, in force on this host only, and is delivered by the next process "
        "that opens this journal; keep one running, or repeat this when the store is back"
    )
    _say({"ok": False, "pending": what, "because": why}, printing_json=printing_json)
    sys.exit(1)


@revoke.command("token")
@click.argument("token", default="-")
@reason
@as_json
def revoke_token(token: str, reason: str | None, *, as_json: bool) -> None:
    """TOKEN, and by default its session; `-` (the default) reads it from standard input."""
    text = _token(token)
    with _revoking("token", printing_json=as_json) as logout:
        logout.revoke_token(text, reason=reason)


@revoke.command("session")
@click.argument("sid")
@issuer
@reason
@as_json
def revoke_session(sid: str, issuer: str | None, reason: str | None, *, as_json: bool) -> None:
    """The session with this id: every token and cookie that carries it."""
    with _revoking(f"session {sid}", printing_json=as_json) as logout:
        logout.revoke_session(sid, issuer=issuer, reason=reason)


@revoke.command("user")
@click.argument("sub")
@click.option("--before", default=None, help="A time like 2026-11-20T10:29:00+00:00; default: now.")
@click.option("--keep", multiple=True, help="A session id to spare; may be repeated.")
@issuer
@reason
@as_json
def revoke_user(
    sub: str, before: str | None, keep: tuple[str, ...], issuer: str | None, reason: str | None, *, as_json: bool
) -> None:
    """All that this user had until now (or BEFORE): every device."""
    moment = _moment(before)
    with _revoking(f"user {sub}", printing_json=as_json) as logout:
        logout.revoke_user(sub, issuer=issuer, before=moment, keep=keep, reason=reason)


@revoke.command("client")
@click.argument("client_id")
@issuer
@reason
@as_json
def revoke_client(client_id: str, issuer: str | None, reason: str | None, *, as_json: bool) -> None:
    """All that was issued to this application until now."""
    with _revoking(f"client {client_id}", printing_json=as_json) as logout:
        logout.revoke_client(client_id, issuer=issuer, reason=reason)


@revoke.command("everyone")
@click.option("--before", default=None, help="A time like 2026-11-20T10:29:00+00:00; default: now.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@issuer
@reason
@as_json
def revoke_everyone(before: str | None, issuer: str | None, reason: str | None, *, yes: bool, as_json: bool) -> None:
    """Everything that anybody had until now: for the day a signing key leaks."""
    moment = _moment(before)
    if not yes:
        click.confirm("This logs out every user. Go on?", abort=True, err=True)
    with _revoking("everyone", printing_json=as_json) as logout:
        logout.revoke_everyone(moment, issuer=issuer, reason=reason)


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else values.moment(text)
    except ValueError as error:
        raise click.UsageError(f"--before {error}") from None


@root.command()
@click.argument("token", default="-")
@as_json
def explain(token: str, *, as_json: bool) -> None:
    """Say whom TOKEN names, if it would pass, and which record refuses it; exit status 1 if it is refused."""
    text = _token(token)
    with _opened(printing_json=as_json) as logout:
        verdict = logout.explain(text)
        _say(described(verdict), printing_json=as_json)
    sys.exit(1 if verdict.refusal is not None else 0)


@root.command()
@click.argument("sub")
@issuer
@as_json
def sessions(sub: str, issuer: str | None, *, as_json: bool) -> None:
    """Where the user SUB is logged in, the session seen last first; exit status 1 if nowhere."""
    with _opened(printing_json=as_json) as logout:
        found = logout.list_sessions(sub, issuer=issuer)
    if as_json:
        click.echo(json.dumps({"ok": bool(found), "sessions": [_listed(each) for each in found]}))
    elif found:
        _print_table([_listed(each) for each in found])
    else:
        click.echo("no sessions")
    sys.exit(0 if found else 1)


def _listed(session: Session) -> dict[str, str | None]:
    return {
        "id": session.id,
        "created": timestamp(session.created_at),
        "last_seen": timestamp(session.last_seen),
        "address": session.address,
        "user_agent": session.user_agent,
    }


def _print_table(rows: Sequence[Mapping[str, str | None]]) -> None:
    """A column for each name. What a stranger chose, as a user agent is, must not move the cursor of a terminal."""
    lines = [list(rows[0]), *([json.dumps(text or "-")[1:-1] for text in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


@root.command()
@as_json
def purge(*, as_json: bool) -> None:
    """Forget records of what ended long ago. Happens by itself with each logout; live records are never touched."""
    with _opened(printing_json=as_json) as logout:
        total = sum(_batches(logout.purge, show=not as_json and sys.stderr.isatty()))
        _say({"ok": True, "forgotten": total}, printing_json=as_json)


def _batches(purge: Callable[[int], int], *, show: bool) -> Iterator[int]:
    with click.progressbar(length=0, label="forgetting", file=sys.stderr, hidden=not show) as bar:
        while batch := purge(_BATCH):
            bar.length = (bar.length or 0) + batch
            bar.update(batch)
            yield batch
