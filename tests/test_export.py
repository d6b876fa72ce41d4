"""An exported encoder gives PyTorch's answers, says what it is, and is not left behind where it does not."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resight import cli
from resight import export as exporting
from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.clip.text import TextConfig
from resight.data.index import read
from resight.data.transforms import Preprocess
from resight.embedder import Card, Side
from resight.encoder import Encoder
from resight.errors import CheckpointError, ConfigError
from resight.export import ExportConfig, export
from resight.exported import ExportedEncoder, Number, Runtime
from resight.parity import COARSE, EXACT, Parity, choose_probe, measure

PREPROCESS = Preprocess(32, 16, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3), "bilinear")
PEOPLE = np.random.default_rng(0).integers(0, 256, (8, 3, 32, 16), dtype=np.uint8)
CAMERAS = ["1", "2", None, "2", "never seen", "1", "1", "2"]


def with_everything() -> Encoder:
    """A vision transformer with side information, prompts on both sides at two depths, and a text tower."""
    image = ViTConfig((32, 16), 8, 8, 32, 2, 2, 16, "quick_gelu")
    clip = Clip(ClipConfig(image, TextConfig(32, 2, 2, 16, "quick_gelu", context_length=20)))
    clip.initialise(0)
    prompts = SharedPrompts(PromptForm(2, 3, depth=2, position=True), clip.config, seed=1)
    side = Side(1.5, ("1", "2"))
    encoder = Encoder(clip, PREPROCESS, Card("made up"), feature="after-neck", side=side, prompts=prompts)
    with torch.no_grad():
        encoder.side_table.normal_(0, 1, generator=torch.Generator().manual_seed(2))
        encoder.neck_last.running_mean.normal_(generator=torch.Generator().manual_seed(3))
    return encoder.eval()


def resnet() -> Encoder:
    clip = Clip(ClipConfig(ResNetConfig((32, 16), (1, 1, 1, 1), 4, 2, 16), None))
    clip.initialise(0)
    return Encoder(clip, PREPROCESS, Card("made up"), feature="before-neck").eval()


def small() -> Encoder:
    clip = Clip(ClipConfig(ViTConfig((32, 16), 8, 8, 32, 1, 2, 16, "gelu"), None))
    clip.initialise(0)
    return Encoder(clip, PREPROCESS, Card("made up")).eval()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("everything") / "out"
    export(with_everything(), out, ExportConfig("onnx"))
    return out


@pytest.fixture
def copied(everything: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has exporting take the graphs of `everything`: PyTorch's exporter takes seconds."""

    def save(graph: object, inputs: object, outputs: object, path: Path, *about: object) -> None:
        path.write_bytes((everything / path.name).read_bytes())

    monkeypatch.setattr(exporting, "_save", save)


def assert_same(encoder: Encoder, folder: Path, cosine: float = 1 - 1e-6) -> None:
    """In batches of 1, 3 and 8."""
    exported = ExportedEncoder.load(folder)
    for n in (1, 3, 8):
        ours = encoder.encode(PEOPLE[:n], cameras=CAMERAS[:n])
        theirs = exported.encode(PEOPLE[:n], cameras=CAMERAS[:n])
        for one, other in zip(ours, theirs, strict=True):
            assert (one is None) == (other is None)
            if one is not None and other is not None:
                assert one.shape == other.shape
                assert (one * other).sum(1).min() > cosine
                np.testing.assert_allclose(np.linalg.norm(other, axis=1), 1, atol=1e-5)


def test_cameras_prompts_necks_and_words_are_inside(everything: Path) -> None:
    encoder, exported = with_everything(), ExportedEncoder.load(everything)
    assert_same(encoder, everything)
    texts = ["a red coat", "", "one two three four five six seven eight nine ten eleven twelve thirteen more words"]
    ours, theirs = encoder.embed_texts(texts), exported.embed_texts(texts)
    np.testing.assert_allclose(theirs.embedding, ours.embedding, atol=1e-5)
    with_camera = exported.encode(PEOPLE[:1], cameras=["1"])[0] @ exported.encode(PEOPLE[:1], cameras=["2"])[0].T
    assert with_camera < 0.999  # so a camera matters, and the comparison above has seen it


def test_a_file_says_what_it_takes(everything: Path) -> None:
    onnx = pytest.importorskip("onnx")
    said = {entry.key: entry.value for entry in onnx.load(everything / "image.onnx").metadata_props}
    assert json.loads(said["resight.preprocess"])["mean"] == [0.4, 0.5, 0.6]
    assert json.loads(said["resight.side"])["cameras"] == ["1", "2"]
    assert said["resight.fingerprint"] == with_everything().fingerprint()
    assert "side_weights" in said["resight.inputs"]


def test_a_resnet_with_pictures_made_normal_inside_and_a_fixed_batch(tmp_path: Path) -> None:
    export(resnet(), tmp_path / "out", ExportConfig("onnx", batch=3, with_preprocess=True, opset=18))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"image.onnx", "encoder.json"}
    assert_same(resnet(), tmp_path / "out")
    import onnxruntime

    (pictures,) = onnxruntime.InferenceSession(tmp_path / "out" / "image.onnx").get_inputs()
    assert (pictures.type, pictures.shape) == ("tensor(uint8)", [3, 3, 32, 16])


def test_openvino_keeps_the_fingerprint_where_it_agrees(copied: None, tmp_path: Path, coloured_people: Path) -> None:
    probe = choose_probe(read(coloured_people))
    assert probe is not None
    cases: tuple[tuple[Number, float], ...] = (("float32", 1 - 1e-6), ("bf16", 0.99))
    for precision, cosine in cases:
        parity = export(with_everything(), tmp_path / "out", ExportConfig("openvino", precision), probe=probe)
        assert parity is not None
        assert parity.passed
        there = {path.name for path in (tmp_path / "out").iterdir()}
        assert there == {"image.xml", "image.bin", "text.xml", "text.bin", "encoder.json"}
        assert_same(with_everything(), tmp_path / "out", cosine=cosine)
        kept = ExportedEncoder.load(tmp_path / "out").fingerprint() == with_everything().fingerprint()
        assert kept == parity.same_vectors


@pytest.mark.slow
@pytest.mark.parametrize("form", [ExportConfig("onnx", "float16"), ExportConfig("openvino", "float16")])
def test_halves_agree(form: ExportConfig, tmp_path: Path) -> None:
    export(small(), tmp_path / "out", form)
    assert_same(small(), tmp_path / "out", cosine=0.999)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
@pytest.mark.parametrize("runtime", ["onnx", "openvino"])
def test_int8_has_a_fingerprint_of_its_own(runtime: Runtime, tmp_path: Path, coloured_people: Path) -> None:
    form = ExportConfig(runtime, "int8")
    export(small(), tmp_path / "out", form, samples=read(coloured_people).query)
    assert_same(small(), tmp_path / "out", cosine=0.95)
    assert ExportedEncoder.load(tmp_path / "out").fingerprint() != small().fingerprint()


WATCHED = """
import socket, sys
import openvino_telemetry.main
told = []
openvino_telemetry.main.Telemetry.__init__ = lambda *given, **more: told.append("Telemetry")
openvino_telemetry.main.Telemetry.send_event = lambda *given, **more: told.append("event")
socket.getaddrinfo = socket.socket.connect = lambda *given, **more: told.append(str(given))
from pathlib import Path
from resight.data.index import read
from resight.encoder import Encoder
from resight.export import ExportConfig, _quantise, _to_openvino
from resight.exported import _open_openvino
encoder, graph, pictures = map(Path, sys.argv[1:])
config = ExportConfig("openvino", "int8")
_quantise(Encoder.load(encoder, device="cpu"), graph, config, read(pictures).query, {})
_to_openvino(graph, config, {})
_open_openvino(graph.with_suffix(".xml"), "f32")
assert {"nncf", "openvino"} < set(sys.modules)
print(told)
"""


def test_nobody_is_told_of_an_export(everything: Path, tmp_path: Path, coloured_people: Path) -> None:
    """openvino and nncf report import and use unless kept from it; nncf not under pytest: a process of its own."""
    with_everything().save(tmp_path / "encoder")
    graph = tmp_path / "image.onnx"
    shutil.copyfile(everything / "image.onnx", graph)
    words = [sys.executable, "-c", WATCHED, *map(str, (tmp_path / "encoder", graph, coloured_people))]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (run.stdout, run.returncode) == ("[]\n", 0), run.stderr


def test_weights_beside_a_large_graph_come_along(
    everything: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PyTorch lays them there from 1.5 GB on."""
    onnx = pytest.importorskip("onnx")

    def save(graph: object, inputs: object, outputs: object, path: Path, *about: object) -> None:
        beside = {"save_as_external_data": True, "location": f"{path.name}.data", "size_threshold": 1000}
        onnx.save(onnx.load(everything / path.name), path, **beside)

    monkeypatch.setattr(exporting, "_save", save)
    for _ in range(2):  # the second in place of the first
        export(with_everything(), tmp_path / "out", ExportConfig("onnx"))
        assert {"image.onnx.data", "text.onnx.data"} < {path.name for path in (tmp_path / "out").iterdir()}
        assert_same(with_everything(), tmp_path / "out")
    export(with_everything(), tmp_path / "out", ExportConfig("openvino"))
    assert {path.suffix for path in (tmp_path / "out").iterdir()} == {".xml", ".bin", ".json"}
    assert_same(with_everything(), tmp_path / "out")


def test_what_a_library_refuses_is_one_line(
    copied: None, tmp_path: Path, coloured_people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nncf, openvino = pytest.importorskip("nncf"), pytest.importorskip("openvino")

    def refuse(*given: object, **more: object) -> None:
        raise openvino.frontend.OpConversionFailure("no such\n operator")

    monkeypatch.setattr(openvino, "save_model", refuse)
    monkeypatch.setattr(nncf, "quantize", refuse)
    said = r"image.onnx: OpenVINO cannot convert it \(no such operator\)\. Try another --opset, or --to onnx\."
    with pytest.raises(CheckpointError, match=said):
        export(with_everything(), tmp_path / "out", ExportConfig("openvino"))
    said = r"image.onnx: nncf cannot quantise it \(no such operator\)\. Export with another --precision\."
    with pytest.raises(CheckpointError, match=said):
        export(with_everything(), tmp_path / "out", ExportConfig("onnx", "int8"), samples=read(coloured_people).query)
    assert not (tmp_path / "out").exists()


def test_int8_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"int8: needs pictures .* --data"):
        export(small(), tmp_path / "out", ExportConfig("onnx", "int8"))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"batch": 0}, "--batch 0: at least 1"),
        ({"opset": 11}, "--opset 11: from 18 to 23"),
        ({"precision": "bf16"}, "--precision bf16: ONNX Runtime .* --to openvino"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ExportConfig("onnx", **settings)  # type: ignore[arg-type]


def test_a_missing_library_is_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ConfigError, match=r"^onnxscript: not installed. Run: pip install \"resight\[export\]\"$"):
        export(small(), tmp_path / "out", ExportConfig("onnx"))
    assert not (tmp_path / "out").exists()


def test_a_folder_of_other_things_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("beach")
    with pytest.raises(CheckpointError, match=r"holds other files \(holiday.txt\)"):
        export(small(), tmp_path, ExportConfig("onnx"))
    with pytest.raises(CheckpointError, match="is a file"):
        export(small(), tmp_path / "holiday.txt", ExportConfig("onnx"))


def test_the_command_verifies_and_keeps_the_fingerprint(
    copied: None, tmp_path: Path, coloured_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with_everything().save(tmp_path / "encoder")
    words = ["export", str(tmp_path / "encoder"), "--to", "onnx", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--data", str(coloured_people), "--device", "cpu"]) == 0
    assert "least cosine of 16 pictures" in capsys.readouterr().out
    assert ExportedEncoder.load(tmp_path / "out").fingerprint() == with_everything().fingerprint()
    assert cli.main([*words, "--no-verify", "--json", "--device", "cpu"]) == 0  # in its place
    assert json.loads(capsys.readouterr().out)["parity"] is None
    assert ExportedEncoder.load(tmp_path / "out").fingerprint() != with_everything().fingerprint()
    assert cli.main(["export", str(tmp_path / "out"), "--to", "onnx", "--out", str(tmp_path / "again")]) == 2
    assert "was exported for onnx and holds no weights" in capsys.readouterr().err


def test_what_disagrees_is_not_left_behind(
    copied: None, tmp_path: Path, coloured_people: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = with_everything()
    other.clip.initialise(9)  # so that the graphs are another encoder's
    other.save(tmp_path / "encoder")
    words = ["export", str(tmp_path / "encoder"), "--to", "onnx", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--data", str(coloured_people), "--device", "cpu"]) == 1
    shown = capsys.readouterr().err
    assert "does not give PyTorch's answers and was not written: least cosine" in shown
    assert shown.count("\n") == 1
    assert not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_graph_that_overflows_is_told_by_its_figures(
    value: float,
    copied: None,
    tmp_path: Path,
    coloured_people: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As float16 may: not a fault of some picture, and no NaN in JSON."""
    with_everything().save(tmp_path / "encoder")
    opened = ExportedEncoder.load

    def spoiled(folder: Path) -> ExportedEncoder:
        encoder = opened(folder)
        image, text = encoder._image, encoder._text
        assert text is not None
        encoder._image = lambda given: {name: rows * np.float32(0) + value for name, rows in image(given).items()}
        encoder._text = lambda given: {name: rows * np.float32(0) + value for name, rows in text(given).items()}
        return encoder

    monkeypatch.setattr(ExportedEncoder, "load", spoiled)
    words = ["export", str(tmp_path / "encoder"), "--to", "onnx", "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert cli.main([*words, "--data", str(coloured_people), "--json"]) == 1
    shown = capsys.readouterr()
    least = 0.0 if value == 0 else -1.0
    assert "was not written: least cosine of 16 pictures (" in shown.err
    assert f") {least:.5f}, of texts {least:.5f} (needed 0.999), mean {least:.5f} " in shown.err
    assert shown.err.count("\n") == 1
    told = json.loads(shown.out, parse_constant=pytest.fail)
    assert (told["passed"], told["parity"]["mean_ap"][1], told["parity"]["same_first"]) == (False, 0, 0)
    assert not (tmp_path / "out").exists()


def test_parity_judges_each_figure() -> None:
    good = Parity("people", 9, (1, 3), 1.0, 1.0, 1.0, (0.5, 0.5), (0.5, 0.5), 1.0, EXACT)
    assert good.passed
    assert not replace(good, cosine=0.998).passed
    assert not replace(good, text_cosine=0.998).passed
    assert not replace(good, mean_ap=(0.5, 0.49)).passed
    assert not replace(good, same_first=0.98).passed
    assert replace(good, cosine=0.96, mean_cosine=0.995, mean_ap=(0.5, 0.49), limits=COARSE).passed
    assert not replace(good, cosine=0.96, mean_cosine=0.98, limits=COARSE).passed
    assert not replace(good, cosine=0.998, limits=COARSE).same_vectors


def test_the_probe_is_the_query_and_gallery(everything: Path, coloured_people: Path) -> None:
    probe = choose_probe(read(coloured_people))
    assert probe is not None
    parity = measure(with_everything(), ExportedEncoder.load(everything), probe)
    assert (parity.n_pictures, parity.batch_sizes, parity.same_first) == (16, (1, 3, 8, 16), 1.0)
    assert parity.mean_ap[0] == parity.mean_ap[1]


def test_pictures_that_nobody_is_seen_twice_on_are_no_probe(picture: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("a", "b"):
        picture(f"{name}/1.png")
    assert choose_probe(read(tmp_path)) is None
