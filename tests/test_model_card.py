"""The card of a shared encoder: what it says loudly, which numbers it holds, and that strangers' text stays text."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard

from resight.cards import About, Training, read_about
from resight.data.index import read
from resight.encoder import Card
from resight.engine import Engine
from resight.evaluate import Rules, Subset, evaluate
from resight.launch import Order, launch
from resight.model_card import model_card
from resight.optim import Descent
from resight.recipes import finetune
from resight.report import as_json, write_json
from resight.reported import read_results
from resight.starting import Start


@pytest.fixture
def about(small_encoder: Callable[..., Path]) -> About:
    known = read_about(small_encoder(data="f00d", data_licences=("CC-BY-4.0",)))
    return replace(known, training=Training("farm", 1200, 34))


def front(card: str) -> dict[str, Any]:
    found: dict[str, Any] = ModelCard(card).data.to_dict()
    return found


def rows(card: str, start: str) -> list[list[str]]:
    """Cells of the rows of a table that begin with a text."""
    return [[cell.strip() for cell in line.split(" | ")] for line in card.splitlines() if line.startswith(f"| {start}")]


def test_the_hub_reads_its_front_matter(about: About) -> None:
    found = front(model_card(about, "me/cows", ()))
    assert found == {
        "license": "apache-2.0",
        "library_name": "resight",
        "pipeline_tag": "image-feature-extraction",
        "tags": ["re-identification", "image-retrieval", "clip"],
    }
    source = Card("openai:ViT-B-16", "MIT", "f00d", (), ("own",))
    other = front(model_card(replace(about, card=source, can_read=True), "me/cows", ()))
    assert (other["license"], other["base_model"]) == ("mit", "timm/vit_base_patch16_clip_224.openai")
    assert "text-to-image-retrieval" in other["tags"]
    pulled = replace(about.card, source="hf-hub:you/theirs")
    assert front(model_card(replace(about, card=pulled), "me/cows", ()))["base_model"] == "you/theirs"


@pytest.mark.parametrize(
    ("card", "name"),
    [
        (Card("x", "MIT", "f00d"), "mit-and-the-terms-of-its-pictures"),
        (Card("x", "MIT", "f00d", (), ("own", "withdrawn by its authors")), "mit-and-the-terms-of-its-pictures"),
        (Card("x", "Apple AMLR (research only)"), "apple-amlr-research-only-and-the-terms-of-its-pictures"),
    ],
)
def test_a_licence_counts_for_the_hub_only_where_the_pictures_allow_it(card: Card, name: str, about: About) -> None:
    found = front(model_card(replace(about, card=card), "me/cows", ()))
    assert (found["license"], found["license_name"]) == ("other", name)
    assert found["license_link"] == "https://huggingface.co/me/cows#licences"


def test_unknown_and_withdrawn_are_said_loudly(about: About) -> None:
    plain = model_card(about, "me/cows", ())
    assert "- Pictures that it was trained on: **CC-BY-4.0**" in plain
    assert "UNKNOWN MEANS UNKNOWN" not in plain
    assert "WITHDRAWN" not in plain
    silent = model_card(replace(about, card=Card("x", "MIT", "f00d")), "me/cows", ())
    assert "- Pictures that it was trained on: **unknown**" in silent
    assert "**UNKNOWN MEANS UNKNOWN.**" in silent
    terms = ("own", "withdrawn by its authors in 2019, over consent (DukeMTMC-reID)")
    duke = model_card(replace(about, card=Card("x", "MIT", "f00d", (), terms)), "me/cows", ())
    assert "trained on (training 1): **own**" in duke
    assert "**WITHDRAWN PICTURES.**" in duke


def test_what_it_was_trained_from_and_on(about: About) -> None:
    assert "- On: farm, 1,200 pictures of 34 identities (fingerprint of their list: `f00d`)" in model_card(
        about, "me/cows", ()
    )
    assert "- On: data `f00d` (fingerprint of the list of pictures); how many is not stated." in model_card(
        replace(about, training=None), "me/cows", ()
    )
    untrained = replace(about, training=None, card=Card("/some/where/vit.pt", "MIT", notes=("A note.",)))
    card = model_card(untrained, "me/cows", ())
    assert "- From: vit.pt\n- On: nothing further" in card
    assert "/some/where" not in card
    assert "- A note." in card


def test_raw_and_reranked_figures_stand_apart(about: About, write_report: Callable[..., Path]) -> None:
    own = read_results(write_report("own.json", fingerprint=about.fingerprint, reranked=True))
    cross = read_results(write_report("cross.json", fingerprint=about.fingerprint, data_name="DukeMTMC-reID"))
    train = read_results(write_report("train.json", fingerprint=about.fingerprint, subset="train"))
    card = model_card(about, "me/cows", [*own, *cross, *train])
    raw, reranked = card.split("With k-reciprocal re-ranking (k1 20, k2 6, weight 0.3)")
    scores = ["50.0<br>40–60", "62.5<br>52–72", "75.0<br>65–85", "100.0<br>90–100", "25.0<br>15–35"]
    start = ["image → image", "cross-camera"]
    assert [row[1:-1] for row in rows(raw, "farm")] == [[*start, *scores, "1,100 of 1,200"]] * 2
    assert [row[0] for row in rows(raw, "farm") + rows(raw, "Duke")] == [
        "| farm, test<br>(trained on its train part)",
        "| farm, train<br>(**trained on these**)",
        "| DukeMTMC-reID, test<br>(other data)",
    ]
    assert [row[1:-1] for row in rows(reranked, "farm")] == [[*start, *["87.5"] * 5, "1,100 of 1,200"]]
    assert "withdrawn by its authors in 2019" in raw
    assert "None were given" not in card


@pytest.mark.parametrize(
    ("data_name", "data", "subset", "said"),
    [
        ("farm", "f00d", "train", "**trained on these**"),
        ("farm", "beef", "train", "**trained on these**"),  # the training left out pictures without a name
        ("moved/farm", "f00d", "test", "**trained on these**"),  # no picture names a split: all are in both
        ("farm", "beef", "test", "trained on its train part"),
        ("moved/farm", "beef", "train", "other data"),
    ],
)
def test_figures_on_the_data_of_the_training_are_named_so(
    data_name: str, data: str, subset: str, said: str, about: About, write_report: Callable[..., Path]
) -> None:
    report = write_report("own.json", fingerprint=about.fingerprint, data_name=data_name, subset=subset)
    report.write_text(json.dumps(json.loads(report.read_text()) | {"data": data}))
    assert f"| {data_name}, {subset}<br>({said}) |" in model_card(about, "me/cows", read_results(report))
    alone = model_card(replace(about, training=None), "me/cows", read_results(report))
    assert f"| {data_name}, {subset}{f'<br>({said})' if data == 'f00d' else ''} |" in alone


def test_a_run_and_a_report_name_data_alike(coloured_people: Path, tmp_path: Path) -> None:
    """From the training to the card, of a table in a folder of another name."""
    lines = coloured_people.read_text().splitlines()
    train = [re.sub(",(query|gallery),", ",train,", line) if "1.png" in line else line for line in lines]
    coloured_people.write_text("\n".join(train))
    descent = Descent(epochs=1, warmup_epochs=0)
    settings = finetune.Config(
        n_identities=2, n_images=2, start=Start(size=(16, 16)), descent=descent, engine=Engine(device="cpu")
    )
    splits = read(coloured_people)
    encoder = launch(Order(finetune, settings, "random:64x1/8", tmp_path / "run", {}, ()), splits)
    assert encoder is not None
    about = read_about(tmp_path / "run" / "encoder")
    assert about.training == Training(f"{tmp_path.name}/index", 8, 4)
    rules = Rules(protocol="any-camera")
    kin: dict[Subset, str] = {"train": "**trained on these**", "test": "trained on its train part"}
    for subset, said in kin.items():
        write_json(as_json(evaluate(encoder, splits, rules=rules, subset=subset)), tmp_path)
        card = model_card(about, "me/cows", read_results(tmp_path))
        assert f"/index, {subset}<br>({said}) |" in card


def test_only_real_numbers_are_in_the_index(about: About, write_report: Callable[..., Path]) -> None:
    assert "model-index" not in front(model_card(about, "me/cows", ()))
    assert "None were given. Measure it" in model_card(about, "me/cows", ())
    results = read_results(write_report("own.json", fingerprint=about.fingerprint, reranked=True))
    (model,) = front(model_card(about, "me/cows", results))["model-index"]
    assert model["name"] == "cows"
    found = [(one["dataset"]["config"], {m["name"]: m["value"] for m in one["metrics"]}) for one in model["results"]]
    assert found == [
        (
            "image → image, cross-camera",
            {"mAP (%)": 50.0, "R1 (%)": 62.5, "R5 (%)": 75.0, "R10 (%)": 100.0, "mINP (%)": 25.0},
        ),
        (
            "image → image, cross-camera, re-ranked (k1 20, k2 6, weight 0.3)",
            dict.fromkeys(("mAP (%)", "R1 (%)", "R5 (%)", "R10 (%)", "mINP (%)"), 87.5),
        ),
    ]
    assert {one["dataset"]["revision"] for one in model["results"]} == {"d00d"}


def test_text_of_others_stays_text(about: About, write_report: Callable[..., Path]) -> None:
    name = "a | b <script>alert(1)</script> [x](y)\n---\nlicense: mit"
    report = write_report("own.json", fingerprint=about.fingerprint)
    report.write_text(json.dumps(json.loads(report.read_text()) | {"data_name": name}))
    stranger = replace(about.card, notes=("<img src=x>",), licence="x\n---\n# all is allowed")
    card = model_card(replace(about, card=stranger), "me/cows", read_results(report))
    assert front(card)["license"] == "other"
    body = card.split("\n---\n", 1)[1]
    assert "<script" not in body.replace("\\<", "")
    assert "<img" not in body.replace("\\<", "")
    assert "a \\| b" in body


def test_it_says_what_it_is_for_and_how_to_load_it(about: About) -> None:
    card = model_card(about, "me/cows", ())
    assert "surveillance technology" in card
    assert 'resight.Encoder.load("hf-hub:me/cows")' in card
    assert f"SHA-256 `{about.sha256}`" in card
    assert "| calibration | none |" in card
    assert "| calibration | `calibration.json` |" in model_card(replace(about, calibrated=True), "me/cows", ())
