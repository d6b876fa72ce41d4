from __future__ import annotations

from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from resight.markup import element


def written(root: Element) -> str:
    return ElementTree.tostring(root, encoding="unicode", method="html")


def test_text_and_attributes_are_escaped() -> None:
    made = element("p", "a < b & <script>", title='"><img onerror="x', class_="note", aria_label="c")
    assert written(made) == (
        '<p title="&quot;&gt;<img onerror=&quot;x" class="note" aria-label="c">a &lt; b &amp; &lt;script&gt;</p>'
    )


def test_text_and_elements_keep_their_order() -> None:
    made = element("p", "one ", element("b", "two"), " three", " four", element("br"), "five")
    assert written(made) == "<p>one <b>two</b> three four<br>five</p>"
