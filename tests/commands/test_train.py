"""`resight train`: where settings come from, going on, what is refused in one line, and what is never opened."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from resight.cli import main
from resight.commands import train as commands
from resight.commands.settings import override
from resight.commands.train import ClipReidCommand, FinetuneCommand, PromptDecouplingCommand, TextDirectCommand
from resight.encoder import Encoder
from resight.errors import ConfigError
from resight.recipes import clip_reid, finetune
from resight.runs import flat

COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "grey": (120, 120, 120)}
COMMANDS = {
    "finetune": FinetuneCommand,
    "clip-reid": ClipReidCommand,
    "text-direct": TextDirectCommand,
    "prompt-decoupling": PromptDecouplingCommand,
}


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def people(picture: Callable[..., Path], tmp_path: Path) -> Path:
    """4 identities, twice by cameras a and b, to train on; query and gallery pictures that cannot be read."""
    lines = ["path,identity,camera,split,caption"]
    for name, colour in COLOURS.items():
        for camera in "ab":
            for k in range(2):
                picture(f"{name}/{camera}{k}.png", colour=colour)
                lines.append(f"{name}/{camera}{k}.png,{name},{camera},train,a {name} person")
    for split in ("query", "gallery"):
        (tmp_path / f"{split}.png").write_bytes(b"no picture")
        lines.append(f"{split}.png,other,{split},{split},a person")
    (tmp_path / "index.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "index.csv"


SMALL = ["--size", "64", "32", "--epochs", "2", "--device", "cpu", "--precision", "float32", "--workers", "1"]
OF = {
    "finetune": ["--n-identities", "4", "--n-images", "2", "--rate", "1e-3"],
    "clip-reid": ["--n-identities", "4", "--n-images", "2", "--rate", "1e-3", "--prompt-epochs", "2"],
    "text-direct": ["--batch-size", "4", "--warmup-epochs", "1", "--rate", "1e-3"],
    "prompt-decoupling": ["--batch-size", "8", "--warmup-epochs", "1", "--prompt-epochs", "2", "--prompt-batch", "8"],
}


def train(recipe: str, people: Path, out: Path, *more: str, init: str = "random:64x2/16") -> int:
    return main(["train", recipe, "--data", str(people), "--init", init, "--out", str(out), *SMALL, *OF[recipe], *more])


def fingerprint(out: Path) -> str:
    return Encoder.load(out / "encoder", device="cpu").fingerprint()


def write_config(path: Path, settings: dict[str, Any]) -> None:
    path.write_text(json.dumps({"format": 1, "recipe": "any", "init": "any", "data": {}, "settings": settings}))


def error_of(capsys: pytest.CaptureFixture[str]) -> str:
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("resight: ")]
    return line


@pytest.mark.parametrize("recipe", COMMANDS)
def test_a_run_leaves_an_encoder_that_evaluates(
    recipe: str, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Query and gallery are not pictures at all: to open one would end the run."""
    assert train(recipe, people, tmp_path / "run", "--json") == 0
    shown = json.loads(capsys.readouterr().out)
    encoder = Encoder.load(shown["encoder"], device="cpu")
    assert shown == {
        "encoder": str(tmp_path / "run" / "encoder"),
        "fingerprint": encoder.fingerprint(),
        "run": str(tmp_path / "run"),
    }
    assert encoder.can_read
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (encoder.card.source, encoder.card.licence) == ("random:64x2/16", "none")
    assert encoder.card.data == config["data"]["fingerprint"] != ""
    assert encoder.card.notes[0] == f"Trained by resight train {recipe}."
    assert config["data"]["pictures"] == 16
    assert main(["evaluate", shown["encoder"], "--data", str(people), "--subset", "train", "--device", "cpu"]) == 0


def test_the_licence_of_the_pictures_is_kept_by_the_run_and_said_on_the_card(people: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train("finetune", people, run, "--data-licence", "CC-BY-4.0") == 0
    assert json.loads((run / "config.json").read_text())["data"]["licence"] == "CC-BY-4.0"
    assert main(["train", "finetune", "--out", str(run), "--resume"]) == 0
    assert Encoder.load(run / "encoder", device="cpu").card.data_licences == ("CC-BY-4.0",)


def test_a_run_begun_from_python_goes_on(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("finetune", people, tmp_path / "run") == 0
    file = tmp_path / "run" / "config.json"
    config = json.loads(file.read_text())
    config["data"] = {name: config["data"][name] for name in ("data", "fingerprint")}
    file.write_text(json.dumps(config))
    assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume"]) == 0
    del config["data"]["data"]
    file.write_text(json.dumps(config))
    capsys.readouterr()
    assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert f"{file}: data is None, and must be a path." in error_of(capsys)


def test_the_next_command_reads_the_same_data(people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train("finetune", people, tmp_path / "a run", "--column", "camera=camera") == 0
    said = capsys.readouterr().out.strip()
    encoder = tmp_path / "a run" / "encoder"
    assert said == (f"{encoder}: trained. Next: resight evaluate '{encoder}' --data {people} --column camera=camera")


def test_the_folder_of_a_run_is_needed_and_must_be_new(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", "finetune", "--data", str(people), "--init", "random:64x2/16"]) == 2
    assert "--out" in error_of(capsys)
    assert main(["train", "finetune", "--resume"]) == 2
    assert "--out" in error_of(capsys)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note.txt").write_text("mine")
    assert train("finetune", people, tmp_path / "full") == 2
    assert "is not empty. Name a new folder." in error_of(capsys)
    assert main(["train", "finetune", "--out", str(tmp_path / "none"), "--resume"]) == 2
    assert "holds no run" in error_of(capsys)


def test_resume_alone_knows_data_weights_and_settings(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run stopped after its first epoch ends as one that was not; a finished one writes its encoder again."""
    assert train("finetune", people, tmp_path / "whole") == 0
    monkeypatch.setattr(finetune, "fit", stopping_after(1, finetune.fit))
    with pytest.raises(Stopped):
        train("finetune", people, tmp_path / "run")
    monkeypatch.undo()
    monkeypatch.setenv("RESIGHT_CACHE", str(tmp_path / "cache"))
    assert not (tmp_path / "run" / "encoder").exists()
    assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume"]) == 0
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")

    (tmp_path / "run" / "encoder" / "encoder.json").write_text("damaged")
    assert main(["train", "finetune", f"--out={tmp_path / 'run'}", "--resume"]) == 0
    assert fingerprint(tmp_path / "run") == fingerprint(tmp_path / "whole")
    capsys.readouterr()
    assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume", "--margin", "0.5"]) == 2
    assert "margin was 0.3, is 0.5" in error_of(capsys)
    assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume", "--preset", "veri-resnet"]) == 2
    shown = error_of(capsys)
    assert "normalisation was 'half', is 'imagenet'" in shown
    assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume", "--log-every", "5"]) == 0
    assert main(["train", "clip-reid", "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert "is a run of finetune. Use resight train finetune." in error_of(capsys)


def test_a_run_remembers_where_its_weights_and_words_lie(
    people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Named from the folder it was begun in, and gone on with from another."""
    monkeypatch.chdir(tmp_path)
    assert train("clip-reid", people, Path("first")) == 0
    begun = ["--init", "first/encoder", "--stage1", "first/stage1"]
    assert train("clip-reid", people, Path("second"), *begun) == 0
    config = json.loads((tmp_path / "second" / "config.json").read_text())
    assert config["init"] == str(tmp_path / "first" / "encoder")
    assert config["settings"]["stage1"] == str(tmp_path / "first" / "stage1")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["train", "clip-reid", "--out", "../second", "--resume"]) == 0


def test_the_same_words_with_resume_go_on_with_what_a_flag_had_switched_on(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("finetune", people, tmp_path / "run", "--side-camera") == 0
    assert train("finetune", people, tmp_path / "run", "--side-camera", "--resume") == 0
    capsys.readouterr()
    assert train("finetune", people, tmp_path / "run", "--no-side-camera", "--resume") == 2
    assert "side_camera was True, is False" in error_of(capsys)


class Stopped(Exception):  # noqa: N818
    """In place of a signal."""


def stopping_after(epochs: int, fit: Callable[..., None]) -> Callable[..., None]:
    def stopped(stage: Any, *rest: Any) -> None:
        begin = stage.batches

        def batches(epoch: int, first: int) -> Any:
            if epoch > epochs:
                raise Stopped
            return begin(epoch, first)

        fit(dataclasses.replace(stage, batches=batches), *rest)

    return stopped


def settings_of(command: type[Any], *words: str) -> Any:
    """Settings as they are with these flags; read from the command's own parsing."""
    from resight.cli import parse

    given = ["--data", "d", "--init", "i", "--out", "o", *words]
    return flat(dataclasses.asdict(parse(command, given, "resight train", command.before_flags(given)).settings))


def test_a_preset_overrules_defaults_a_file_the_preset_and_a_flag_the_file(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    write_config(file, {"descent": {"rate": 0.5, "epochs": 7}, "smoothing": 0})
    assert settings_of(FinetuneCommand)["epochs"] == 60
    preset = settings_of(FinetuneCommand, "--preset", "person-resnet")
    assert (preset["epochs"], preset["rate"], preset["milestones"], preset["stride"]) == (120, 3.5e-4, (40, 70), 16)
    both = settings_of(FinetuneCommand, f"--config={file}", "--preset", "person-resnet")
    assert (both["epochs"], both["rate"], both["milestones"], both["smoothing"]) == (7, 0.5, (40, 70), 0.0)
    all_three = settings_of(FinetuneCommand, "--preset=person-resnet", "--config", str(file), "--epochs", "9")
    assert (all_three["epochs"], all_three["rate"]) == (9, 0.5)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=lambda command: command.__name__)
def test_every_field_has_a_flag_of_its_own_with_its_meaning_and_default(
    command: type[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """Meaning: a docstring of its own in the help; and docs/commands.md names each flag."""
    name = command.recipe.NAME
    with pytest.raises(SystemExit):
        main(["train", name, "--help"])
    shown = capsys.readouterr().out
    titles = re.findall(r"^\W*((?:[a-z.]+ )?options) *\W*$", shown, re.MULTILINE)
    defaults = command.recipe.Config()
    inner = [f.name for f in dataclasses.fields(defaults) if dataclasses.is_dataclass(getattr(defaults, f.name))]
    assert titles == ["options", "data options", "method options", *(f"method.{part} options" for part in inner)]
    documented = (Path(__file__).parents[2] / "docs" / "commands.md").read_text()
    text = " ".join(shown.replace("│", " ").split())
    for field in flat(dataclasses.asdict(defaults)):
        flag = "--" + field.replace("_", "-")
        assert f" {flag} " in text or f" {flag}, " in text, flag
        after = re.split(f" {flag},? ", text, maxsplit=1)[1].removeprefix("--no-").split(" --")[0]
        assert "(default: " in after, flag
        assert len(after.split("(default: ")[0].split()) >= 4, f"{flag} has no meaning in the help"
        assert f"`{flag}" in documented, f"docs/commands.md says nothing of {flag}"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"descent": {"rate": "fast"}}, "rate is 'fast', and must be a number"),
        ({"descent": {"epochs": 2.5}}, "epochs is 2.5, and must be a whole number"),
        ({"descent": {"epochs": True}}, "epochs is True, and must be a whole number"),
        ({"descent": {"epochs": None}}, "epochs is None, and must be a whole number"),
        ({"descent": {"milestones": 30}}, "milestones is 30, and must be a list"),
        ({"descent": {"milestones": [30, "x"]}}, "milestones is [30, 'x'], and must be a whole number"),
        ({"start": {"size": [256]}}, "size is [256], and must be a list of 2 or null"),
        ({"start": {"normalisation": "other"}}, "normalisation is 'other', and must be half or imagenet or init"),
        ({"start": {"side_camera": "no"}}, "side_camera is 'no', and must be true or false"),
        ({"margin": "soft"}, "margin is 'soft', and must be a number or null"),
        ({"noun": 3}, "noun is 3, and must be text"),
        ({"stage1": 3}, "stage1 is 3, and must be a path or null"),
        ({"learning_rate": 1}, "there is no setting learning_rate"),
        ({"descent": 5}, "there is no setting descent"),
    ],
)
def test_a_files_wrong_value_is_refused_by_name(
    settings: dict[str, Any], message: str, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path / "my.json", settings)
    assert train("clip-reid", people, tmp_path / "run", "--config", str(tmp_path / "my.json")) == 2
    shown = error_of(capsys)
    assert f"--config {tmp_path / 'my.json'}: {message}" in shown
    assert not (tmp_path / "run").exists()


def test_a_files_right_values_get_their_types() -> None:
    changed = override(
        clip_reid.Config(),
        {"stage1": "words", "margin": None, "start": {"size": [64, 32], "stride": 12}, "descent": {"rate": 1}},
        "test",
    )
    assert changed.stage1 == Path("words")
    assert (changed.margin, changed.start.size, changed.start.stride) == (None, (64, 32), 12)
    assert (changed.descent.rate, type(changed.descent.rate)) == (1.0, float)
    assert changed == override(clip_reid.Config(), json.loads(json.dumps(dataclasses.asdict(changed), default=str)), "")


def test_what_the_settings_refuse_themselves_is_one_line_too(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_config(tmp_path / "my.json", {"epochs": 0})
    assert train("finetune", people, tmp_path / "run", "--config", str(tmp_path / "my.json")) == 2
    assert error_of(capsys) == "resight: --epochs 0: at least 1."
    assert train("finetune", people, tmp_path / "run", "--smoothing", "2") == 2
    assert error_of(capsys) == "resight: --smoothing 2.0: from 0 to 1."


@pytest.mark.parametrize(
    ("recipe", "flags", "message"),
    [
        ("finetune", ("--preset", "horses"), "--preset horses: finetune has no such preset; choose from: person, veri"),
        ("text-direct", ("--preset", "person"), "no such preset; choose from: itc, irra, decoupling-baseline."),
        ("finetune", ("--n-identities", "5"), "4 identities, but a batch takes 5. Choose at most --n-identities 4."),
        ("clip-reid", ("--n-identities", "5"), "4 identities, but a batch takes 5. Choose at most --n-identities 4."),
        ("clip-reid", ("--noun", " "), "--noun: is empty"),
        ("clip-reid", ("--noun", "x ray"), "--noun 'x ray': holds the word X"),
        ("clip-reid", ("--noun", "cow " * 80), "tokens, this CLIP reads 77. Choose a shorter noun or fewer words."),
        ("clip-reid", ("--n-words", "90"), "tokens, this CLIP reads 77. Choose a shorter noun or fewer words."),
        ("clip-reid", ("--stage1", "nowhere"), "nowhere: holds no learned words"),
        (
            "finetune",
            ("--side-view",),
            "--side-view: the train pictures name no view. Leave it out, or name the column",
        ),
        ("text-direct", ("--side-camera",), "text-direct compares plain CLIP features"),
        ("prompt-decoupling", ("--side-view",), "prompt-decoupling compares plain CLIP features"),
        ("prompt-decoupling", ("--prompt-depth", "3"), "Prompts of depth 3: from 1 to 2, the blocks of the tower."),
        ("prompt-decoupling", ("--stage1", "nowhere"), "nowhere: holds no shared prompts"),
        (
            "prompt-decoupling",
            ("--preset", "joint", "--stage1", "a"),
            "--stage1: its prompts are for --method decoupled",
        ),
        ("text-direct", ("--itc", "0"), "--itc, --sdm, --id, --cmpm, --tal: all are 0. Give one of them a weight."),
        ("text-direct", ("--infonce", "1"), "--infonce"),
        ("text-direct", ("--sampler", "distinct", "--batch-size", "5"), "Choose at most --batch-size 4."),
        ("finetune", ("--size", "8", "8"), "are smaller than a patch of 16"),
        ("finetune", ("--keep", "best"), "add --validate-every N"),
        ("finetune", ("--config", "nowhere"), "nowhere: holds no run to read the settings of"),
        ("finetune", ("--column", "caption="), None),
        ("text-direct", ("--column", "caption="), "none of its 16 train pictures has a caption"),
        ("finetune", ("--column", "identity="), "none of its 16 train pictures has an identity"),
        ("finetune", ("--column", "camera=", "--side-camera"), "--side-camera: the train pictures name no camera"),
    ],
)
def test_a_mistake_is_one_line(
    recipe: str,
    flags: tuple[str, ...],
    message: str | None,
    people: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = train(recipe, people, tmp_path / "run", *flags)
    if message is None:
        assert status == 0
    else:
        assert status == 2
        assert message in error_of(capsys)


def test_validation_identities_are_cut_from_train_and_the_best_epoch_can_be_kept(people: Path, tmp_path: Path) -> None:
    """A rate far too high after the first epoch: the best is the first, and the last is not it."""
    flags = ["--n-identities", "2", "--validate-every", "1", "--validation-share", "0.5", "--warmup-epochs", "0"]
    flags += ["--milestones", "2", "--decay", "1e5", "--rate", "1e-4"]
    for keep in ("last", "best"):
        assert train("finetune", people, tmp_path / keep, *flags, "--keep", keep) == 0
    entries = [json.loads(line) for line in (tmp_path / "best" / "metrics.jsonl").read_text().splitlines()]
    scores = [entry["validation"]["mAP"] for entry in entries if "validation" in entry]
    assert len(scores) == 2
    assert json.loads((tmp_path / "best" / "config.json").read_text())["data"]["pictures"] == 8
    assert (fingerprint(tmp_path / "last") != fingerprint(tmp_path / "best")) == (scores[0] >= scores[1])


def test_a_resnet_takes_no_side_vectors_and_no_recomputation(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    init = str(small_resnet(tmp_path / "resnet"))
    assert train("finetune", people, tmp_path / "run", "--side-camera", init=init) == 2
    assert "a ResNet has none. Leave them out." in error_of(capsys)
    assert train("finetune", people, tmp_path / "again", "--recompute", init=init) == 2
    assert "--recompute: is for vision transformers" in error_of(capsys)
    assert train("finetune", people, tmp_path / "third", "--stride", "16", init=init) == 0


def small_resnet(folder: Path) -> Path:
    from resight.clip.image import ResNetConfig
    from resight.clip.model import Clip, ClipConfig
    from resight.data.transforms import Preprocess
    from resight.encoder import Card

    clip = Clip(ClipConfig(ResNetConfig((64, 64), (1, 1, 1, 1), 8, 4, 24, last_stride=2), None))
    clip.initialise(5)
    Encoder(clip, Preprocess(64, 64, (0.5,) * 3, (0.5,) * 3, "bilinear"), Card("a test")).save(folder)
    return folder


def test_camera_vectors_of_one_camera_are_allowed(people: Path, tmp_path: Path) -> None:
    people.write_text(people.read_text().replace(",b,train", ",a,train"))
    assert train("finetune", people, tmp_path / "run", "--side-camera", "--without-text") == 0
    encoder = Encoder.load(tmp_path / "run" / "encoder", device="cpu")
    assert encoder.side is not None
    assert encoder.side.cameras == ("a",)
    assert not encoder.can_read


def test_a_trained_encoder_can_be_started_from_at_another_size(people: Path, tmp_path: Path) -> None:
    assert train("finetune", people, tmp_path / "first", "--side-camera") == 0
    init = str(tmp_path / "first" / "encoder")
    assert train("finetune", people, tmp_path / "second", "--size", "32", "48", "--stride", "8", init=init) == 0
    encoder = Encoder.load(tmp_path / "second" / "encoder", device="cpu")
    assert encoder.clip.config.image.image_size == (32, 48)
    assert (encoder.preprocess.height, encoder.preprocess.width) == (32, 48)
    assert encoder.side is None
    assert "were replaced by fresh ones" in encoder.card.notes[-1]
    assert encoder.card.notes[1] == "Of its first weights: Trained by resight train finetune."
    assert train("finetune", people, tmp_path / "third", "--size", "None", init=init) == 0
    assert Encoder.load(tmp_path / "third" / "encoder", device="cpu").clip.config.image.image_size == (64, 32)


def test_a_damaged_description_of_a_run_is_one_line(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train("finetune", people, tmp_path / "run") == 0
    path = tmp_path / "run" / "config.json"
    config = json.loads(path.read_text())
    capsys.readouterr()
    for change in ({"data": 3}, {"data": {}}, {"init": None}, {"recipe": None}):
        path.write_text(json.dumps(config | change))
        assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume"]) == 2
        assert str(path.parent) in error_of(capsys)
    del config["recipe"]
    path.write_text(json.dumps(config))
    assert main(["train", "finetune", "--out", str(tmp_path / "run"), "--resume"]) == 2
    assert str(path.parent) in error_of(capsys)


def test_every_type_of_a_setting_has_a_check() -> None:
    """A type that `override` knew nothing of would end in a KeyError: every field takes its own default back."""
    for command in COMMANDS.values():
        settings = command.recipe.Config()
        stored = json.loads(json.dumps(dataclasses.asdict(settings), default=str))
        assert override(settings, stored, "test") == settings
        with pytest.raises(ConfigError, match="must be"):
            override(settings, dict.fromkeys(flat(stored), {"no": "type"}.keys()), "test")
    assert get_type_hints(commands.TrainCommand)["out"] is Path
