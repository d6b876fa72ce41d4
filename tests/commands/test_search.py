"""`resight search`: by pictures, words, both and rows; what it shows, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from resight.calibration import Calibration, Curve, Threshold
from resight.cli import main
from resight.encoder import Encoder
from resight.gallery import store
from resight.search import Terms, look, seek

ENCODER = ("--encoder", "random:64x1/8", "--size", "32", "16", "--device", "cpu")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a gallery of three red and three blue pictures, and one of nobody known; times by minute."""
    folder = tmp_path_factory.mktemp("search")
    lines = ["path,identity,camera,time,weather"]
    for number, (name, colour) in enumerate((("red", (220, 20, 20)), ("blue", (20, 20, 220)))):
        for k in range(3):
            noise = np.random.default_rng(10 * number + k).integers(-20, 20, (30, 20, 3))
            pixels = np.clip(noise + np.array(colour), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{name}{k}.png")
            lines.append(f"{name}{k}.png,{name},{'ab'[k % 2]},{60 * (3 * number + k)},{'rain' if k else ''}")
    Image.new("RGB", (9, 9), (99, 99, 99)).save(folder / "nobody.png")
    lines.append("nobody.png,,,,")
    (folder / "index.csv").write_text("\n".join(lines))
    assert main(["gallery", "create", str(folder / "gallery"), *ENCODER, "--data", str(folder / "index.csv")]) == 0
    return folder


@pytest.fixture
def search(made: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """search("--id", …): what `--json` prints."""

    def ask(*words: str) -> Any:
        capsys.readouterr()
        assert main(["search", str(made / "gallery"), *words, "--json"]) == 0
        return json.loads(capsys.readouterr().out)

    return ask


def names(told: Any) -> list[str]:
    return [Path(found["path"]).name for found in told["found"]]


def test_a_picture_finds_itself_first_and_then_its_like(made: Path, search: Callable[..., Any]) -> None:
    told = search("--image", str(made / "red1.png"), "--top", "3")
    assert names(told)[0] == "red1.png"
    assert set(names(told)) == {"red0.png", "red1.png", "red2.png"}
    assert told["found"][0]["similarity"] == pytest.approx(1, abs=1e-5)
    assert told["found"][0]["verdict"] is None


def test_the_command_gives_what_the_parts_give(made: Path, search: Callable[..., Any]) -> None:
    encoder = Encoder.load("random:64x1/8", size=(32, 16), device="cpu")
    gallery = store.open_gallery(str(made / "gallery"))
    images = [made / "red1.png", made / "blue0.png"]
    sought = seek(encoder, pictures=images, texts=["a red thing"], without=["blue"])
    expected = look(gallery, sought, Terms(top=4, text_weight=0.25, exact=True))
    asked = ["--image", str(images[0]), "--image", str(images[1]), "--text", "a red thing", "--not", "blue"]
    told = search(*asked, "--text-weight", "0.25", "--top", "4", "--exact")
    assert [found["id"] for found in told["found"]] == [found.entry.id for found in expected.found]
    similarities = [found["similarity"] for found in told["found"]]
    np.testing.assert_allclose(similarities, [found.similarity for found in expected.found], atol=1e-6)
    gallery.close()


def test_a_row_finds_others_without_an_encoder(
    made: Path, search: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With words it needs one, for them alone."""
    row = search("--image", str(made / "blue2.png"), "--top", "1")["found"][0]["id"]
    both = search("--id", row, "--text", "a blue thing", "--top", "7")
    assert len(both["found"]) == 6

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("no encoder is needed")

    monkeypatch.setattr(Encoder, "load", refuse)
    told = search("--id", row, "--top", "2")
    assert set(names(told)) == {"blue0.png", "blue1.png"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--identity", "blue", "--camera", "a"), {"blue0.png", "blue2.png"}),
        (("--identity", ""), {"nobody.png"}),
        (("--identity", "", "--identity", "red", "--camera", "b", "--camera", ""), {"nobody.png", "red1.png"}),
        (("--since", "120", "--until", "1970-01-01T00:04:00Z"), {"red2.png", "blue0.png"}),
        (("--field", "weather=rain", "--camera", "b"), {"red1.png", "blue1.png"}),
    ],
)
def test_conditions_hold_before_anything_is_compared(
    made: Path, search: Callable[..., Any], words: tuple[str, ...], expected: set[str]
) -> None:
    found = names(search("--image", str(made / "red1.png"), *words))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_of_each_identity_one(made: Path, search: Callable[..., Any]) -> None:
    found = search("--image", str(made / "red1.png"), "--one-each")["found"]
    assert sorted(row["identity"] or "" for row in found) == ["", "blue", "red"]
    assert found[0]["path"].endswith("red1.png")


def test_what_people_see(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    long = "a person in a red coat with a long description that goes on and on " * 12
    assert main(["search", str(made / "gallery"), "--text", long, "--top", "2", "--identity", "red"]) == 0
    shown = capsys.readouterr()
    header, *rows = (line.split() for line in shown.out.splitlines())
    assert header == ["similarity", "identity", "camera", "time", "id", "path", "fields"]
    assert len(rows) == 2
    assert rows[0][1] == "red"
    assert float(rows[0][0]) >= float(rows[1][0])
    assert rows[0][3].startswith("1970-01-01T00:0")
    assert rows[0][5].endswith(".png")
    assert shown.err.startswith("note: The text is longer than")


def test_a_calibrated_gallery_gives_verdicts(
    made: Path, search: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    gallery = store.open_gallery(str(made / "gallery"))
    loose, strict = (Threshold(rate, at, 0, rate, 0.9, 0.8, 1) for rate, at in ((0.1, -0.5), (0.01, 0.9999)))
    curve = Curve((loose, strict), 10.0, -5.0, 40, 400, 10, "any-camera", ((0.0, 0.5), (0.9, 0.01)))
    gallery.keep_calibration(Calibration(gallery.about.encoder, "data", curve).as_dict())
    try:
        told = search("--image", str(made / "red1.png"))
        assert [found["verdict"] for found in told["found"]][:2] == ["match", "ask a person"]
        assert told["found"][0]["probability"] == pytest.approx(1 / (1 + np.exp(-5)), abs=1e-4)
        assert main(["search", str(made / "gallery"), "--image", str(made / "red1.png"), "--top", "1"]) == 0
        header, row = capsys.readouterr().out.splitlines()
        assert header.split()[:3] == ["similarity", "verdict", "probability"]
        assert row.split()[:4] == ["1.000", "match", "99.3", "%"]
    finally:
        gallery.keep_calibration(None)
        gallery.close()


def test_nothing_found_is_said_and_no_failure(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = str(made / "gallery")
    asked = ["--image", str(made / "red1.png")]
    for words, said in (
        (("--camera", "z"), "none of the 7 rows is what --camera, --identity and the like ask for"),
        (("--threshold", "1.5", "--camera", "a"), "none of 4 rows is at least as similar as --threshold 1.5"),
    ):
        assert main(["search", place, *asked, *words, "--sheet", str(tmp_path / "none.jpg")]) == 0
        assert said in capsys.readouterr().out
    assert not (tmp_path / "none.jpg").exists()
    assert main(["gallery", "create", str(tmp_path / "empty"), *ENCODER]) == 0
    capsys.readouterr()
    assert main(["search", str(tmp_path / "empty"), *asked]) == 0
    assert "nothing found: the gallery is empty. `resight gallery add" in capsys.readouterr().out


def test_a_sheet_shows_the_answers(made: Path, tmp_path: Path) -> None:
    """It is drawn from the gallery: the pictures may be gone."""
    moved = (made / "red0.png").rename(made / "moved.png")
    try:
        sheet = tmp_path / "new" / "sheet.jpg"
        words = ["--image", str(made / "red1.png"), "--identity", "red", "--sheet", str(sheet)]
        assert main(["search", str(made / "gallery"), *words]) == 0
        with Image.open(sheet) as image:
            pixels = np.asarray(image).reshape(-1, 3).astype(int)
        red = ((pixels[:, 0] > 150) & (pixels[:, 1] < 90) & (pixels[:, 2] < 90)).sum()
        assert red > 3 * 100 * 100 / 2  # three pictures of 107 × 160
    finally:
        moved.rename(made / "red0.png")


def test_what_cannot_run_is_one_line(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no picture.png").write_text("words")
    red = ("--image", str(made / "red1.png"))
    for words, message in (
        ((), "Nothing is asked. Give --image FILE, --text WORDS, or --id ROW."),
        (("--not", "a hat"), "Nothing is asked"),
        ((*red, "--not", "a hat"), "--not: what is left out needs words"),
        ((*red, "--id", "x"), "--image and --id: ask by pictures or by rows"),
        (("--id", "nobody"), "row nobody: is not in the gallery"),
        (("--image", str(tmp_path / "no picture.png")), "no picture.png: is not a picture"),
        (("--image", "nowhere.png"), "nowhere.png: does not exist"),
        (("--text", " "), "The text is empty"),
        ((*red, "--top", "0"), "top 0: 1 to 10,000 results"),
        ((*red, "--text-weight", "1.5"), "text weight 1.5: 0 (pictures alone)"),
        ((*red, "--threshold", "nan"), "threshold nan"),
        ((*red, "--since", "soon"), "--since 'soon' is neither UTC seconds nor a date"),
        ((*red, "--field", "rain"), "--field rain: write it as NAME=VALUE"),
        ((*red, "--sheet", "sheet.png"), "--sheet sheet.png: is written as JPEG. Name it sheet.jpg."),
        ((*red, "--sheet", "/dev/null/x.jpg"), "/dev/null: cannot be written"),
        ((*red, "--encoder", "random:64x2/8"), "they cannot be compared"),
        ((*red, "--encoder", "nonsense"), "nonsense: neither a file nor a known name"),
    ):
        assert main(["search", str(made / "gallery"), *words]) == 2, words
        shown = capsys.readouterr()
        assert shown.out == ""
        assert message in shown.err
        assert shown.err.count("\n") == 1
    assert main(["search", str(tmp_path / "none"), *red]) == 2
    assert "is no gallery. Make one with `resight gallery create`" in capsys.readouterr().err


def test_words_need_a_text_tower(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Encoder.load("random:64x1/8", size=(32, 16), with_text=False, device="cpu").save(tmp_path / "encoder")
    place = str(tmp_path / "gallery")
    words = ["gallery", "create", place, "--encoder", str(tmp_path / "encoder"), "--data", str(made / "index.csv")]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["search", place, "--text", "a red thing"]) == 2
    assert "no text tower" in capsys.readouterr().err
    assert main(["search", place, "--image", str(made / "red1.png"), "--top", "1"]) == 0
    assert "red1.png" in capsys.readouterr().out
    assert main(["gallery", "info", place]) == 0
    assert "cannot be asked in words" in capsys.readouterr().out
