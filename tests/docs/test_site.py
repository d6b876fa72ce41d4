"""The built site asks nothing of a network, is whole, and its search works from a file."""

from __future__ import annotations

import json
import os
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from .pages import ROOT

pytestmark = pytest.mark.docs
SITE = ROOT / "site"


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    found = sorted(SITE.rglob("*.html"))
    assert found, "the site is not built; run: make docs"
    return found


class Requests(HTMLParser):
    """What a page makes a browser fetch; links that a reader may follow are not among it."""

    def __init__(self) -> None:
        super().__init__()
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "link" and given.get("rel") not in ("canonical", "next", "prev"):
            self.addresses.append(given.get("href", ""))
        elif tag != "a":
            names = ("src", "srcset", "poster", "data", "action", "xlink:href")
            self.addresses += [given[name] for name in names if name in given]
        self.addresses += re.findall(r"url\(([^)]*)\)", given.get("style", ""))


def is_outside(address: str) -> bool:
    return bool(re.match(r"\s*['\"]?(https?:)?//", address))


def test_no_page_fetches_anything_from_outside(pages: list[Path]) -> None:
    for page in pages:
        requests = Requests()
        text = page.read_text(encoding="utf-8")
        requests.feed(text)
        assert [address for address in requests.addresses if is_outside(address)] == [], page
        for style in re.findall(r"<style[^>]*>(.*?)</style>", text, flags=re.DOTALL):
            assert not re.search(r"@import|https?://", style), page


def test_no_style_fetches_anything_from_outside() -> None:
    for style in SITE.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        assert [address for address in re.findall(r"url\(([^)]*)\)", text) if is_outside(address)] == [], style
        assert not re.search(r"@import\s+(url\()?['\"]?https?:", text), style


def test_a_request_from_outside_would_be_found() -> None:
    requests = Requests()
    requests.feed('<script src="https://x/y.js"></script><a href="https://x">x</a><link rel="stylesheet" href="//x/y">')
    assert [address for address in requests.addresses if is_outside(address)] == ["https://x/y.js", "//x/y"]


def test_every_page_of_the_navigation_is_built() -> None:
    def names(item: object) -> list[str]:
        if isinstance(item, str):
            return [item]
        inside = item.values() if isinstance(item, dict) else item
        return [name for inner in inside for name in names(inner)]  # type: ignore[union-attr]

    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    for name in names(config["nav"]):
        built = (SITE / name).with_suffix(".html")
        assert built.is_file(), f"{name} is not in the site; run: make docs"
        assert "--8&lt;--" not in built.read_text(encoding="utf-8")


def test_the_reference_shows_every_public_name() -> None:
    import resight

    known = "".join(page.read_text(encoding="utf-8") for page in (SITE / "reference").glob("*.html"))
    for name in resight.__all__:
        home = getattr(resight, name)
        assert f'id="{home.__module__}.{home.__name__}"' in known, name


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_search_works_from_a_file(pages: list[Path]) -> None:
    """In a real browser that is cut off from the network: nothing is asked for, and no error is said."""
    browser_path = shutil.which("chromium")
    if browser_path is None:
        assert "RESIGHT_REQUIRE_ALL" not in os.environ, "chromium is not here"
        pytest.skip("needs chromium")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page()
        asked: list[str] = []
        errors: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto((SITE / "index.html").as_uri())
        page.locator("input.md-search__input").click()
        page.keyboard.type("re-ranking", delay=10)
        page.wait_for_selector(".md-search-result__item a", timeout=20_000)
        found = page.locator(".md-search-result__item a").first.get_attribute("href") or ""
        browser.close()
    assert errors == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == [], json.dumps(asked)
    assert ".html" in found
