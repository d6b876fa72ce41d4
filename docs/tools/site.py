"""What the site has beyond docs/: pages and examples that lie elsewhere in the repository, and the links to them."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]

ELSEWHERE = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "src/resight/clip/mini/README.md": "resight-mini.md",
}
"""A file of the repository, and the page that it is on the site."""

ROW = re.compile(r"^\|.*$", re.MULTILINE)
LINK = re.compile(r"(?<=\]\()(?![a-z]+:|#)([^)#\s]+)")


def on_files(files: Files, config: Any) -> Files:
    """The pages of ELSEWHERE and the examples join those of docs/."""
    for source, page in ELSEWHERE.items():
        if page != "index.md":
            files.append(File.generated(config, page, content=(ROOT / source).read_text(encoding="utf-8")))
    for example in sorted((ROOT / "examples").glob("*.py")):
        files.append(File.generated(config, f"examples/{example.name}", abs_src_path=str(example)))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that lead through the repository, as they do on the forge, lead through the site; figures do not break."""
    if page.file.src_uri.startswith("extending/"):
        page.meta["hide"] = ["toc"]  # whose column the lines of programs need
    at = {page: source for source, page in ELSEWHERE.items()}.get(page.file.src_uri)
    here = posixpath.dirname(f"docs/{page.file.src_uri}" if at is None or at == "README.md" else at)
    markdown = ROW.sub(lambda row: _unbroken(row[0]), markdown)
    return LINK.sub(lambda link: _on_the_site(link[1], here, posixpath.dirname(page.file.src_uri)), markdown)


def _unbroken(row: str) -> str:
    """A row of a table whose figures, as 77.2 ± 0.1 (73–81), stay on a line."""
    row = re.sub(r"(?<=\d) ([±/]) (?=\d)", "\u00a0\\1\u00a0", row)
    return re.sub(r"(?<=\d)–(?=\d)", "\u2060–\u2060", row)


def _on_the_site(link: str, here: str, page_folder: str) -> str:
    """The link, seen from the page's folder in docs/; as it is where it leads to nothing that the site has."""
    target = posixpath.normpath(posixpath.join(here, link))
    if target in ELSEWHERE:
        target = ELSEWHERE[target]
    elif target.startswith("docs/"):
        target = target.removeprefix("docs/")
    elif not target.startswith("examples/"):
        return link
    return posixpath.relpath(target, page_folder or ".")
