"""An exported folder is opened wherever an encoder is, without PyTorch, and says in one line what is wrong with it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight import cli
from resight.cards import read_about
from resight.clip.image import ViTConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.text import TextConfig
from resight.data.index import read
from resight.data.transforms import Preprocess
from resight.embedder import Card
from resight.encoder import Encoder
from resight.errors import CheckpointError, ConfigError, GalleryError
from resight.evaluate import evaluate
from resight.export import ExportConfig, export
from resight.exported import ExportedEncoder, normalise
from resight.hub import check
from resight.opening import open_embedder
from resight.parity import choose_probe


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    image = ViTConfig((32, 16), 8, 8, 32, 1, 2, 16, "quick_gelu")
    clip = Clip(ClipConfig(image, TextConfig(32, 1, 2, 16, "quick_gelu", context_length=16)))
    clip.initialise(0)
    return Encoder(clip, Preprocess(32, 16, (0.5,) * 3, (0.5,) * 3, "bilinear"), Card("made up")).eval()


@pytest.fixture(scope="module")
def original(encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A verified export."""
    folder = tmp_path_factory.mktemp("exported")
    lines = ["path,identity"]
    for number in range(6):
        colour = np.array([40 * (number // 2), 200 - 60 * (number // 2), 90], np.uint8)
        Image.fromarray(np.full((30, 20, 3), colour + number)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number // 2}")
    (folder / "index.csv").write_text("\n".join(lines))
    parity = export(encoder, folder / "out", ExportConfig("onnx"), probe=choose_probe(read(folder / "index.csv")))
    assert parity is not None
    assert parity.passed
    return folder / "out"


@pytest.fixture
def folder(original: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(original, tmp_path / "exported"))


def test_galleries_and_the_service_work_where_pytorch_is_not(
    original: Path, coloured_people: Path, tmp_path: Path
) -> None:
    code = f"""
import sys

class Absent:
    @staticmethod
    def find_spec(name, *_):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent)
from fastapi.testclient import TestClient
import resight
from resight import cli
from resight.commands import serve

def answered(app, *_, **__):
    with TestClient(app, base_url="http://localhost:8008") as client, open(picture, "rb") as file:
        asked = {{"files": {{"picture": file}}}}, {{"data": {{"text": "a red coat"}}}}
        answers = [client.post("/search", **form) for form in asked]
    assert [answer.status_code for answer in answers] == [200, 200], answers
    assert answers[0].json()["found"][0]["similarity"] > 0.999

serve.run = answered
exported, data, place = {str(original)!r}, {str(coloured_people)!r}, {str(tmp_path / "gallery")!r}
picture = {str(coloured_people.parent / "red" / "a0.png")!r}
for command in (
    ["serve", place, "--data", data, "--encoder", exported, "--port", "0"],
    ["gallery", "add", place, "--data", data],
    ["search", place, "--image", picture, "--text", "a red coat"],
    ["gallery", "info", place],
    ["embed", exported, "--data", data, "--out", {str(tmp_path / "vectors.npz")!r}],
    ["gallery", "forget", place, "red", "--yes"],
):
    assert cli.main(command) == 0, command
assert resight.open_embedder(exported).embed_images([picture]).embedding.shape == (1, 16)
"""
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr


def test_evaluation_is_the_same(encoder: Encoder, original: Path, coloured_people: Path) -> None:
    before, after = (evaluate(one, read(coloured_people)) for one in (encoder, open_embedder(original)))
    assert after.fingerprint == before.fingerprint
    assert [task.name for task in after.tasks] == ["image → image", "text → image", "image → text"]
    for one, other in zip(before.tasks, after.tasks, strict=True):
        assert other.scores == pytest.approx(one.scores, abs=1e-6)


def test_a_gallery_of_the_original_is_served(
    encoder: Encoder, folder: Path, tmp_path: Path, coloured_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.save(tmp_path / "encoder")
    place, query = str(tmp_path / "gallery"), str(tmp_path / "red" / "a0.png")
    filled = ["--encoder", str(tmp_path / "encoder"), "--data", str(coloured_people), "--device", "cpu"]
    assert cli.main(["gallery", "create", place, *filled]) == 0
    answers = []
    for source in (tmp_path / "encoder", folder):
        for asked in (["--image", query], ["--text", "a red person"]):
            capsys.readouterr()
            assert cli.main(["search", place, *asked, "--encoder", str(source), "--json", "--top", "3"]) == 0
            answers.append([row["id"] for row in json.loads(capsys.readouterr().out)["found"]])
    assert answers[:2] == answers[2:]
    assert cli.main(["gallery", "add", place, "--data", str(coloured_people), "--encoder", str(folder)]) == 0


def test_another_fingerprint_is_another_gallery(folder: Path, tmp_path: Path) -> None:
    from resight.gallery import store
    from resight.gallery_encoder import describe
    from resight.opening import open_encoder

    gallery = store.create(str(tmp_path / "gallery"), describe(open_embedder(folder), folder, {}))
    assert open_encoder(gallery).dimension == 16
    about = json.loads((folder / "encoder.json").read_text())
    (folder / "encoder.json").write_text(json.dumps(about | {"fingerprint": "0123456789abcdef"}))
    with pytest.raises(GalleryError, match="not from 0123456789abcdef"):
        open_encoder(gallery)


def test_pixels_become_the_same_numbers() -> None:
    import torch

    preprocess = Preprocess(4, 4, (0.48, 0.45, 0.4), (0.26, 0.27, 0.28), "bilinear")
    pixels = np.arange(96, dtype=np.uint8).reshape(2, 3, 4, 4) * 2
    ours = preprocess.normalise(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(normalise(pixels, preprocess), ours, rtol=1e-6, atol=1e-6)


def test_nothing_is_no_row(original: Path) -> None:
    exported = ExportedEncoder.load(original)
    nothing = exported.embed_images([])
    assert (nothing.embedding.shape, exported.embed_texts([]).embedding.shape) == ((0, 16), (0, 16))
    assert nothing.aligned is not None
    assert (exported.device.type, exported.context_length, exported.can_read) == ("cpu", 16, True)


def test_wrong_calls_are_refused(original: Path) -> None:
    exported = ExportedEncoder.load(original)
    with pytest.raises(ValueError, match=r"pictures are uint8 \[B, 3, 32, 16\], not float32"):
        exported.encode(np.zeros((1, 3, 32, 16), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"\[B, 3, 32, 16\], not uint8 \(1, 3, 16, 32\)"):
        exported.encode(np.zeros((1, 3, 16, 32), np.uint8))
    with pytest.raises(ValueError, match="a list of texts"):
        exported.embed_texts("red")
    with pytest.raises(ConfigError, match=r"--precision bf16: .* was exported in float32"):
        exported.embed_texts(["red"], precision="bf16")


def spoil_graph(folder: Path) -> None:
    with (folder / "image.onnx").open("ab") as file:
        file.write(b"x")


def change(**values: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        about = json.loads((folder / "encoder.json").read_text())
        about["exported"] |= values
        (folder / "encoder.json").write_text(json.dumps(about))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_graph, r"image.onnx: is not the file encoder.json speaks of"),
        (lambda folder: (folder / "text.onnx").unlink(), r"cannot be read \(.*text.onnx"),
        (lambda folder: (folder / "encoder.json").write_text("{"), "no whole description"),
        (lambda folder: (folder / "encoder.json").write_text("{}"), "holds no exported encoder"),
        (change(runtime="tflite"), r"no whole description .*tflite"),
        (change(files={}), "names no (image|text).onnx"),
        (change(colour="red"), r"no whole description .*colour"),
    ],
)
def test_a_spoilt_folder_is_refused(spoil: Callable[[Path], object], said: str, folder: Path) -> None:
    spoil(folder)
    with pytest.raises(CheckpointError, match=said):
        ExportedEncoder.load(folder)


def test_what_an_export_does_not_take_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"--device cuda: .* on the processor"):
        open_embedder(folder, device="cuda")
    with pytest.raises(ConfigError, match="fixes size, stride, heads and activation"):
        open_embedder(folder, size=(64, 32))
    with pytest.raises(CheckpointError, match="was exported for onnx and holds no weights to train"):
        Encoder.load(folder)
    with pytest.raises(CheckpointError, match=r"was exported\. Name the encoder folder it was made from"):
        check(folder)
    about, weights = read_about(folder), (folder / "image.onnx").stat().st_size + (folder / "text.onnx").stat().st_size
    assert (about.runtime, about.precision, about.n_bytes, about.dimension) == ("onnx", "float32", weights, 16)


def test_a_missing_runtime_is_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConfigError, match=r"^onnxruntime: not installed. Run: pip install \"resight\[export\]\"$"):
        ExportedEncoder.load(folder)


def test_a_graph_that_cannot_be_opened_is_one_line(folder: Path) -> None:
    import hashlib

    (folder / "text.onnx").write_bytes(b"no graph")
    digest = hashlib.sha256(b"no graph").hexdigest()
    files = json.loads((folder / "encoder.json").read_text())["exported"]["files"]
    change(files=files | {"text.onnx": digest})(folder)
    with pytest.raises(CheckpointError, match=r"text.onnx: cannot be opened here \("):
        ExportedEncoder.load(folder)
