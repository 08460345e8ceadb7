"""Interleavings: played by a seed, judged when every answer has landed; and the races as they are without us."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.browser import Jar

from .sites import STEPS, Site
from .steps import DONE, LEFT, Visit

PAGES = {"read": ("GET", "/read"), "write": ("POST", "/write"), "refresh": ("POST", "/refresh")}
PASSING = (0.00001, 0.00001, 0.0001, 0.01, 0.4)
"""Seconds between two moves: most interleavings are over within one second, or cross into the next. No clock stands."""


@dataclass
class Course:
    """One interleaving: what moved in which order, and what was wrong at its end."""

    seed: int
    moves: list[str] = field(default_factory=list)
    wrong: list[tuple[str, str]] = field(default_factory=list)
    answered_late: int = 0
    new_login_left_the_jar: bool = False

    def story(self) -> str:
        """Seed, moves and what was wrong, for whoever must find out why."""
        return "\n  ".join([f"seed {self.seed}", *self.moves, *(f"WRONG, {kind}: {text}" for kind, text in self.wrong)])


def play(site: Site, seed: int, *, login_again: bool = False) -> Course:
    """One to three requests of a logged-in browser, and its logout, in an order that the seed decides.

    The logout is the browser's own, or its own beside the application's, or one of everything from another device.
    `login_again`: the browser logs in once more, when the answer to its logout has landed.
    """
    random, course = Random(seed), Course(seed)
    site.clock.move(random.random() + 2)
    user, jar, other = f"ann-{seed}", Jar(), Jar()
    seen = [site.login(jar, user, worker=random.randrange(2))]
    if random.random() < 0.3:
        seen += site.values(site.ask(jar, *PAGES[random.choice(list(PAGES))]).set_cookies)

    kinds = [random.choice(list(PAGES)) for _ in range(random.randint(1, 3))]
    slow = [
        site.visit(jar, *PAGES[kind], name=f"{kind} {n}", worker=random.randrange(2)) for n, kind in enumerate(kinds)
    ]
    ways = ["its own", "its own", "and the application's"] + ["everywhere"] * site.application.names_users
    way = random.choice(ways)
    everywhere = way == "everywhere"
    if everywhere:
        seen.append(site.login(other, user, worker=random.randrange(2)))
        logout = site.visit(other, "POST", "/auth/logout/all", name="logout", worker=random.randrange(2))
    else:
        logout = site.visit(jar, "POST", "/auth/logout", name="logout", worker=random.randrange(2))
    visits = [*slow, logout]
    if way == "and the application's":
        visits.append(site.visit(jar, "POST", "/logout", name="the application's logout", worker=random.randrange(2)))
    again = site.visit(jar, "POST", f"/login?user={user}", name="login again", worker=random.randrange(2))
    if login_again:
        visits.append(again)

    acknowledged = 0
    while moves := list(_possible(site, visits, slow, logout, again)):
        chosen = random.choice(moves)
        if chosen.at == DONE:
            chosen.land()
            course.moves.append(f"{chosen.name} lands: {chosen.status} {chosen.set_cookies}")
        else:
            was = chosen.at
            site.go_on(chosen)
            course.moves.append(f"{site.clock():.4f} {chosen.name}: {was} -> {chosen.at} (worker {chosen.worker})")
            if chosen is logout and not acknowledged and logout.at in (LEFT, DONE):
                acknowledged = site.moves
                if logout.status != 200:
                    course.wrong.append(("not logged out", f"{logout.status} {logout.body!r}"))
            if chosen.at == DONE and chosen is not again:
                seen += site.values(chosen.set_cookies)
        site.clock.move(random.choice(PASSING))

    late = [each for each in visits if each.answered_at > acknowledged and each not in (logout, again)]
    course.answered_late = len(late)
    for each in late:
        if site.values(each.set_cookies):
            course.wrong.append(("set after the logout", f"{each.name}: {each.set_cookies}"))
    _judge(site, course, user=user, jars=[jar, other] if everywhere else [jar], seen=seen, login=again)
    return course


def _possible(site: Site, visits: list[Visit], slow: list[Visit], logout: Visit, again: Visit) -> Iterator[Visit]:
    """The visits that may make the next move."""
    for each in visits:
        if each.landed:
            continue
        # The browser is logged in when it sends its requests, so the deletion of its cookie lands after that.
        early = each.at == DONE and each is logout and any(one.sent is None for one in slow)
        # The application's own logout is a further request of the same button.
        unasked = each.sent is None and each.path == "/logout" and logout.sent is None
        # Nobody logs in before he has seen that he is logged out; what his button sent later would end the new login,
        # as it should.
        unsent = any(one.path == "/logout" and one.sent is None for one in visits)
        premature = each is again and each.sent is None and (unsent or not logout.landed)
        # An application that gave the session another id forgets who sent the old one, and deletes the cookie. Landed
        # before the logout is sent, there would be nothing left to log out.
        empties = each.at == DONE and logout.sent is None and each.set_cookies and not site.values(each.set_cookies)
        if not (early or unasked or premature or empties):
            yield each


def _judge(site: Site, course: Course, *, user: str, jars: list[Jar], seen: list[str], login: Visit) -> None:
    """Fill in what is wrong now that every answer has landed."""
    new = site.values(login.set_cookies)
    for value in dict.fromkeys(seen):
        for worker in range(2):
            if site.user_of(value, worker=worker) is not None:
                course.wrong.append(("old cookie accepted", f"…{value[-12:]} by worker {worker}"))
    if login.sent is not None:
        for worker in range(2):
            if not new or site.user_of(new[-1], worker=worker) != user:
                course.wrong.append(("new login refused", f"by worker {worker}: {login.status} {login.set_cookies}"))
        course.new_login_left_the_jar = site.user(jars[0]) != user
        return
    for place, jar in enumerate(jars):
        for worker in range(2):
            if site.user(jar, worker=worker) is not None:
                course.wrong.append(("logged in again", f"browser {place} at worker {worker}"))
        if held := site.held(jar):
            course.wrong.append(("cookie left", f"browser {place}: {held}"))


# ---- without the middleware ------------------------------------------------------------------------------


def defects(site: Site) -> dict[str, list[str]]:
    """Who is logged in although he logged out, where the application is alone.

    `replay`: whether the old cookie still is (["yes"] or []). By page: the steps at which a request waited while its
    browser logged out, and after which, once it had landed, the browser was logged in. `status` by page: what the
    request that waited last of all was answered.
    """
    found: dict[str, list[str]] = {"replay": ["yes"] if _replayed(site) else []}
    for page, (method, path) in PAGES.items():
        found[page], statuses = [], set()
        for step in STEPS:
            jar = Jar()
            site.login(jar, "ann")
            slow = site.visit(jar, method, path)
            if not site.to_step(slow, step):
                continue
            left = site.ask(jar, "POST", "/logout")
            assert (left.status, site.held(jar)) == (200, []), left.set_cookies
            statuses.add(str(site.to_end(slow).status))
            if site.user(jar) == "ann":
                found[page].append(step)
        found[f"status of {page}"] = sorted(statuses)
    return found


def _replayed(site: Site) -> bool:
    """Is a copy of the cookie accepted after the application's own logout?"""
    jar = Jar()
    copy = site.login(jar, "ann")
    site.ask(jar, "POST", "/logout")
    assert not site.held(jar)
    return site.user_of(copy) == "ann"
