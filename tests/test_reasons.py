"""Each rule on a case made for it, and on one that just misses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from resight.data.transforms import Preprocess
from resight.examples import Match, Ranked
from resight.reasons import RULES, Look, Usual, find_reasons, look, usual_look
from resight.types import Record

SEEN = Preprocess(128, 64, (0.5,) * 3, (0.5,) * 3, "bilinear")
QUERY = Record(Path("/q.jpg"), "ann", "1")
BEST = Match(Record(Path("/g.jpg"), "ann", "2"), 0.70, True, 4)
USUAL_LOOK = Look(enlarged=1.0, shape=2.0, light=120, contrast=60, detail=400, flat=0.2)
USUAL = Usual(0.8, 0.6, USUAL_LOOK, {}, {}, 10, 77)


def failed(first: float, best: float = 0.70, *, caption: str = "", name: str | None = "bob") -> Ranked:
    wrong = Match(Record(Path("/w.jpg"), name, "2"), first, False, 1)
    return Ranked(QUERY, 0.1, 4, (wrong,), caption, replace(BEST, similarity=best))


def kinds(ranked: Ranked, seen: Look | None = USUAL_LOOK, usual: Usual = USUAL) -> list[str]:
    return [reason.kind for reason in find_reasons(ranked, seen, usual)]


def test_a_plain_failure_has_no_reason() -> None:
    assert kinds(failed(0.75)) == []


def test_the_list_tells_of_look_alikes_and_of_queries_unlike_their_own() -> None:
    assert kinds(failed(0.8)) == ["look-alike"]
    (reason,) = find_reasons(failed(0.85), None, USUAL)
    assert reason.found == "bob: 0.850, best right picture: 0.700, usual: 0.800"
    (nobody,) = find_reasons(failed(0.85, name=None), None, USUAL)
    assert nobody.found.startswith("a picture of nobody known: 0.850")
    assert kinds(failed(0.75, best=0.59)) == ["unlike its own"]
    assert kinds(failed(0.709)) == ["close call"]
    assert kinds(failed(0.712)) == []
    right = Ranked(QUERY, 1.0, 1, (replace(BEST, rank=1, similarity=0.9),), "", replace(BEST, rank=1, similarity=0.9))
    assert kinds(right) == []
    unknown = Usual(float("nan"), float("nan"), USUAL_LOOK, {}, {})
    assert kinds(failed(0.99), usual=unknown) == []  # no right query to compare with
    left_out = Match(QUERY, 0.99, True, 0)
    assert kinds(Ranked(QUERY, 0.1, 4, (left_out, *failed(0.75).matches), "", BEST)) == []


def test_label_faults_of_the_query_and_of_the_first_picture() -> None:
    first = failed(0.75).matches[0].record
    for record, said in ((QUERY, "the query: more like eve"), (first, "the first picture: more like eve")):
        usual = replace(USUAL, faults={record: "more like eve"})
        (reason,) = find_reasons(failed(0.75), USUAL_LOOK, usual)
        assert (reason.kind, reason.found) == ("likely label fault", said)
    usual = replace(USUAL, faults={QUERY: "more like eve"})
    assert kinds(failed(0.75, caption="one two three four five six"), None, usual) == []  # its picture did not ask


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"enlarged": 2.1}, "low resolution"),
        ({"shape": 3.1}, "unusual shape"),
        ({"shape": 1.3}, "unusual shape"),
        ({"light": 59}, "dark"),
        ({"contrast": 29}, "low contrast"),
        ({"detail": 99}, "blurred"),
        ({"flat": 0.51}, "largely flat"),
        ({"enlarged": 2.0, "shape": 2.9, "light": 61, "contrast": 31, "detail": 101, "flat": 0.5}, None),
    ],
)
def test_the_picture_tells(changes: dict[str, float], kind: str | None) -> None:
    assert kinds(failed(0.75), replace(USUAL_LOOK, **changes)) == ([] if kind is None else [kind])


def test_words_tell() -> None:
    caption = "one two three four five six"
    assert kinds(failed(0.75, caption=caption), None) == []
    usual = replace(USUAL, owners={caption: frozenset({"ann", "bob", "eve"})})
    (reason,) = find_reasons(failed(0.75, caption=caption), None, usual)
    assert (reason.kind, reason.found) == ("words of several", "2 other identities, such as bob")
    assert kinds(failed(0.75, caption="a red coat"), None) == ["few words"]
    assert kinds(failed(0.75, caption="word " * 76), None) == ["words cut"]


def noise(size: tuple[int, int], *, mean: int = 128, spread: int = 100) -> Image.Image:
    values = np.random.default_rng(0).integers(-spread, spread, (size[1], size[0], 3)) + mean
    return Image.fromarray(values.clip(0, 255).astype(np.uint8))


def test_looks_of_drawn_pictures() -> None:
    usual = look(noise((64, 128)), SEEN)
    assert (usual.enlarged, usual.shape, usual.flat) == (1, 2, 0)
    assert usual.light == pytest.approx(128, abs=3)
    assert look(noise((16, 128)), SEEN).enlarged == 4
    assert look(noise((128, 128)), SEEN).shape == 1
    assert look(noise((64, 128), mean=20, spread=20), SEEN).light < 30
    assert look(noise((64, 128), spread=20), SEEN).contrast < usual.contrast / 2
    assert look(noise((64, 128)).filter(ImageFilter.GaussianBlur(3)), SEEN).detail < usual.detail / 4
    covered = noise((64, 128))
    covered.paste((90, 90, 90), (0, 48, 64, 128))
    assert look(covered, SEEN).flat == pytest.approx(0.625)
    assert look(noise((1, 1)), Preprocess(4, 2, (0.5,) * 3, (0.5,) * 3, "bilinear")).flat == 1  # smaller than a cell


def test_reasons_of_real_pictures_from_end_to_end(picture: Callable[..., Path]) -> None:
    usual = replace(USUAL, looks=usual_look([look(noise((64, 128)), SEEN)] * 3))
    dark = look(noise((20, 30), mean=20, spread=15), SEEN)
    assert kinds(failed(0.75), dark, usual) == ["low resolution", "dark", "low contrast", "blurred"]


def test_the_usual_is_the_median() -> None:
    looks = [replace(USUAL_LOOK, light=light, flat=light / 1000) for light in (10, 200, 30)]
    assert usual_look(looks) == replace(USUAL_LOOK, light=30, flat=0.03)


def test_rules_state_their_thresholds() -> None:
    assert "2 times" in RULES["low resolution"]
    assert "0.01" in RULES["close call"]
    assert "95 %" in RULES["unlike its own"]
