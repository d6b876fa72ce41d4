"""HTML and SVG as trees of elements, so that what users wrote is never markup."""

from __future__ import annotations

from xml.etree.ElementTree import Element


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
