"""Why a query may have failed: rules with stated thresholds, on its list, its picture, its words and its label.

A rule that holds for right queries as often as for failed ones explains nothing, so both are counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.clip.tokenizer import count_tokens
from resight.data.transforms import Preprocess
from resight.examples import Match, Ranked
from resight.types import Record

LOW_SHARE = 0.05  # of the right queries have a best right picture less similar than this
CLOSE = 0.01  # of the cosine
ENLARGED = 2.0  # times, in height or width, from the file to what the encoder sees
STRETCHED = 1.5  # times the usual height for its width, or the usual width for its height
FAINT = 0.5  # of the data's median: light, and contrast
BLURRED = 0.25  # of the data's median: detail
FLAT, FLAT_STEPS, CELL = 0.5, 3.0, 8  # share of cells, of 8 × 8 pixels, within which grey levels hardly differ

RULES: Final[Mapping[str, str]] = {
    "look-alike": "another identity stands first, no less similar than the median best right picture of right queries",
    "unlike its own": f"{100 - 100 * LOW_SHARE:g} % of right queries have a right picture more similar than its best",
    "close call": f"its best right picture is less similar than the first by at most {CLOSE:g}",
    "likely label fault": "an audit by this encoder is 99 % sure that its label, or the first picture's, is wrong",
    "low resolution": f"the file is enlarged more than {ENLARGED:g} times for the encoder",
    "unusual shape": f"height to width differs more than {STRETCHED:g} times from the data's median: a crop, or two",
    "dark": f"mean light below {FAINT:g} of the data's median",
    "low contrast": f"grey levels spread less than {FAINT:g} of the data's median",
    "blurred": f"detail (energy of the Laplacian) below {BLURRED:g} of the data's median, at the encoder's size",
    "largely flat": f"over {100 * FLAT:g} % of its {CELL} × {CELL} cells, and twice the usual, hold no detail: covered",
    "words of several": "another identity has the same caption",
    "words cut": "the caption is longer than the text tower reads",
    "few words": "the caption has fewer than half the data's median number of words",
}
"""What each reason says holds."""


@dataclass(frozen=True, slots=True)
class Reason:
    """A rule that holds. kind: of RULES; found: the figures it was found by, as a sentence."""

    kind: str
    found: str


@dataclass(frozen=True, slots=True)
class Look:
    """What a picture is like to the eye.

    enlarged: times, the larger of height and width, to the encoder's size. shape: height over width. light, contrast:
    mean and standard deviation of the grey levels, 0 to 255. detail: mean square of the Laplacian at the encoder's
    size. flat: share of the cells that hold no detail.
    """

    enlarged: float
    shape: float
    light: float
    contrast: float
    detail: float
    flat: float


def look(image: Image.Image, preprocess: Preprocess) -> Look:
    """image: RGB, as `open_image` gives it."""
    grey = np.asarray(image.convert("L").resize((preprocess.width, preprocess.height)), dtype=np.float64)
    inner = grey[1:-1, 1:-1]
    laplacian = grey[:-2, 1:-1] + grey[2:, 1:-1] + grey[1:-1, :-2] + grey[1:-1, 2:] - 4 * inner
    return Look(
        enlarged=max(preprocess.height / image.height, preprocess.width / image.width),
        shape=image.height / image.width,
        light=float(grey.mean()),
        contrast=float(grey.std()),
        detail=float(np.square(laplacian).mean()) if laplacian.size else 0.0,
        flat=_flat(grey),
    )


def _flat(grey: NDArray[np.float64]) -> float:
    rows, columns = (side // CELL for side in grey.shape)
    if not rows * columns:
        return float(grey.std() < FLAT_STEPS)
    cells = grey[: rows * CELL, : columns * CELL].reshape(rows, CELL, columns, CELL)
    return float((cells.std(axis=(1, 3)) < FLAT_STEPS).mean())


def usual_look(looks: Sequence[Look]) -> Look:
    """The median of each."""
    return Look(*(float(np.median([getattr(one, field.name) for one in looks])) for field in fields(Look)))


@dataclass(frozen=True, slots=True)
class Usual:
    """What the rules compare with.

    median, low: similarity of the best right picture over the right queries: its median, and below which LOW_SHARE of
    them lie; nan where no query is right. looks: of the data's pictures. faults: of a picture, why its label is likely
    wrong. owners: identities by caption. n_words: the median of a caption; context_length: of the text tower.
    """

    median: float
    low: float
    looks: Look | None
    faults: Mapping[Record, str]
    owners: Mapping[str, frozenset[str]]
    n_words: float = 0.0
    context_length: int = 0


def find_reasons(ranked: Ranked, seen: Look | None, usual: Usual) -> tuple[Reason, ...]:
    """Every rule that holds, in the order of RULES. seen: of the query's picture, None where a caption asks."""
    best = ranked.best_right
    kept = [match for match in ranked.matches if match.rank]
    if best is None or not kept:
        return ()
    found = [*_of_list(kept[0], best, usual), *_of_label(ranked, kept[0], usual)]
    if ranked.caption:
        found += _of_words(ranked, usual)
    elif seen is not None and usual.looks is not None:
        found += _of_look(seen, usual.looks)
    return tuple(sorted(found, key=lambda reason: list(RULES).index(reason.kind)))


def _of_list(first: Match, best: Match, usual: Usual) -> list[Reason]:
    found = []
    if not first.right and first.similarity >= usual.median:
        name = "a picture of nobody known" if first.record.identity is None else first.record.identity
        text = f"{name}: {first.similarity:.3f}, best right picture: {best.similarity:.3f}, usual: {usual.median:.3f}"
        found.append(Reason("look-alike", text))
    if best.similarity < usual.low:
        found.append(Reason("unlike its own", f"best right picture: {best.similarity:.3f}, below {usual.low:.3f}"))
    if not first.right and (apart := first.similarity - best.similarity) <= CLOSE:
        found.append(Reason("close call", f"{apart:.4f} apart, at rank {best.rank:,}"))
    return found


def _of_label(ranked: Ranked, first: Match, usual: Usual) -> list[Reason]:
    for record, what in ((ranked.query, "the query"), (first.record, "the first picture")):
        if record in usual.faults and not (ranked.caption and record == ranked.query):
            return [Reason("likely label fault", f"{what}: {usual.faults[record]}")]
    return []


def _of_look(seen: Look, usual: Look) -> list[Reason]:
    shape = math.exp(abs(math.log(seen.shape / usual.shape)))
    faint = FAINT * usual.light, FAINT * usual.contrast, BLURRED * usual.detail
    rules = (
        (seen.enlarged > ENLARGED, "low resolution", f"enlarged {seen.enlarged:.1f} times"),
        (shape > STRETCHED, "unusual shape", f"height/width {seen.shape:.2f}, usual {usual.shape:.2f}"),
        (seen.light < faint[0], "dark", f"mean light {seen.light:.0f} of 255, usual {usual.light:.0f}"),
        (seen.contrast < faint[1], "low contrast", f"spread {seen.contrast:.0f}, usual {usual.contrast:.0f}"),
        (seen.detail < faint[2], "blurred", f"detail {seen.detail:.0f}, usual {usual.detail:.0f}"),
        (
            seen.flat > max(FLAT, min(2 * usual.flat, 0.95)),
            "largely flat",
            f"{100 * seen.flat:.0f} % without detail, usual {100 * usual.flat:.0f} %",
        ),
    )
    return [Reason(kind, text) for holds, kind, text in rules if holds]


def _of_words(ranked: Ranked, usual: Usual) -> list[Reason]:
    others = usual.owners.get(ranked.caption, frozenset()) - {ranked.query.identity or ""}
    n_words, n_tokens = len(ranked.caption.split()), count_tokens(ranked.caption)
    rules = (
        (bool(others), "words of several", f"{len(others):,} other identities, such as {min(others, default='')}"),
        (n_tokens > usual.context_length > 0, "words cut", f"{n_tokens} tokens, {usual.context_length} are read"),
        (n_words < usual.n_words / 2, "few words", f"{n_words} words, usual {usual.n_words:g}"),
    )
    return [Reason(kind, text) for holds, kind, text in rules if holds]
