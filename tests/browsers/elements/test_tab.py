"""What every test of this package rests on: a tab notices what must not happen."""

from __future__ import annotations

from .tab import Tab

CAUSES = {
    "error: wrong": "() => { setTimeout(() => { throw new Error('wrong'); }); }",
    "rejection: Error: broken": "() => { Promise.reject(new Error('broken')); }",
    "console: said": "() => console.error('said')",
    "policy: style-src-attr inline": "() => document.body.setAttribute('style', 'color: red')",
    "policy: script-src-elem inline": """() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = true";
      document.body.append(script);
    }""",
}


def test_a_tab_notices_errors_rejections_and_violations(tab: Tab) -> None:
    """Also those of a page that it has left meanwhile."""
    tab.open("empty")
    for cause in CAUSES.values():
        tab.page.evaluate(cause)
    tab.page.evaluate("() => new Promise(resolve => setTimeout(resolve))")
    ran = tab.page.evaluate("() => window.ran")
    tab.page.goto(f"{tab.origin}/bye")

    noticed = "\n".join(tab.troubles)
    tab.troubles.clear()

    assert [cause for cause in CAUSES if cause not in noticed] == []
    assert ran is None
