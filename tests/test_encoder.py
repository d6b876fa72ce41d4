from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from resight.clip.image import ResNetConfig, ViTConfig
from resight.clip.model import Clip, ClipConfig, to_openai
from resight.clip.prompts import PromptForm, SharedPrompts
from resight.clip.text import TextConfig, cut_to_longest
from resight.clip.tokenizer import tokenize
from resight.data.transforms import Preprocess
from resight.encoder import Card, Encoder, Feature, Side
from resight.errors import CheckpointError, ConfigError, DataError

PREPROCESS = Preprocess(32, 16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bilinear")
VIT = ViTConfig(image_size=(32, 16), patch=8, stride=8, width=64, depth=2, heads=1, output=32, activation="quick_gelu")
RESNET = ResNetConfig(image_size=(32, 16), blocks=(1, 1, 1, 1), width=8, heads=4, output=32)
TEXT = TextConfig(width=64, depth=2, heads=1, output=32, activation="quick_gelu")


def tiny(
    *,
    feature: Feature = "projected",
    side: Side | None = None,
    image: ViTConfig | ResNetConfig = VIT,
    text: TextConfig | None = TEXT,
    form: PromptForm | None = None,
) -> Encoder:
    clip = Clip(ClipConfig(image, text))
    clip.initialise(0)
    prompts = None if form is None else SharedPrompts(form, clip.config, seed=2)
    card = Card("tiny", licence="Apache-2.0")
    encoder = Encoder(clip, PREPROCESS, card, feature=feature, side=side, prompts=prompts)
    if side is not None:
        torch.nn.init.normal_(encoder.side_table, generator=torch.Generator().manual_seed(1))
    return encoder.eval()


def pixels(n: int = 1) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (32, 16, 3), dtype=np.uint8)


def test_one_picture_in_every_form_gives_one_vector(tmp_path: Path) -> None:
    encoder, array = tiny(), pixels()
    Image.fromarray(array).save(tmp_path / "a.png")
    tensor = torch.from_numpy(array).permute(2, 0, 1)
    made = encoder.embed_images([tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(array), array, tensor])
    assert made.embedding.shape == (5, 32)
    assert made.embedding.dtype == np.float32
    np.testing.assert_array_equal(made.embedding, np.repeat(made.embedding[:1], 5, axis=0))
    np.testing.assert_allclose(np.linalg.norm(made.embedding, axis=1), 1, atol=1e-6)
    assert made.paths == (str(tmp_path / "a.png"), str(tmp_path / "a.png"), "", "", "")
    np.testing.assert_array_equal(made.embedding, made.aligned)
    stacked = encoder.embed_images(torch.stack([tensor, tensor]))
    np.testing.assert_allclose(stacked.embedding, made.embedding[:2], atol=1e-6)


def test_pictures_are_resized_and_normalised_before_the_tower() -> None:
    encoder, array = tiny(), np.random.default_rng(0).integers(0, 256, (50, 40, 3), dtype=np.uint8)
    resized = np.array(Image.fromarray(array).resize((16, 32), Image.Resampling.BILINEAR))
    images = (torch.from_numpy(resized).permute(2, 0, 1)[None] / 255 - 0.5) / 0.5
    with torch.no_grad():
        expected = torch.nn.functional.normalize(encoder.clip.image(images).projected)
    np.testing.assert_allclose(encoder.embed_images([array]).embedding, expected.numpy(), atol=1e-6)


def test_batches_do_not_change_vectors() -> None:
    encoder, images = tiny(), [pixels(n) for n in range(5)]
    whole, parts = encoder.embed_images(images), encoder.embed_images(images, batch_size=2)
    np.testing.assert_allclose(whole.embedding, parts.embedding, atol=1e-6)


@pytest.mark.parametrize(("image", "widths"), [(VIT, (64, 32)), (RESNET, (256, 32))])
def test_feature_before_neck_is_last_beside_projected(image: ViTConfig | ResNetConfig, widths: tuple[int, int]) -> None:
    encoder = tiny(feature="before-neck", image=image)
    images = torch.randn(2, 3, 32, 16)
    with torch.no_grad():
        taps, (embedding, projected) = encoder.clip.image(images), encoder(images)
    assert (taps.last.shape[1], taps.projected.shape[1]) == widths
    torch.testing.assert_close(embedding, torch.cat([taps.last, taps.projected], 1))
    torch.testing.assert_close(projected, taps.projected)
    made = encoder.embed_images([pixels()])
    assert made.embedding.shape == (1, sum(widths)) == (1, encoder.dimension)
    assert made.aligned is not None
    assert made.aligned.shape == (1, 32)


def test_feature_after_neck_uses_the_running_statistics() -> None:
    encoder = tiny(feature="after-neck")
    encoder.neck_last.running_mean.fill_(0.5)
    encoder.neck_projected.running_var.fill_(4.0)
    images = torch.randn(2, 3, 32, 16)
    with torch.no_grad():
        taps, (embedding, _) = encoder.clip.image(images), encoder(images)
    expected = torch.cat([(taps.last - 0.5) / (1 + 1e-5) ** 0.5, taps.projected / (4 + 1e-5) ** 0.5], 1)
    torch.testing.assert_close(embedding, expected)
    assert not encoder.neck_last.bias.requires_grad
    assert encoder.neck_last.weight.requires_grad


def test_camera_vectors_change_the_embedding_and_the_unknown_gets_their_mean() -> None:
    side = Side(2.0, cameras=("1", "2", "7"))
    encoder = tiny(feature="before-neck", side=side)
    weights = side.weights(["2", None, "9"], [None] * 3)
    torch.testing.assert_close(weights, torch.tensor([[0, 1, 0], [1 / 3] * 3, [1 / 3] * 3]))
    images = encoder.preprocess.normalise(torch.from_numpy(np.stack([pixels()] * 3)).permute(0, 3, 1, 2))
    added = 2 * torch.stack([encoder.side_table[1], encoder.side_table.mean(0), encoder.side_table.mean(0)])
    torch.testing.assert_close(encoder.taps(images, weights), encoder.clip.image(images, side=added))
    one, two = encoder.embed_images([pixels()] * 2, cameras=["1", "7"]).embedding
    assert np.abs(one - two).max() > 1e-4


@pytest.mark.parametrize(
    ("camera", "view", "rows"),
    [("b", "x", [2]), ("b", "y", [3]), ("b", None, [2, 3]), (None, "y", [1, 3]), (None, None, [0, 1, 2, 3])],
)
def test_row_of_a_camera_and_a_view(camera: str | None, view: str | None, rows: list[int]) -> None:
    side = Side(1.0, cameras=("a", "b"), views=("x", "y"))
    assert side.n_rows == 4
    assert side.weights([camera], [view])[0].nonzero().flatten().tolist() == rows


def test_views_alone() -> None:
    side = Side(1.0, cameras=(), views=("x", "y", "z"))
    assert side.n_rows == 3
    assert side.weights(["anything"], ["z"]).tolist() == [[0, 0, 1]]


def test_a_resnet_takes_no_camera_vectors() -> None:
    with pytest.raises(ConfigError, match="a ResNet has none"):
        tiny(image=RESNET, side=Side(1.0, ("1",)))


def test_texts_are_compared_with_aligned_pictures() -> None:
    encoder = tiny(feature="before-neck")
    words = encoder.embed_texts(["a red coat", "", "a red coat"])
    assert words.embedding.shape == (3, 32)
    np.testing.assert_array_equal(words.embedding[0], words.embedding[2])
    np.testing.assert_allclose(np.linalg.norm(words.embedding, axis=1), 1, atol=1e-6)
    assert words.captions == ("a red coat", "", "a red coat")
    np.testing.assert_array_equal(words.embedding, words.aligned)
    assert encoder.embed_texts([]).embedding.shape == (0, 32)


def test_long_and_short_texts_in_one_batch_equal_each_alone() -> None:
    encoder = tiny()
    texts = ["coat", "a woman with a red coat and a backpack " * 20]
    together = encoder.embed_texts(texts).embedding
    alone = np.concatenate([encoder.embed_texts([text]).embedding for text in texts])
    np.testing.assert_allclose(together, alone, atol=2e-6)


def test_bf16_stays_close_to_float32() -> None:
    encoder, images = tiny(), [pixels(n) for n in range(4)]
    exact, fast = encoder.embed_images(images), encoder.embed_images(images, precision="bf16")
    assert fast.embedding.dtype == np.float32
    assert (exact.embedding * fast.embedding).sum(1).min() > 0.999
    assert not np.array_equal(exact.embedding, fast.embedding)


def test_wrong_calls() -> None:
    encoder = tiny()
    with pytest.raises(ValueError, match=r"write embed_texts\(\[text\]\)"):
        encoder.embed_texts("a red coat")
    with pytest.raises(ValueError, match=r"uint8 \[H, W, 3\]"):
        encoder.embed_images([np.zeros((32, 16, 3), dtype=np.float32)])
    with pytest.raises(ValueError, match=r"write embed_images\(\[picture\]\)"):
        encoder.embed_images("a.jpg")
    with pytest.raises(ValueError, match="batch_size is -1; at least 1"):
        encoder.embed_images([pixels()], batch_size=-1)
    with pytest.raises(ConfigError, match="seed -1"):
        Encoder.load("random:64x2/8", seed=-1)
    with pytest.raises(ValueError, match="2 pictures, 1 cameras"):
        encoder.embed_images([pixels()] * 2, cameras=["1"])
    with pytest.raises(DataError, match=r"nothing\.jpg"):
        encoder.embed_images(["nothing.jpg"])
    with pytest.raises(ConfigError, match=r"\(tiny\) has no text tower"):
        tiny(text=None).embed_texts(["words"])


def test_no_pictures_is_an_empty_answer() -> None:
    made = tiny(feature="before-neck").embed_images([])
    assert made.embedding.shape == (0, 96)
    assert made.aligned is not None
    assert made.aligned.shape == (0, 32)


@pytest.mark.parametrize("image", [VIT, RESNET])
@pytest.mark.parametrize("feature", ["projected", "before-neck", "after-neck"])
def test_a_saved_encoder_answers_the_same(tmp_path: Path, image: ViTConfig | ResNetConfig, feature: Feature) -> None:
    side = Side(1.5, ("1", "2"), ("front", "rear")) if isinstance(image, ViTConfig) else None
    encoder = tiny(feature=feature, image=image, side=side)
    encoder.save(tmp_path / "encoder")
    again = Encoder.load(tmp_path / "encoder", device="cpu")
    assert not again.training
    assert again.card == encoder.card
    assert again.side == encoder.side
    assert again.fingerprint() == encoder.fingerprint() == again.embed_images([]).encoder
    arguments = {"cameras": ["1", "2"], "views": ["rear", None]}
    before, after = (e.embed_images([pixels(1), pixels(2)], **arguments) for e in (encoder, again))
    np.testing.assert_array_equal(before.embedding, after.embedding)
    np.testing.assert_array_equal(encoder.embed_texts(["a"]).embedding, again.embed_texts(["a"]).embedding)


FORMS = [PromptForm(3, 2), PromptForm(0, 2, 2), PromptForm(3, 0, position=True), PromptForm(1, 2, 2, True)]


@pytest.mark.parametrize("form", FORMS)
def test_both_towers_run_with_the_prompts(form: PromptForm) -> None:
    encoder, plain = tiny(form=form), tiny()
    prompts, clip = encoder.prompts, encoder.clip
    assert prompts is not None
    assert clip.text is not None
    ids, images = tokenize(["a red coat", "blue"]), torch.randn(2, 3, 32, 16)
    with torch.no_grad():
        read, seen = encoder.read(ids), encoder(images)[1]
        assert torch.equal(read, clip.text(ids, prompts=prompts.for_text(clip.text)))
        assert torch.equal(seen, clip.image(images, prompts=prompts.for_image(clip.image)).projected)
        assert torch.equal(read, plain.read(ids)) == (form.text_length == 0)
        assert torch.equal(seen, plain(images)[1]) == (form.image_length == 0)
        torch.testing.assert_close(encoder.read(cut_to_longest(ids)), read, atol=2e-6, rtol=1e-5)
    words = encoder.embed_texts(["a red coat", "blue"]).embedding
    np.testing.assert_allclose(words, torch.nn.functional.normalize(read), atol=2e-6)


@pytest.mark.parametrize("form", FORMS)
def test_a_saved_encoder_has_its_prompts(tmp_path: Path, form: PromptForm) -> None:
    encoder = tiny(form=form)
    encoder.save(tmp_path / "encoder")
    assert json.loads((tmp_path / "encoder" / "encoder.json").read_text())["prompts"] == dataclasses.asdict(form)
    again = Encoder.load(tmp_path / "encoder", device="cpu")
    assert again.prompts is not None
    assert again.prompts.form == form
    assert again.fingerprint() == encoder.fingerprint()
    for one in (lambda e: e.embed_images([pixels()]), lambda e: e.embed_texts(["a red coat"])):
        np.testing.assert_array_equal(one(encoder).embedding, one(again).embedding)


@pytest.mark.parametrize("form", FORMS)
def test_prompts_of_the_text_side_are_left_behind_with_its_tower(tmp_path: Path, form: PromptForm) -> None:
    encoder = tiny(form=form)
    encoder.save(tmp_path / "encoder")
    alone = Encoder.load(tmp_path / "encoder", with_text=False, device="cpu")
    whole, own = encoder.embed_images([pixels()]), alone.embed_images([pixels()])
    np.testing.assert_array_equal(whole.embedding, own.embedding)
    if form.image_length:
        assert alone.prompts is not None
        assert alone.prompts.form == dataclasses.replace(form, text_length=0)
    else:
        assert alone.prompts is None
    alone.save(tmp_path / "alone")
    again = Encoder.load(tmp_path / "alone", device="cpu")
    np.testing.assert_array_equal(own.embedding, again.embed_images([pixels()]).embedding)
    assert again.fingerprint() == alone.fingerprint()


def test_the_fingerprint_follows_prompts_and_is_the_old_one_without() -> None:
    encoder, other = tiny(form=PromptForm(3, 2)), tiny(form=PromptForm(3, 2, position=True))
    seen = {tiny().fingerprint(), encoder.fingerprint(), other.fingerprint()}
    assert encoder.prompts is not None
    assert encoder.prompts.image is not None
    with torch.no_grad():
        encoder.prompts.image += 1e-3
    assert len(seen | {encoder.fingerprint()}) == 4
    described = {"format", "image_tower", "text_tower", "feature", "side", "preprocess"}
    assert tiny().description().keys() == described
    assert not any("prompts" in name for name in tiny().state_dict())


def test_a_damaged_description_of_prompts_is_one_line(tmp_path: Path) -> None:
    tiny(form=PromptForm(3, 2)).save(tmp_path / "encoder")
    about = json.loads((tmp_path / "encoder" / "encoder.json").read_text())
    for wrong in ({"text_length": 3}, "3", about["prompts"] | {"depth": 9}, about["prompts"] | {"image_length": 3}):
        (tmp_path / "encoder" / "encoder.json").write_text(json.dumps(about | {"prompts": wrong}))
        with pytest.raises(CheckpointError, match="not a whole encoder description"):
            Encoder.load(tmp_path / "encoder", device="cpu")


def test_reading_needs_a_text_tower() -> None:
    with pytest.raises(ConfigError, match=r"\(tiny\) has no text tower"):
        tiny(text=None).read(torch.zeros(1, 77, dtype=torch.int64))


def test_a_resnet_takes_prompts_for_texts_alone() -> None:
    with pytest.raises(ConfigError, match="a ResNet has none"):
        tiny(image=RESNET, form=PromptForm(3, 2))
    encoder = tiny(image=RESNET, form=PromptForm(3, 0, position=True))
    assert encoder.embed_images([pixels()]).embedding.shape == (1, 32)
    assert not np.array_equal(encoder.embed_texts(["a"]).embedding, tiny(image=RESNET).embed_texts(["a"]).embedding)


def test_text_can_be_left_behind(tmp_path: Path) -> None:
    tiny().save(tmp_path / "encoder")
    image_only = Encoder.load(tmp_path / "encoder", with_text=False, device="cpu")
    assert not image_only.can_read
    assert image_only.embed_images([pixels()]).aligned is None
    image_only.save(tmp_path / "image-only")
    assert not Encoder.load(tmp_path / "image-only", device="cpu").can_read


def test_the_fingerprint_follows_weights_and_preprocessing() -> None:
    encoder = tiny()
    first = encoder.fingerprint()
    assert first == tiny().fingerprint()
    with torch.no_grad():
        encoder.clip.image.proj[0, 0] += 1e-3
    assert encoder.fingerprint() != first
    other = tiny()
    other.preprocess = dataclasses.replace(PREPROCESS, interpolation="bicubic")
    assert other.fingerprint() != first


def test_every_change_of_the_weights_changes_the_fingerprint(tmp_path: Path) -> None:
    encoder = tiny()
    seen = {encoder.fingerprint()}
    encoder.clip.load_state_dict({n: t + 1 for n, t in encoder.clip.state_dict().items()})
    seen.add(encoder.fingerprint())
    with torch.no_grad():
        encoder.clip.image.proj.mul_(2)
    seen.add(encoder.fingerprint())
    assert len(seen) == 3
    encoder.save(tmp_path / "encoder")
    assert Encoder.load(tmp_path / "encoder", device="cpu").fingerprint() == encoder.fingerprint()


def test_an_encoder_in_training_does_not_embed() -> None:
    encoder = tiny(feature="after-neck", image=RESNET)
    before = encoder.fingerprint()
    encoder.train()
    with pytest.raises(ValueError, match=r"call eval\(\) before it embeds"):
        encoder.embed_images([pixels()])
    assert encoder.fingerprint() == before


def test_saving_again_replaces_and_leaves_nothing_beside(tmp_path: Path) -> None:
    tiny().save(tmp_path / "encoder")
    tiny(feature="before-neck").save(str(tmp_path / "encoder"))
    assert Encoder.load(tmp_path / "encoder", device="cpu").feature == "before-neck"
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_an_encoder_is_not_written_over_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CheckpointError, match="holds other files"):
        tiny().save(tmp_path)
    with pytest.raises(CheckpointError, match="is a file"):
        tiny().save(tmp_path / "notes.txt")
    tiny().save(tmp_path / "encoder")
    (tmp_path / "encoder" / "notes.txt").write_text("mine too")
    with pytest.raises(CheckpointError, match="holds other files"):
        tiny().save(tmp_path / "encoder")
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "encoder" / "notes.txt").read_text() == "mine too"


def test_an_encoder_is_saved_into_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    tiny().save(Path("."))
    assert (tmp_path / "here" / "encoder.json").is_file()


def test_a_failed_move_brings_the_old_encoder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny()
    encoder.save(tmp_path / "encoder")
    rename = Path.rename

    def fail_once(self: Path, target: Path) -> Path:
        if self.name == "new":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_once)
    with pytest.raises(CheckpointError, match="Input/output error"):
        tiny(feature="before-neck").save(tmp_path / "encoder")
    assert Encoder.load(tmp_path / "encoder", device="cpu").fingerprint() == encoder.fingerprint()
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_a_failed_save_keeps_the_old_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = tiny()
    encoder.save(tmp_path / "encoder")

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", full_disk)
    with pytest.raises(CheckpointError, match=r"could not be written.*No space left"):
        tiny(feature="before-neck").save(tmp_path / "encoder")
    assert Encoder.load(tmp_path / "encoder", device="cpu").fingerprint() == encoder.fingerprint()
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def damage(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        about = json.loads((folder / "encoder.json").read_text())
        change(about)
        (folder / "encoder.json").write_text(json.dumps(about))

    return apply


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: (folder / "encoder.json").write_text("{"), "not a whole encoder description"),
        (
            lambda folder: (folder / "model.safetensors").write_bytes(b"abc"),
            "not the file encoder.json was written with",
        ),
        (lambda folder: (folder / "model.safetensors").unlink(), "cannot be read"),
        (damage(lambda about: about.pop("feature")), "not a whole encoder description"),
        (damage(lambda about: about.update(feature="before_neck")), "feature 'before_neck': there are projected"),
        (damage(lambda about: about["preprocess"].update(height=0)), r"encoder\.json.*height"),
        (damage(lambda about: about.update(format=2)), "is of format 2, this version reads 1"),
        (damage(lambda about: about["image_tower"].update(width=128, heads=2)), "not a whole encoder description"),
    ],
)
def test_damaged_folders_are_one_line(tmp_path: Path, break_it: Callable[[Path], object], message: str) -> None:
    tiny().save(tmp_path / "encoder")
    break_it(tmp_path / "encoder")
    with pytest.raises(CheckpointError, match=message) as raised:
        Encoder.load(tmp_path / "encoder", device="cpu")
    assert "\n" not in str(raised.value)


def test_an_encoder_folder_fixes_its_architecture(tmp_path: Path) -> None:
    tiny().save(tmp_path / "encoder")
    with pytest.raises(ConfigError, match="fixes size, stride"):
        Encoder.load(tmp_path / "encoder", size=(64, 32), device="cpu")


def test_random_weights_are_seeded_and_sized() -> None:
    one = Encoder.load("random:64x2/8", size=(32, 16), seed=1, device="cpu")
    same = Encoder.load("random:64x2/8", size=(32, 16), seed=1, device="cpu")
    other = Encoder.load("random:64x2/8", size=(32, 16), seed=2, device="cpu")
    assert one.fingerprint() == same.fingerprint() != other.fingerprint()
    assert (one.preprocess.height, one.preprocess.width) == (32, 16)
    assert one.feature == "projected"


def released(source: Encoder) -> dict[str, torch.Tensor]:
    """The state of a CLIP-ReID model as its authors save it."""
    visual = {n: t for n, t in to_openai(source.clip.state_dict()).items() if n.startswith("visual.")}
    state = {f"image_encoder.{name.removeprefix('visual.')}": tensor for name, tensor in visual.items()}
    for ours, theirs in (("neck_last", "bottleneck"), ("neck_projected", "bottleneck_proj")):
        state |= {f"{theirs}.{name}": t for name, t in source.get_submodule(ours).state_dict().items()}
    if source.side is not None:
        state["cv_embed"] = source.side_table.detach()
    return state | {"classifier.weight": torch.zeros(5, 64)}


def test_a_released_clip_reid_model_brings_necks_and_camera_vectors(tmp_path: Path) -> None:
    source = tiny(feature="before-neck", side=Side(1.0, ("1", "2", "3")))
    torch.nn.init.normal_(source.neck_last.weight, mean=1.0, std=0.1)
    torch.save(released(source), tmp_path / "ViT-B-16_60.pth")
    encoder = Encoder.load(tmp_path / "ViT-B-16_60.pth", size=(32, 16), device="cpu")
    assert encoder.feature == "before-neck"
    assert encoder.side == Side(1.0, ("1", "2", "3"))
    torch.testing.assert_close(encoder.neck_last.weight, source.neck_last.weight)
    expected = source.embed_images([pixels()], cameras=["2"]).embedding
    np.testing.assert_allclose(encoder.embed_images([pixels()], cameras=["2"]).embedding, expected, atol=1e-6)


def test_a_table_of_160_rows_is_20_cameras_by_8_views(tmp_path: Path) -> None:
    cameras = tuple(str(camera) for camera in range(1, 21))
    side = Side(1.0, cameras, tuple(str(view) for view in range(8)))
    torch.save(released(tiny(feature="before-neck", side=side)), tmp_path / "veri.pth")
    assert Encoder.load(tmp_path / "veri.pth", size=(32, 16), device="cpu").side == side


@pytest.mark.parametrize("lost", ["bottleneck.weight", "bottleneck_proj.running_mean", "bottleneck"])
def test_a_released_model_without_its_necks_is_refused(tmp_path: Path, lost: str) -> None:
    state = released(tiny(feature="before-neck", side=Side(1.0, ("1", "2"))))
    torch.save({n: t for n, t in state.items() if not n.startswith(lost)}, tmp_path / "m.pth")
    with pytest.raises(CheckpointError, match="necks or camera vectors are missing or do not fit") as raised:
        Encoder.load(tmp_path / "m.pth", size=(32, 16), device="cpu")
    assert "\n" not in str(raised.value)


def test_a_released_resnet_leaves_its_camera_vectors_out(tmp_path: Path) -> None:
    state = released(tiny(feature="before-neck", image=RESNET)) | {"cv_embed": torch.zeros(6, 768)}
    torch.save(state, tmp_path / "rn.pth")
    encoder = Encoder.load(tmp_path / "rn.pth", size=(32, 16), stride=16, heads=4, device="cpu")
    assert encoder.side is None
    assert any("a ResNet ignores it" in note for note in encoder.card.notes)
