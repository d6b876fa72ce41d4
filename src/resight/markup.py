"""HTML and SVG as trees of elements, so that what users wrote is never markup."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from resight.errors import DataError

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
"""A page of ours holds what it needs, and may ask nobody for anything."""


def element(tag: str, *inside: Element | str, **attributes: object) -> Element:
    """An element around text and elements; text and attributes are escaped where the tree is written.

    `class_` stands for class, `aria_label` for aria-label.
    """
    made = Element(tag, {name.rstrip("_").replace("_", "-"): str(value) for name, value in attributes.items()})
    for part in inside:
        if isinstance(part, Element):
            made.append(part)
        elif len(made):
            made[-1].tail = (made[-1].tail or "") + part
        else:
            made.text = (made.text or "") + part
    return made


def data(name: str, value: object) -> Element:
    """JSON for a page's script, by its id; no text in it can end the element."""
    return element("script", json.dumps(value).replace("<", "\\u003c"), id=name, type="application/json")


def write_page(path: Path, title: str, package: str, body: Sequence[Element], **attributes: object) -> None:
    """Writes an HTML file that needs nothing else, whole or not at all.

    package: its page.css and page.js go in. attributes: of the body. Raises DataError when it cannot be written.
    """
    style, script = ((files(package) / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", title),
        element("style", style),
    )
    root = element("html", head, element("body", *body, element("script", script), **attributes), lang="en")
    text = "<!DOCTYPE html>\n" + ElementTree.tostring(root, encoding="unicode", method="html") + "\n"
    written = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        written.write_text(text, encoding="utf-8", errors="replace")  # a file name need not be text
        written.replace(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error}). Free the disk or name another place.") from error
    finally:
        written.unlink(missing_ok=True)
