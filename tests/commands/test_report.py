"""`resight report`: what it writes and refuses, and its page in a real browser."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from resight.cli import main
from resight.encoder import Encoder
from resight.reported import read_results

pytestmark = pytest.mark.xdist_group("browser")

QUICK = ("random:64x2/8", "--size", "32", "16", "--device", "cpu")


@pytest.fixture
def run(tmp_path: Path, coloured_people: Path) -> Path:
    """A run folder as a training leaves it."""
    folder = tmp_path / "my run"
    Encoder.load("random:64x2/8", size=(32, 16), device="cpu").save(folder / "encoder")
    data = {"data": str(coloured_people), "benchmark": None, "column": [], "pictures": 16, "identities": 4}
    settings = {"epochs": 2, "engine": {"seed": 7}}
    config = {"format": 1, "recipe": "finetune", "init": "random:64x2/8", "data": data, "settings": settings}
    (folder / "config.json").write_text(json.dumps(config | {"command": "resight train finetune …"}))
    (folder / "environment.json").write_text(
        json.dumps({"processor": "a slow one", "cores": 2, "libraries": {"torch": "9"}})
    )
    step = {"stage": "train", "epoch": 1, "rate": 1e-3, "terms": {"identity": 2.0, "triplet": 0.5}, "loss": 2.5}
    lines = [step | {"step": k, "seconds": 1.5 * k} for k in (1, 2)]
    (folder / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"stage": "tra')
    return folder


def test_a_run_is_explained_from_its_folder_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", str(run), "--device", "cpu", "--rerank", "--queries", "4"]) == 0
    shown = capsys.readouterr().out
    assert "with re-ranking" in shown
    assert "image → image: " in shown
    assert "query camera" not in shown
    assert f"written to {run / 'report' / 'report.html'} and" in shown
    html = (run / "report" / "report.html").read_text(encoding="utf-8")
    for said in (
        "Stage: train",
        "a slow one",
        "resight train finetune …",
        "train until 3 s",
        "finetune from random:64x2/8",
    ):
        assert said in html
    told = json.loads((run / "report" / "report.json").read_text(encoding="utf-8"))
    assert told["reproduction"]["settings"]["settings"]["engine"]["seed"] == 7
    assert told["reproduction"]["facts"]["training seed"] == "7"
    assert [counts["role"] for counts in told["reproduction"]["counts"]] == ["query", "gallery"]
    assert {lists["task"] for lists in told["lists"]} == {"image → image", "text → image"}
    assert all(len(lists["queries"]) == 2 and len(lists["cmc"]) == 20 for lists in told["lists"])
    assert {match["rank"] for match in told["lists"][0]["queries"][0]["matches"]} >= {1, 2, 3}
    (first, *_) = read_results(run / "report")  # of the same form as evaluate's
    assert first.rerank.startswith("k1 20")


def test_an_encoder_is_explained_on_data(
    coloured_people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["report", *QUICK, "--data", str(coloured_people), "--protocol", "any-camera", "--out", str(out), "--json"]
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == json.loads((out / "report.json").read_text(encoding="utf-8"))
    html = (out / "report.html").read_text(encoding="utf-8")
    assert "random:64x2/8 was measured on " in html
    assert "Training" not in html.split("<nav")[1].split("</nav")[0]


def test_what_cannot_be_explained_is_refused(
    run: Path,
    coloured_people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    data = ("--data", str(coloured_people))
    for words, said in (
        ((*QUICK, *data, "--queries", "0"), "--queries 0: at least 1."),
        ((*QUICK, *data, "--batch-size", "0"), "--batch-size 0: at least 1."),
        (QUICK, "--data is missing: an encoder alone does not say what to measure it on."),
        ((str(run / "encoder"),), "is no run folder: it has no config.json."),
        ((str(run / "gone"),), f"There is no run folder {run / 'gone'}."),
        ((str(run), "--benchmark", "market1501"), "--benchmark and --column say how to read --data. Name it."),
        ((str(run), *data, "--size", "32", "16"), "an encoder folder fixes size"),
        ((*QUICK, *data, "--out", str(tmp_path / "file")), "file: cannot be written"),
        ((*QUICK, *data, "--out", str(tmp_path / "out"), "--subset", "validation"), "has no validation records"),
        ((*QUICK, "--data", str(tmp_path / "none")), "none: no such file or folder."),
        ((*QUICK, *data, "--protocol", "sideways"), "sideways"),
        (("no-such-encoder", *data), "no-such-encoder"),
    ):
        assert main(["report", *words]) == 2
        shown = capsys.readouterr()
        assert said in shown.err
        assert shown.err.count("\n") == 1
    (run / "metrics.jsonl").write_text("no metrics\n")
    with monkeypatch.context() as patch:
        patch.setattr("resight.explaining.explain", None)  # is not reached
        assert main(["report", str(run)]) == 2
    assert "metrics.jsonl: is not the metrics of a run" in capsys.readouterr().err
    (run / "config.json").write_text((run / "config.json").read_text().replace("index.csv", "moved.csv"))
    assert main(["report", str(run)]) == 2
    assert "moved.csv: the data of " in capsys.readouterr().err
    shutil.rmtree(run / "encoder")
    assert main(["report", str(run), *data]) == 2
    assert "has no encoder yet. Let its training end" in capsys.readouterr().err
    (run / "config.json").write_text('{"format": 1, "recipe": "x", "init": "x", "data": {}, "settings": {}}')
    Encoder.load("random:64x2/8", size=(32, 16), device="cpu").save(run / "encoder")
    assert main(["report", str(run)]) == 2
    assert "does not say which data it was trained on. Name them: --data PATH." in capsys.readouterr().err
    assert not (tmp_path / "report-output").exists()


CONTRASTS = """
    const texts = [...document.querySelectorAll("main *")].filter((one) => one.checkVisibility()
        && [...one.childNodes].some((node) => node.nodeType === 3 && node.data.trim()));
    const drawn = (one) => one.closest("svg") !== null;
    const high = (one) => parseFloat(getComputedStyle(one).fontSize) * (drawn(one) ? one.getScreenCTM().a : 1);
    return {
        texts: texts.map((one) => [contrast(getComputedStyle(one)[drawn(one) ? "fill" : "color"], one),
            one.textContent.trim().slice(0, 30)]),
        drawn: texts.filter(drawn).length,
        smallest: Math.min(...texts.map(high)),
        dots: [...document.querySelectorAll(".map circle")].map((one) => contrast(getComputedStyle(one).fill, one)),
    };
"""


def test_the_page_in_a_browser(browser: Any, run: Path, contrast: str) -> None:
    """No request, no complaint, nothing wider than a phone, contrast in both themes, and a map to point at."""
    assert main(["report", str(run), "--device", "cpu"]) == 0
    address = (run / "report" / "report.html").as_uri()
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    context.set_default_timeout(10_000)
    page = context.new_page()
    asked: list[str] = []
    errors: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.goto(address)
    assert page.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    for width in (1280, 700, 360):
        page.set_viewport_size({"width": width, "height": 700})
        assert page.evaluate("document.documentElement.scrollWidth") == width
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        measured = page.evaluate("() => {" + contrast + CONTRASTS + "}")
        assert [(round(ratio, 2), text, scheme) for ratio, text in measured["texts"] if ratio < 4.5] == []
        assert len(measured["texts"]) > 200
        assert measured["drawn"] > 30
        assert measured["smallest"] > 9  # pixels, on a phone
        assert min(measured["dots"]) >= 3
    page.set_viewport_size({"width": 1280, "height": 860})
    page.emulate_media(color_scheme="light")
    page.locator(".map").scroll_into_view_if_needed()
    dot = page.locator(".map circle").last
    name = dot.get_attribute("data-name")
    dot.hover(force=True)
    card = page.locator(".card")
    assert name is not None
    assert card.inner_text().split(",")[0] in {"red", "green", "blue", "grey"}
    assert card.locator("img").evaluate("(image) => image.naturalWidth") > 0
    page.locator(".map").focus()
    page.keyboard.press("Home")  # nothing, and no complaint
    names = []
    for _ in range(3):
        page.keyboard.press("ArrowRight")
        names.append(card.inner_text())
    assert len(names) == 3
    assert page.locator(".map circle.shown").count() == 1
    colours = page.eval_on_selector_all(".map circle", "(dots) => dots.map((dot) => getComputedStyle(dot).fill)")
    page.get_by_role("button", name="camera").click()
    assert page.get_by_role("button", name="camera").get_attribute("aria-pressed") == "true"
    assert page.get_by_role("button", name="identity").get_attribute("aria-pressed") == "false"
    by_camera = page.eval_on_selector_all(".map circle", "(dots) => dots.map((dot) => getComputedStyle(dot).fill)")
    assert len(set(colours)) == 4
    assert len(set(by_camera)) == 2
    page.get_by_role("link", name="What it finds").click()
    snapshot = page.locator("body").aria_snapshot()
    for part in (
        'heading "What it finds" [level=2]',
        'navigation "Sections"',
        'region "Scores"',
        'columnheader "mAP"',
        'rowheader "scores"',
        'img "queries, % over rank: image → image from ',
        'img "loss over step: sum from ',
        'img "Map of the embeddings: 16 pictures',
    ):
        assert part in snapshot
    assert [url for url in asked if not url.startswith("data:")] == [address]
    assert errors == []
    context.close()
