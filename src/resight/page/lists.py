"""What queries find, right and wrong, why some fail, and where the encoder looked."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from xml.etree.ElementTree import Element

import numpy as np

from resight.examples import Match
from resight.explaining import Explained, Lists, Map
from resight.markup import element
from resight.page.document import Pictures, scrolling, shade
from resight.reasons import RULES
from resight.types import Protocol, Record

N_NAMED = 500  # queries that have nothing to find
PLURAL = {"query": "queries", "caption": "captions"}
N_STRONGEST = 3  # words that are named with what they add
MARKS = {"right": "✓", "wrong": "✗", "left out": "–"}
LEFT_OUT: dict[Protocol, str] = {
    "cross-camera": (
        "–, a dotted frame and no rank: of the query's identity and camera, which the protocol leaves out; at most "
        "three are shown."
    ),
    "any-camera": "The query's own picture is left out, as in the figures.",
    "vehicleid": "The lists are over all pictures but the query's own; the figures over ten draws of one picture each.",
    "text": "All pictures count, the caption's own too.",
}
LOOKED = (
    "The darkened pictures show where the encoder looked: what stays light brings query and first match together, "
    "beyond what all pictures have in common."
)
NOT_LOOKED = "Where the encoder looked is not known of an exported one."
ASKED = {"image → image": "pictures", "text → image": "captions", "image → text": "pictures for captions"}


def records_of(lists: Lists) -> Iterable[Record]:
    """Every picture that is shown."""
    for one in lists.shown:
        best = one.ranked.best_right
        yield one.ranked.query
        yield from (match.record for match in one.ranked.matches)
        yield from [best.record] if best else []


def reasons_table(lists: Lists) -> list[Element]:
    """How often each reason holds; nothing where no query fails."""
    n_failed, n_right = lists.n_judged
    if not n_failed:
        return []
    which = "" if n_failed == lists.n_failed else f" {n_failed:,} of them were judged, at even distances."
    about = (
        f"{lists.n_failed:,} {ASKED[lists.task]} find another identity first.{which} Several reasons may hold for a "
        "query, or none. A reason that holds for right queries as often explains little."
    )
    rows = [
        element(
            "tr",
            element("th", one.kind, element("br"), element("small", RULES[one.kind]), scope="row"),
            element("td", f"{one.n_failed:,} ({_percent(one.n_failed, n_failed)})"),
            element("td", f"{one.n_right:,} ({_percent(one.n_right, n_right)})"),
        )
        for one in sorted(lists.reasons, key=lambda one: -one.n_failed)
    ]
    names = ("reason, and where it holds", f"of {n_failed:,} failed", f"of {n_right:,} right")
    head = element("tr", *(element("th", name, scope="col") for name in names))
    caption = element("caption", f"Why {ASKED[lists.task]} may have failed")
    table = element("table", caption, element("thead", head), element("tbody", *rows), class_="reasons")
    return [element("p", about), scrolling(table, f"Reasons for {ASKED[lists.task]}")]


def unanswered(lists: Lists) -> list[Element]:
    """How many queries have nothing to find, why, and which."""
    return [_lacking(why, queries) for why, queries in lists.unanswered.items()]


def _lacking(why: str, queries: Sequence[tuple[Record, str]]) -> Element:
    kind = "caption" if queries[0][1] else "query"
    many = f"{len(queries):,} {PLURAL[kind]} have" if len(queries) > 1 else f"1 {kind} has"
    named = [
        element("li", *([f"“{caption}”, "] if caption else []), f"{record.path.name}: {name_of(record)}")
        for record, caption in queries[:N_NAMED]
    ]
    rest = [element("li", f"and {len(queries) - N_NAMED:,} more, in report.json")] if len(queries) > N_NAMED else []
    return element("details", element("summary", f"{many} {why}: in no figure"), element("ul", *named, *rest))


def _percent(n: int, of: int) -> str:
    return f"{100 * n / of:.0f}\N{NO-BREAK SPACE}%" if of else "–"


def query_lists(lists: Lists, protocol: Protocol, pictures: Pictures) -> list[Element]:
    asked = ASKED[lists.task]
    about = (
        "A row is a query and the gallery pictures most similar to it, with rank and cosine. ✓ and a solid frame: the "
        f"same identity; ✗ and a dashed frame: another one. {LEFT_OUT[protocol]} A picture behind the tenth is the "
        f"best right one. {LOOKED if lists.shown[0].maps[1] is not None else NOT_LOOKED}"
    )
    failed = [one for one in lists.shown if one.failed]
    right = [one for one in lists.shown if not one.failed]
    parts = [element("p", about)]
    for name, shown, n in (("fail", failed, lists.n_failed), ("succeed", right, lists.n_right)):
        if n:
            parts.append(element("h3", f"{asked.capitalize()} that {name}: {len(shown):,} of {n:,}"))
        parts += [_query(one, pictures) for one in shown]
    return parts


def _query(one: Explained, pictures: Pictures) -> Element:
    ranked = one.ranked
    name = name_of(ranked.query)
    title = f"“{ranked.caption}”" if ranked.caption else f"Query {name}"
    precision = f"average precision {100 * ranked.average_precision:.1f}\N{NO-BREAK SPACE}%"
    said = f"{precision}, first right picture at rank {ranked.first_rank:,}"
    asked = _figure(
        pictures.draw(ranked.query, f"Query {name}"),
        ["written for" if ranked.caption else "query"],
        ranked.query,
        "query",
    )
    first = next(match for match in ranked.matches if match.rank)
    looked = [
        _looked(pictures.draw(record, what), shares, what, where)
        for record, shares, what, where in (
            (ranked.query, one.maps[0], "Query", "the query"),
            (first.record, one.maps[1], "Rank 1", "rank 1"),
        )
        if shares is not None
    ]
    matches = [_match(match, pictures) for match in ranked.matches]
    if ranked.best_right and ranked.best_right not in ranked.matches:
        matches.append(_match(ranked.best_right, pictures))
    strip = element("div", asked, *looked, element("ol", *(element("li", match) for match in matches)), class_="strip")
    reasons = [element("li", element("b", r.kind), f": {r.found}") for r in one.reasons]
    if one.failed and not reasons:
        reasons = [element("li", "No rule tells why.")]
    return element(
        "article",
        element("h4", title),
        element("p", said, class_="about"),
        *([_words(one.words)] if one.words else []),
        *([element("ul", *reasons, class_="why")] if one.failed else []),
        scrolling(strip, f"Pictures found for {title}"),
        class_="ranked",
    )


def _words(words: Sequence[tuple[str, float]]) -> Element:
    """The caption; the more its likeness to the first match falls without a word, the thicker the line below it."""
    most = max(fall for _, fall in words)
    said: list[Element | str] = ["What each word adds: "]
    for word, fall in words:
        count = max(fall, 0.0) / most if most > 0 else 0.0
        said += [element("span", word, style=f"--count:{count:.2f}", title=f"{fall:+.3f}".replace("-", "−")), " "]
    strongest = sorted(words, key=lambda one: -one[1])[:N_STRONGEST]
    named = ", ".join(f"{word} {fall:+.3f}".replace("-", "−") for word, fall in strongest)
    return element("p", *said, element("small", f"({named})"), class_="words")


def _match(match: Match, pictures: Pictures) -> Element:
    role = "left out" if not match.rank else "right" if match.right else "wrong"
    mark = element("b", MARKS[role], class_="mark", aria_hidden="true")
    rank = f"{match.rank:,} · " if match.rank else ""
    alt = f"{f'Rank {match.rank:,}' if match.rank else 'No rank'}, {role}: {name_of(match.record)}"
    figure = _figure(pictures.draw(match.record, alt), [mark, f" {rank}{match.similarity:.3f}"], match.record, "match")
    figure.set("class", f"match {role.replace(' ', '-')}")
    return figure


def _figure(picture: Element, said: Sequence[Element | str], record: Record, kind: str) -> Element:
    identity = "unknown" if record.identity is None else record.identity
    camera = "" if record.camera is None else f"camera {record.camera}"
    labels = [element("span", text, title=text) for text in (identity, camera)]
    return element("figure", picture, element("figcaption", *said, *labels), class_=f"match {kind}")


def _looked(picture: Element, shares: Map, what: str, where: str) -> Element:
    told = f"looked at, {what.lower()}"
    picture.set("alt", f"Where the encoder looked in {where}: {_in_words(shares)}")
    over = element("img", src=shade(shares), alt="", class_="shade")
    return element(
        "figure", element("span", picture, over, class_="stack"), element("figcaption", told), class_="match looked"
    )


def _in_words(shares: Map) -> str:
    """How much of it lies in each third of the height."""
    if not shares.any():
        return "nothing counts"
    thirds = [float(part.sum()) for part in np.array_split(shares, 3)]
    return ", ".join(
        f"{name} {100 * share:.0f} %"
        for name, share in zip(("upper third", "middle", "lower third"), thirds, strict=True)
    )


def name_of(record: Record) -> str:
    """A picture in words."""
    camera = "" if record.camera is None else f", camera {record.camera}"
    return ("of unknown identity" if record.identity is None else record.identity) + camera
