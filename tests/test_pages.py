"""The pages that a person may see: in which language, with whose texts, and that no text is ever more than text."""

from __future__ import annotations

import json
import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from logout_middleware import ConfigurationError, LogoutSettings
from logout_middleware.endpoints import pages
from logout_middleware.endpoints.words import words
from logout_middleware.texts import completed, shipped

from .client import OWN_PAGE, Answer, BuildSite, Site

LANGUAGES = ["en", "de", "fr", "es", "it", "pt", "nl", "pl", "sv", "ja", "zh", "ar"]
HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TYPED_IN = HTML | {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
EVERY_CODE_A_PERSON_MEETS = [
    "rate_limited", "temporarily_unavailable", "cross_site", "scope_unavailable", "ambiguous_cookie",
    "credential_required", "method_not_allowed", "invalid_redirect_uri",
]  # fmt: skip


class Page(HTMLParser):
    """What a browser makes of a page: the elements with their attributes, and the text that is seen."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.seen = ""
        self._inside = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_data(self, text: str) -> None:
        if self._inside not in ("style", "script"):
            self.seen += text

    def first(self, tag: str) -> dict[str, str | None]:
        """The attributes of the first element of this kind."""
        return next(attributes for each, attributes in self.elements if each == tag)


def ask(http: Site, language: str | None = None, path: str = "/auth/logout") -> Answer:
    """The page of somebody who is logged in and opens the logout address from elsewhere."""
    headers = TYPED_IN | ({"Accept-Language": language} if language is not None else {})
    return http.get(path, cookie=http.login("ann").cookie, headers=headers)


def mistakes(texts: Any) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        LogoutSettings.load({}, env_file=None, texts=texts)
    return list(caught.value.mistakes)


# ---- the texts that are shipped ------------------------------------------------------------------------


def test_twelve_languages_are_shipped() -> None:
    """Nobody drops one by accident."""
    assert list(shipped()) == LANGUAGES


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_has_exactly_the_names_of_english(language: str) -> None:
    """A text that is missing would be English in the middle of another language; they are in one order, too."""
    assert list(shipped()[language]) == list(shipped()["en"])


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_text_is_plain_and_translated(language: str) -> None:
    """No markup, no blanks at the ends, nothing left in English, no text twice (but a title may be a button)."""
    texts = {name: text for name, text in shipped()[language].items() if name != "dir"}

    assert [text for text in texts.values() if text != text.strip() or set(text) & set("<>&$")] == []
    if language != "en":
        assert [name for name, text in texts.items() if text == shipped()["en"][name]] == []
    sentences = [text for text in texts.values() if text.endswith((".", "。"))]
    assert len(set(sentences)) == len(sentences) == 12


def test_arabic_alone_runs_from_right_to_left() -> None:
    """Of those that we ship."""
    assert [language for language, texts in shipped().items() if texts["dir"] == "rtl"] == ["ar"]


# ---- which language ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "language"),
    [
        (None, "en"), ("", "en"), ("*", "en"), ("tlh", "en"), ("garbage;;;q=,", "en"), ("\x00é;q=é", "en"),
        ("de", "de"), ("DE", "de"), ("de-AT", "de"), ("de-at-1996", "de"), ("zh-Hans-CN", "zh"), ("pt_BR", "pt"),
        ("de-AT, en;q=0.9", "de"), ("en-GB, de;q=0.9", "en"), ("tlh, fr;q=0.2", "fr"), ("tlh, *;q=0.1", "en"),
        ("fr;q=0.2, ja;q=0.8, de;q=0.5", "ja"), ("de;q=0, fr;q=0.1", "fr"), ("de;q=0", "en"), ("de;q=0, de-AT", "en"),
        ("de-AT;q=0", "en"),
        ("*, sv;q=0.1", "sv"), ("nl;q=0.5, pl;q=0.5", "nl"), ("ar," * 1000, "ar"), (", " * 2000 + "ar", "en"),
    ],
)  # fmt: skip
def test_the_dearest_language_that_we_speak(field: str | None, language: str) -> None:
    """By the lookup of RFC 4647: a dialect gets its language before another one that is less dear."""
    assert words(completed({}), field).language == language


@pytest.mark.parametrize(
    ("field", "language", "direction", "title"),
    [
        (None, "en", "ltr", "Log out?"),
        ("fr-CH, fr;q=0.9, en;q=0.8, *;q=0.5", "fr", "ltr", "Se déconnecter\u00a0?"),
        ("ar-EG", "ar", "rtl", "هل تريد تسجيل الخروج؟"),
        ("ja", "ja", "ltr", "ログアウトしますか？"),
    ],
)
def test_a_page_speaks_the_visitors_language(
    http: Site, field: str | None, language: str, direction: str, title: str
) -> None:
    """The document says so, the answer says so, and that it depends on what the browser asked for."""
    answer = ask(http, field)

    page = Page(answer.text)
    assert page.first("html") == {"lang": language, "dir": direction}
    assert page.seen.count(title) == 2  # in the tab, and on the page
    assert answer.header("content-language") == language
    assert "Accept-Language" in (answer.header("vary") or "")
    assert answer.header("cache-control") == "no-store"


def test_signed_out_in_german(http: Site) -> None:
    """The goodbye is translated like the question."""
    answer = http.get("/auth/logout", headers=TYPED_IN | {"Accept-Language": "de"})

    assert "Sie sind abgemeldet" in answer.text
    assert Page(answer.text).first("a") == {"class": "button", "href": "/login"}


def test_the_way_on_speaks_the_visitors_language() -> None:
    """The page that posts itself to the provider, for browsers without script."""
    answer = pages.onward(words(completed({}), "es"), "https://login.example/end", {"id_token_hint": "x"})

    page = Page(answer.body.decode("utf-8"))
    assert "Continuar" in page.seen
    assert page.first("html")["lang"] == "es"
    assert ("Content-Language", "es") in answer.headers


# ---- what went wrong -----------------------------------------------------------------------------------


def test_a_foreign_form_is_refused_in_the_visitors_language(http: Site) -> None:
    """The person reads words, and the status stays what it was."""
    headers = HTML | {"Sec-Fetch-Site": "cross-site", "Accept-Language": "sv"}

    answer = http.post("/auth/logout", cookie=http.login("ann").cookie, form={}, headers=headers)

    page = Page(answer.text)
    assert answer.status == 403
    assert shipped()["sv"]["error_cross_site"] in page.seen
    assert page.first("html")["lang"] == "sv"
    assert page.first("a")["href"] == "/"


def test_programs_read_english_whatever_they_accept(http: Site) -> None:
    """JSON answers are the contract, and do not change with a language."""
    headers = {"Sec-Fetch-Site": "cross-site", "Accept": "application/json", "Accept-Language": "de"}

    answer = http.post("/auth/logout", cookie=http.login("ann").cookie, json={}, headers=headers)

    assert answer.json == {
        "success": False, "error": "cross_site", "message": "A logout by cookie must come from a page of this site",
    }  # fmt: skip
    assert answer.header("content-language") is None


@pytest.mark.parametrize("code", EVERY_CODE_A_PERSON_MEETS)
def test_every_error_that_a_person_meets_has_words(code: str) -> None:
    """Its own text in every language, and nothing in English beside it."""
    for language in LANGUAGES:
        answer = pages.problem(words(completed({}), language), 400, code, "the English message")

        seen = Page(answer.body.decode("utf-8")).seen
        assert shipped()[language][f"error_{code}"] in seen
        assert "the English message" not in seen


def test_an_error_without_words_is_told_in_general_and_with_its_message(http: Site) -> None:
    """A developer's mistake: the visitor is told that nothing happened, the developer reads what is wrong."""
    answer = http.get("/auth/logout?state=1&state=2", headers=TYPED_IN | {"Accept-Language": "ar"})

    page = Page(answer.text)
    assert answer.status == 400
    assert shipped()["ar"]["error_text"] in page.seen
    assert "a parameter is repeated" in page.seen
    assert ("p", {"class": "detail", "lang": "en", "dir": "ltr"}) in page.elements


def test_a_time_of_trouble_and_a_limit_have_titles_of_their_own(site: BuildSite) -> None:
    """429 and 503 say at once that trying again helps."""
    http = site(rate_limit="1 per hour")
    headers = HTML | OWN_PAGE | {"Accept-Language": "nl"}
    device = http.login("ann")

    http.post("/auth/logout", cookie=http.login("ann").cookie, form={}, headers=headers)
    limited = http.post("/auth/logout", cookie=device.cookie, form={}, headers=headers)
    http.store.broken = True
    away = http.post("/auth/logout", cookie=device.cookie, form={}, headers=headers)

    assert (limited.status, shipped()["nl"]["error_rate_limited_title"] in limited.text) == (429, True)
    assert (away.status, shipped()["nl"]["error_temporarily_unavailable_title"] in away.text) == (503, True)


# ---- texts of the operator -----------------------------------------------------------------------------


def test_a_file_replaces_some_texts_and_leaves_the_others(site: BuildSite, tmp_path: Path) -> None:
    """The house's own words in German; English and the rest of German stay."""
    file = tmp_path / "texts.json"
    file.write_text('{"de": {"confirm_title": "Wirklich gehen?"}}', "utf-8")
    http = site(texts=str(file))

    german, english = ask(http, "de"), ask(http, "en")

    assert "Wirklich gehen?" in german.text
    assert "Angemeldet bleiben" in german.text
    assert "Log out?" in english.text


def test_a_file_adds_a_language(site: BuildSite, tmp_path: Path) -> None:
    """Hebrew, from right to left; what it does not say yet is English. An editor's byte order mark is no mistake."""
    file = tmp_path / "texts.json"
    file.write_text('\ufeff{"he": {"dir": "rtl", "confirm_title": "להתנתק?"}}', "utf-8")
    http = site(texts=file)

    page = Page(ask(http, "he-IL, en;q=0.5").text)

    assert page.first("html") == {"lang": "he", "dir": "rtl"}
    assert "להתנתק?" in page.seen
    assert "Stay logged in" in page.seen


def test_a_dialect_takes_what_it_lacks_from_its_language() -> None:
    """Austrian, Brazilian and traditional Chinese are small files; an own English is what new languages lack."""
    languages = completed(
        {"de-at": {"confirm_button": "Servus"}, "de": {"confirm_cancel": "Bleiben"}, "en": {"error_back": "Home"},
         "tlh": {"confirm_title": "bImej'a'?"}, "cs": {"confirm_title": "Odhlásit?"}},
    )  # fmt: skip

    austrian, klingon = words(languages, "de-AT"), words(languages, "tlh")

    assert austrian.language == "de-at"
    assert [austrian[name] for name in ("confirm_button", "confirm_cancel", "confirm_title")] == [
        "Servus", "Bleiben", "Abmelden?",
    ]  # fmt: skip
    assert [klingon[name] for name in ("confirm_title", "error_back", "confirm_button")] == [
        "bImej'a'?", "Home", "Log out",
    ]  # fmt: skip
    assert words(languages, "cs")["error_back"] == "Home"
    assert words(languages, "de-DE")["confirm_button"] == "Abmelden"


def test_the_value_may_be_the_json_itself(tmp_path: Path) -> None:
    """So LOGOUT_TEXTS_FILE works, too, which reads any value from a file."""
    file = tmp_path / "texts.json"
    file.write_text('{"EN": {"confirm_button": "Bye"}}', "utf-8")

    by_path, by_file, by_keyword = (
        LogoutSettings.load({"LOGOUT_TEXTS": str(file)}, env_file=None),
        LogoutSettings.load({"LOGOUT_TEXTS_FILE": str(file)}, env_file=None),
        LogoutSettings.load({}, env_file=None, texts={"en": {"confirm_button": "Bye"}}),
    )

    assert by_path == by_file == by_keyword
    assert by_path.texts == {"en": {"confirm_button": "Bye"}}


HOSTILE = "\"><script>alert(1)</script>&amp;${title}$nothing'<b>"


def test_every_text_is_escaped_wherever_it_stands(site: BuildSite) -> None:
    """Whoever may write texts may not write pages: nothing of a text becomes an element, an entity or a place."""
    hostile = {name: f"{HOSTILE}{name}" for name in shipped()["en"] if name != "dir"}
    http = site(texts={"en": hostile}, rate_limit="off")
    cookie = http.login("ann").cookie
    answers = [
        ask(http),
        http.get("/auth/logout", headers=TYPED_IN),
        http.get("/auth/logout?state=1&state=2", headers=TYPED_IN),
        http.post("/auth/logout", cookie=cookie, form={}, headers=HTML | {"Sec-Fetch-Site": "cross-site"}),
    ]
    onward = pages.onward(words(completed({"en": hostile}), None), "https://login.example/end", {"a": "b"})

    texts = [answer.text for answer in answers] + [onward.body.decode("utf-8")]

    shown = [Page(text) for text in texts]
    elements = {tag for page in shown for tag, _ in page.elements}
    assert elements == {
        "html", "head", "meta", "title", "style", "body", "main", "svg", "path", "h1", "p", "form", "input", "button",
        "a", "script",
    }  # fmt: skip
    assert [page.elements.count(("script", {})) for page in shown] == [0, 0, 0, 0, 1]
    used = {name for name in hostile if any(HOSTILE + name in page.seen for page in shown)}
    assert {"confirm_title", "signed_out_link", "error_cross_site", "error_back", "onward_button"} <= used
    assert all(
        unescape(text).count(HOSTILE) == page.seen.count(HOSTILE) for text, page in zip(texts, shown, strict=True)
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("{", [r"E129 LOGOUT_TEXTS: '.*texts.json': is not JSON \(.*line 1 column 2.*\); write \{"]),
        ("[]", [r"E129 LOGOUT_TEXTS: '.*': is not an object of objects; write \{"]),
        ('{"de": "Abmelden"}', [r"E129 .* is not an object of objects"]),
        ("[" * 100_000, [r"E129 .* is not JSON"]),
        ('{"de": {"dir": "ltr", "dir": "rtl"}}', [r"E129 .* is not JSON \('dir' is there twice\)"]),
        ('{"deutsch!": {}}', [r"E130 .*: 'deutsch!' is not a language; write a tag such as de or pt-BR"]),
        ('{"": {}}', [r"E130 .*: '' is not a language"]),
        ('{"de\\r\\nSet-Cookie: a=b": {}}', [r"E130 .* is not a language"]),
        ('{"de": {}, "DE": {}}', [r"E130 .*: 'de' is there twice, in large and small letters"]),
        ('{"de": {"confirm_titel": "x"}}', [r"E131 .*: 'confirm_titel' of 'de' .*; did you mean confirm_title\?"]),
        ('{"de": {"zzz": "x"}}', [r"E131 .*: 'zzz' of 'de' is the name of no text; write dir, confirm_title, "]),
        ('{"de": {"confirm_title": 5}}', [r"E132 .*: 'confirm_title' of 'de' is not a text"]),
        ('{"de": {"confirm_title": null}}', [r"E132 .*: 'confirm_title' of 'de' is not a text"]),
        ('{"de": {"confirm_title": "  "}}', [r"E132 .*: 'confirm_title' of 'de' is not a text"]),
        ('{"de": {"confirm_title": "\\ud83d"}}', [r"E132 .*: 'confirm_title' of 'de' is not a text"]),
        ('{"de": {"dir": "right"}}', [r"E132 .*: 'dir' of 'de' is not ltr or rtl"]),
        ('{"de": {"dir": []}}', [r"E132 .*: 'dir' of 'de' is not ltr or rtl"]),
        (
            '{"de": {"confirm_button": [], "bye": "x"}, "x y": {"error": {}}}',
            [r"E132 .* 'confirm_button' of 'de'", r"E131 .* 'bye' of 'de'", r"E130 .* 'x y'", r"E131 .* 'error' of"],
        ),
    ],
)  # fmt: skip
def test_a_bad_file_is_told_at_start_with_every_mistake_in_it(tmp_path: Path, content: str, told: list[str]) -> None:
    """Which file, which language, which name, and what to write."""
    file = tmp_path / "texts.json"
    file.write_text(content, "utf-8")

    found = mistakes(str(file))

    assert [bool(re.match(wanted, mistake)) for wanted, mistake in zip(told, found, strict=True)] == [True] * len(told)


def test_a_file_that_cannot_be_read_is_told_at_start(tmp_path: Path) -> None:
    """Not there, a folder, not UTF-8, no path at all: E128 and what happened."""
    (tmp_path / "latin").write_bytes('{"de": {"error_back": "Zurück"}}'.encode("latin-1"))
    paths = [tmp_path / "missing.json", tmp_path, tmp_path / "latin", "a\0b"]

    told = [mistakes(str(path)) for path in paths]

    names = ["FileNotFoundError", "IsADirectoryError", "UnicodeDecodeError", "ValueError"]
    assert told == [
        [f"E128 LOGOUT_TEXTS: cannot read {str(path)!r} ({name}); name a readable file in UTF-8"]
        for path, name in zip(paths, names, strict=True)
    ]


def test_mistakes_in_texts_are_told_together_with_all_others() -> None:
    """Nobody restarts twice."""
    with pytest.raises(ConfigurationError) as caught:
        LogoutSettings.load({"LOGOUT_TEXTS": "/no/such/file", "LOGOUT_SCOPE": "all"}, env_file=None)

    assert [mistake[:4] for mistake in caught.value.mistakes] == ["E002", "E128"]


def test_what_is_no_file_and_no_mapping_is_a_mistake() -> None:
    """A keyword of the wrong type is told like a wrong file."""
    assert mistakes(["de"])[0].startswith("E129 LOGOUT_TEXTS: is not an object of objects")
    assert mistakes({5: {}})[0].startswith("E130 LOGOUT_TEXTS: 5 is not a language")


# ---- presets -------------------------------------------------------------------------------------------


def test_a_preset_says_what_it_says_in_any_language(site: BuildSite) -> None:
    """The preset campusbite answers its two members to the letter, and never a page, in any language."""
    http = site(preset="campusbite", texts={"de": {"error_title": "Anders"}})
    headers = HTML | {"Accept-Language": "de"}

    done = http.post("/api/auth/logout", json={"refreshToken": http.login("ann").refresh}, headers=headers)

    assert json.loads(done.body) == {"success": True, "message": "Logged out successfully."}
    assert done.header("content-language") is None
