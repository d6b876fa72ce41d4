"""Checkpoints of every known make, written here from small models, load to models that answer the same."""

from __future__ import annotations

import hashlib
import json
import pickle
import re
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from resight.clip import formats, sources
from resight.clip.image import ResNetConfig, ViTConfig, resize_positions
from resight.clip.model import Clip, ClipConfig, to_openai
from resight.clip.settings import CLIP_MEAN, CLIP_STD
from resight.clip.text import TextConfig
from resight.clip.weights import load
from resight.errors import CheckpointError, ConfigError

TEXT = TextConfig(width=64, depth=1, heads=1, output=32, activation="quick_gelu", context_length=12, vocabulary=50)
VIT = ViTConfig((64, 64), patch=16, stride=16, width=128, depth=2, heads=2, output=32, activation="quick_gelu")
RESNET = ResNetConfig((64, 64), blocks=(1, 2, 1, 1), width=8, heads=4, output=32, last_stride=2)
TOWERS = {"vit": VIT, "resnet": RESNET}
State = dict[str, Tensor]


def small_clip(image: ViTConfig | ResNetConfig, text: TextConfig | None = TEXT) -> Clip:
    """A model with random numbers everywhere, so that no two parameters could be mixed up unseen."""
    clip = Clip(ClipConfig(image, text))
    generator = torch.Generator().manual_seed(5)
    for tensor in clip.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.rand(tensor.shape, generator=generator) * 0.3 + 0.02)
    return clip.eval()


def answers(clip: Clip) -> State:
    """What a model makes of two pictures of its size, and of a text."""
    images = torch.rand(2, 3, *clip.config.image.image_size, generator=torch.Generator().manual_seed(6))
    with torch.no_grad():
        found: State = clip.image(images)._asdict()
        if clip.text is not None and clip.logit_scale is not None:
            found["text"] = clip.text(torch.tensor([[1, 7, 30, 49, *[0] * 8]]))
            found["logit_scale"] = clip.logit_scale.detach()
    return found


def assert_same(ours: Clip, theirs: Clip) -> None:
    expected, found = answers(theirs), answers(ours)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def published(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take a TorchScript archive for one of OpenAI's."""
    monkeypatch.setattr(formats, "OPENAI_ARCHIVES", {hashlib.sha256(path.read_bytes()).hexdigest(): path.name})


# --- writers, one for each make of file ---


def with_parameters(state: State) -> nn.Module:
    """A module tree with these names, as an archive of OpenAI's has."""
    root = nn.Module()
    for name, tensor in state.items():
        *path, leaf = name.split(".")
        module = root
        for part in path:
            if not hasattr(module, part):
                module.add_module(part, nn.Module())
            module = getattr(module, part)
        module.register_buffer(leaf, tensor.clone())
    return root


def write_torchscript(state: State, path: Path) -> None:
    numbers = {"input_resolution": torch.tensor(64), "context_length": torch.tensor(12), "vocab_size": torch.tensor(50)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(with_parameters(state | numbers)).save(str(path))


def write_nested(state: State, path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()}}, path)


def write_model_key(state: State, path: Path) -> None:
    torch.save({"model": state, "args": ["a", 1]}, path)


def write_legacy(state: State, path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


def custom_text(state: State) -> State:
    """OpenCLIP's names for a text tower of its own class, with the mask that older versions stored."""
    flat = {name: tensor for name, tensor in state.items() if name.startswith("visual.") or name == "logit_scale"}
    text = {f"text.{name}": tensor for name, tensor in state.items() if name not in flat}
    return flat | text | {"text.attn_mask": torch.zeros(12, 12)}


WRITERS: dict[str, tuple[str, str, Callable[[State, Path], object]]] = {
    "torchscript": ("clip.pt", "torchscript", write_torchscript),
    "state dict": ("clip.pt", "openai", torch.save),
    "state dict, old file form": ("clip.bin", "openai", write_legacy),
    "below state_dict, with module.": ("clip.pth", "openai", write_nested),
    "below model": ("clip.pth", "openai", write_model_key),
    "safetensors": ("clip.safetensors", "openai", safetensors.torch.save_file),
    "text. prefix": ("clip.pt", "open_clip", lambda state, path: torch.save(custom_text(state), path)),
}


@pytest.mark.parametrize("tower", TOWERS)
@pytest.mark.parametrize("maker", WRITERS)
def test_every_make_loads_to_the_same_answers(
    maker: str, tower: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, expected_format, write = WRITERS[maker]
    original = small_clip(TOWERS[tower])
    write(to_openai(original.state_dict()), tmp_path / name)
    if maker == "torchscript":
        published(tmp_path / name, monkeypatch)
    loaded = load(str(tmp_path / name))
    assert loaded.clip.config == original.config
    assert_same(loaded.clip, original)
    assert not loaded.clip.training
    assert loaded.extras == {}
    assert loaded.info.format == expected_format
    assert loaded.info.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()
    assert (loaded.info.mean, loaded.info.std, loaded.info.interpolation) == (CLIP_MEAN, CLIP_STD, "bicubic")
    assert (loaded.info.image_size, loaded.info.licence) == ((64, 64), "unknown")
    assert loaded.info.source == str(tmp_path / name)


def test_weights_are_trainable_float32_and_free_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "clip.safetensors"
    state = {n: t.half() if t.is_floating_point() else t for n, t in to_openai(small_clip(VIT).state_dict()).items()}
    safetensors.torch.save_file(state, path)
    clip = load(str(path)).clip
    path.write_bytes(b"\0" * path.stat().st_size)
    for name, parameter in clip.named_parameters():
        assert parameter.dtype == torch.float32
        assert parameter.requires_grad
        assert parameter.is_contiguous()
        assert torch.equal(parameter, to_back(state, name).float()), name


def to_back(state: State, name: str) -> Tensor:
    return state[next(iter(to_openai({name: torch.empty(0)})))]


def test_half_precision_archives_become_float32(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = small_clip(RESNET)
    original.load_state_dict(
        {n: t.half().float() if t.is_floating_point() else t for n, t in original.state_dict().items()}
    )
    halved = {n: t.half() if t.is_floating_point() else t for n, t in to_openai(original.state_dict()).items()}
    write_torchscript(halved, tmp_path / "RN.pt")
    published(tmp_path / "RN.pt", monkeypatch)
    assert_same(load(str(tmp_path / "RN.pt")).clip, original)


def transformers_names(state: State) -> State:
    """transformers' names, written from its documentation: apart projections of query, key, value; fc1 and fc2."""
    found: State = {"logit_scale": state["logit_scale"]}
    plain = {
        "visual.class_embedding": "vision_model.embeddings.class_embedding",
        "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
        "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
        "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
        "positional_embedding": "text_model.embeddings.position_embedding.weight",
    }
    for ours, theirs in plain.items():
        found[theirs] = state[ours]
    for part in ("weight", "bias"):
        found[f"vision_model.pre_layrnorm.{part}"] = state[f"visual.ln_pre.{part}"]
        found[f"vision_model.post_layernorm.{part}"] = state[f"visual.ln_post.{part}"]
        found[f"text_model.final_layer_norm.{part}"] = state[f"ln_final.{part}"]
    found["visual_projection.weight"] = state["visual.proj"].T.contiguous()
    found["text_projection.weight"] = state["text_projection"].T.contiguous()
    found["text_model.embeddings.position_ids"] = torch.arange(12)[None]
    found["vision_model.embeddings.position_ids"] = torch.arange(17)[None]
    for model, start, depth in (("vision", "visual.", 2), ("text", "", 1)):
        for block in range(depth):
            theirs, ours = f"{model}_model.encoder.layers.{block}", f"{start}transformer.resblocks.{block}"
            for part in ("weight", "bias"):
                triple = state[f"{ours}.attn.in_proj_{part}"].chunk(3)
                for name, tensor in zip("qkv", triple, strict=True):
                    found[f"{theirs}.self_attn.{name}_proj.{part}"] = tensor.clone()
                for name, our_name in {
                    "self_attn.out_proj": "attn.out_proj",
                    "layer_norm1": "ln_1",
                    "layer_norm2": "ln_2",
                    "mlp.fc1": "mlp.c_fc",
                    "mlp.fc2": "mlp.c_proj",
                }.items():
                    found[f"{theirs}.{name}.{part}"] = state[f"{ours}.{our_name}.{part}"]
    return found


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_transformers_names(name: str, tmp_path: Path) -> None:
    original = small_clip(VIT)
    state = transformers_names(to_openai(original.state_dict()))
    write = safetensors.torch.save_file if name.endswith("safetensors") else torch.save
    write(state, tmp_path / name)
    loaded = load(str(tmp_path / name))
    assert loaded.info.format == "transformers"
    assert_same(loaded.clip, original)


def test_transformers_settings_beside_the_file(tmp_path: Path) -> None:
    image, text = replace(VIT, heads=4, activation="gelu"), replace(TEXT, heads=2, activation="gelu")
    original = small_clip(image, text)
    torch.save(transformers_names(to_openai(original.state_dict())), tmp_path / "pytorch_model.bin")
    stated = {
        "model_type": "clip",
        "vision_config": {"hidden_act": "gelu", "num_attention_heads": 4, "image_size": 64},
        "text_config": {"hidden_act": "gelu", "num_attention_heads": 2},
    }
    (tmp_path / "config.json").write_text(json.dumps(stated))
    loaded = load(str(tmp_path / "pytorch_model.bin"))
    assert loaded.clip.config == original.config
    assert loaded.info.notes == ()
    assert_same(loaded.clip, original)


# --- CLIP-ReID's released models ---


def clip_reid_names(clip: Clip, width: int) -> State:
    state = {name.replace("visual.", "image_encoder.", 1): t for name, t in to_openai(clip.state_dict()).items()}
    generator = torch.Generator().manual_seed(7)
    for neck, size in (("bottleneck", width), ("bottleneck_proj", 32)):
        state |= {f"{neck}.{part}": torch.rand(size, generator=generator) for part in ("weight", "bias")}
        state |= {f"{neck}.running_{part}": torch.rand(size, generator=generator) for part in ("mean", "var")}
        state[f"{neck}.num_batches_tracked"] = torch.tensor(9)
    state |= {"classifier.weight": torch.rand(5, width), "classifier_proj.weight": torch.rand(5, 32)}
    state |= {"cv_embed": torch.rand(6, width), "prompt_learner.cls_ctx": torch.rand(5, 4, 64)}
    state |= {"text_encoder.positional_embedding": torch.rand(12, 64), "text_encoder.ln_final.bias": torch.rand(64)}
    return state


@pytest.mark.parametrize(
    ("size", "stride"), [((256, 128), 16), ((256, 128), 12), ((256, 256), 16), ((256, 256), 12), ((384, 128), 16)]
)
def test_released_vit_keeps_the_usual_size_it_was_trained_at(
    size: tuple[int, int], stride: int, tmp_path: Path
) -> None:
    original = small_clip(replace(VIT, image_size=size, stride=stride), None)
    state = clip_reid_names(original, 128)
    torch.save({f"module.{name}": tensor for name, tensor in state.items()}, tmp_path / "reid.pth")
    loaded = load(str(tmp_path / "reid.pth"))
    assert loaded.clip.config == original.config
    assert_same(loaded.clip, original)
    assert loaded.info.format == "clip-reid"
    assert (loaded.info.mean, loaded.info.std) == ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert loaded.info.interpolation == "bilinear"
    assert loaded.info.image_size == size
    assert "text tower lacks the token table" in loaded.info.notes[0]
    assert loaded.extras.keys() == {n for n in state if not n.startswith(("image_encoder.", "text_encoder."))}
    assert all(torch.equal(tensor, state[name]) for name, tensor in loaded.extras.items())


def test_released_resnet(tmp_path: Path) -> None:
    original = small_clip(replace(RESNET, image_size=(256, 128), last_stride=1), None)
    torch.save(clip_reid_names(original, 256), tmp_path / "reid.pth")
    loaded = load(str(tmp_path / "reid.pth"))
    assert loaded.clip.config == original.config
    assert_same(loaded.clip, original)
    assert loaded.info.mean == (0.485, 0.456, 0.406)
    assert loaded.info.std == (0.229, 0.224, 0.225)


def test_released_model_of_an_unusual_size_needs_to_be_told(tmp_path: Path) -> None:
    original = small_clip(replace(VIT, image_size=(320, 96)), None)
    torch.save(clip_reid_names(original, 128), tmp_path / "reid.pth")
    with pytest.raises(CheckpointError, match=r"its 120 position embeddings fit no usual picture size\. Say the size"):
        load(str(tmp_path / "reid.pth"))
    loaded = load(str(tmp_path / "reid.pth"), image_size=(320, 96))
    assert_same(loaded.clip, original)
    assert_same(load(str(tmp_path / "reid.pth"), image_size=(320, 96), stride=16).clip, original)


def test_released_model_at_another_size_is_resized_from_its_own(tmp_path: Path) -> None:
    original = small_clip(replace(VIT, image_size=(256, 128), stride=12), None)
    torch.save(clip_reid_names(original, 128), tmp_path / "reid.pth")
    loaded = load(str(tmp_path / "reid.pth"), image_size=(384, 192))
    image = loaded.clip.config.image
    assert isinstance(image, ViTConfig)
    assert (image.image_size, image.stride) == ((384, 192), 12)
    table = original.state_dict()["image.positional_embedding"]
    expected = resize_positions(table, old_grid=(21, 10), new_grid=image.grid)
    assert torch.equal(loaded.clip.state_dict()["image.positional_embedding"], expected)


@pytest.mark.parametrize(
    ("size", "stride", "wanted"),
    [((256, 256), 16, (512, 128)), ((256, 128), 16, (128, 256)), ((256, 128), 12, (128, 256))],
)
def test_a_wanted_size_with_as_many_places_does_not_keep_the_released_grid(
    size: tuple[int, int], stride: int, wanted: tuple[int, int], tmp_path: Path
) -> None:
    original = small_clip(replace(VIT, image_size=size, stride=stride), None)
    torch.save(clip_reid_names(original, 128), tmp_path / "reid.pth")
    loaded = load(str(tmp_path / "reid.pth"), image_size=wanted, stride=stride)
    assert loaded.info.image_size == size
    table = original.state_dict()["image.positional_embedding"]
    image, old = loaded.clip.config.image, original.config.image
    assert image.grid != old.grid
    expected = resize_positions(table, old_grid=old.grid, new_grid=image.grid)
    assert torch.equal(loaded.clip.state_dict()["image.positional_embedding"], expected)
    assert loaded.info.notes[1:] == (
        f"Its position embeddings are taken for pictures of {size[0]}×{size[1]} pixels (height × width) at stride "
        f"{stride}, which is usual, and not of {wanted[0]}×{wanted[1]} pixels (height × width) at stride {stride}, "
        f"where there are as many.",
    )


def test_another_stride_with_as_many_places_is_noted_too(tmp_path: Path) -> None:
    original = small_clip(replace(VIT, image_size=(256, 128), stride=12), None)
    torch.save(clip_reid_names(original, 128), tmp_path / "reid.pth")
    loaded = load(str(tmp_path / "reid.pth"), image_size=(336, 160))
    assert loaded.clip.config.image == replace(VIT, image_size=(336, 160), stride=12)
    assert "stride 12, which is usual, and not of 336×160 pixels (height × width) at stride 16" in loaded.info.notes[1]


@pytest.mark.parametrize("wanted", [(256, 128), (260, 130), (384, 128)])
def test_nothing_is_noted_where_there_is_no_doubt(wanted: tuple[int, int], tmp_path: Path) -> None:
    torch.save(clip_reid_names(small_clip(replace(VIT, image_size=(256, 128)), None), 128), tmp_path / "reid.pth")
    assert len(load(str(tmp_path / "reid.pth"), image_size=wanted).info.notes) == 1


# --- grids ---


@pytest.mark.parametrize(
    ("size", "stride", "grid"),
    [
        (None, None, (4, 4)),
        ((256, 128), 16, (16, 8)),
        ((256, 128), 12, (21, 10)),
        ((128, 32), None, (8, 2)),
        (None, 8, (7, 7)),
    ],
)
def test_vit_positions_are_resized_by_grid(
    size: tuple[int, int] | None, stride: int | None, grid: tuple[int, int], tmp_path: Path
) -> None:
    """128×32 has as many patches as 64×64, yet another grid."""
    original = small_clip(VIT)
    torch.save(to_openai(original.state_dict()), tmp_path / "clip.pt")
    loaded = load(str(tmp_path / "clip.pt"), image_size=size, stride=stride)
    assert loaded.clip.config.image == replace(VIT, image_size=size or (64, 64), stride=stride or 16)
    assert loaded.clip.config.image.grid == grid
    table = original.state_dict()["image.positional_embedding"]
    expected = table if grid == (4, 4) else resize_positions(table, old_grid=(4, 4), new_grid=grid)
    assert torch.equal(loaded.clip.state_dict()["image.positional_embedding"], expected)
    assert loaded.info.image_size == (64, 64)
    assert all(value.isfinite().all() for value in answers(loaded.clip).values())


@pytest.mark.parametrize(
    ("size", "stride", "grid"),
    [(None, None, (2, 2)), (None, 16, (4, 4)), ((256, 128), 16, (16, 8)), ((256, 128), 32, (8, 4))],
)
def test_resnet_positions_are_resized_by_grid(
    size: tuple[int, int] | None, stride: int | None, grid: tuple[int, int], tmp_path: Path
) -> None:
    original = small_clip(RESNET)
    torch.save(to_openai(original.state_dict()), tmp_path / "clip.pt")
    image = load(str(tmp_path / "clip.pt"), image_size=size, stride=stride).clip
    assert image.config.image.grid == grid
    table = original.state_dict()["image.attnpool.positional_embedding"]
    expected = table if grid == (2, 2) else resize_positions(table, old_grid=(2, 2), new_grid=grid)
    assert torch.equal(image.state_dict()["image.attnpool.positional_embedding"], expected)
    assert all(value.isfinite().all() for value in answers(image).values())


def test_a_fine_tuned_table_of_a_usual_size_is_recognised(tmp_path: Path) -> None:
    original = small_clip(replace(VIT, image_size=(384, 128)))
    torch.save(to_openai(original.state_dict()), tmp_path / "irra.pth")
    loaded = load(str(tmp_path / "irra.pth"))
    assert loaded.clip.config == original.config
    assert_same(loaded.clip, original)
    wider = load(str(tmp_path / "irra.pth"), image_size=(256, 192))
    table = resize_positions(original.state_dict()["image.positional_embedding"], old_grid=(24, 8), new_grid=(16, 12))
    assert torch.equal(wider.clip.state_dict()["image.positional_embedding"], table)
    assert "taken for pictures of 384×128" in wider.info.notes[-1]


# --- what the weights do not tell ---


def open_clip_folder(folder: Path, clip: Clip, **changes: object) -> Path:
    image = clip.config.image
    assert isinstance(image, ViTConfig)
    stated = {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": {"image_size": 64, "layers": 2, "width": 128, "patch_size": 16, "head_width": 32},
            "text_cfg": {"context_length": 12, "vocab_size": 50, "width": 64, "heads": 2, "layers": 1},
            **changes,
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25], "interpolation": "bilinear"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(stated))
    path = folder / "open_clip_model.safetensors"
    safetensors.torch.save_file(to_openai(clip.state_dict()), path)
    return path


@pytest.mark.parametrize(("quick", "activation"), [(True, "quick_gelu"), (False, "gelu")])
def test_open_clip_settings_beside_the_file(quick: bool, activation: str, tmp_path: Path) -> None:
    original = small_clip(replace(VIT, heads=4, activation=activation), replace(TEXT, heads=2, activation=activation))
    loaded = load(str(open_clip_folder(tmp_path, original, **({"quick_gelu": True} if quick else {}))))
    assert loaded.clip.config == original.config
    assert_same(loaded.clip, original)
    assert (loaded.info.mean, loaded.info.std) == ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    assert loaded.info.interpolation == "bilinear"
    assert loaded.info.notes == ()


def test_settings_that_state_another_size_than_the_table_are_refused(tmp_path: Path) -> None:
    vision = {"image_size": [64, 80], "layers": 2, "width": 128, "patch_size": 16}
    path = open_clip_folder(tmp_path, small_clip(VIT), vision_cfg=vision)
    message = (
        r"its 16 position embeddings are not those of pictures of \(64, 80\) \(height, width\), which the settings"
    )
    with pytest.raises(CheckpointError, match=message):
        load(str(path))


def test_a_stated_oblong_size_is_the_grid(tmp_path: Path) -> None:
    vision = {"image_size": [128, 32], "layers": 2, "width": 128, "patch_size": 16, "head_width": 32}
    original = small_clip(
        replace(VIT, heads=4, image_size=(128, 32), activation="gelu"), replace(TEXT, heads=2, activation="gelu")
    )
    loaded = load(str(open_clip_folder(tmp_path, original, vision_cfg=vision)))
    assert_same(loaded.clip, original)


def test_options_overrule_what_is_stated_and_what_is_assumed(tmp_path: Path) -> None:
    original = small_clip(replace(VIT, heads=8, activation="gelu"), replace(TEXT, activation="gelu"))
    torch.save(to_openai(original.state_dict()), tmp_path / "clip.pt")
    assumed = load(str(tmp_path / "clip.pt"))
    assert assumed.clip.config == ClipConfig(VIT, TEXT)
    assert assumed.info.notes == (
        "The file does not state its activation: QuickGELU is assumed, which OpenAI's weights have.",
    )
    told = load(str(tmp_path / "clip.pt"), activation="gelu", heads=8)
    assert told.clip.config == original.config
    assert told.info.notes == ()
    assert_same(told.clip, original)
    stated = load(str(open_clip_folder(tmp_path, original, quick_gelu=True)), activation="gelu", heads=8)
    assert stated.clip.config.image == original.config.image


def test_an_alias_knows_better_than_the_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = small_clip(replace(VIT, heads=4), replace(TEXT, heads=2))
    path = open_clip_folder(tmp_path, original, quick_gelu=False)
    found = sources.Found(path, path.with_name("open_clip_config.json"), "MIT", "quick_gelu")
    monkeypatch.setattr(sources, "find", {"openai:ViT-B-16": found}.__getitem__)
    loaded = load("openai:ViT-B-16")
    assert loaded.clip.config == original.config
    assert (loaded.info.source, loaded.info.licence) == ("openai:ViT-B-16", "MIT")
    assert load("openai:ViT-B-16", activation="gelu").clip.config.image == replace(VIT, heads=4, activation="gelu")


def test_the_text_tower_can_be_left_out(tmp_path: Path) -> None:
    original = small_clip(VIT)
    torch.save(custom_text(to_openai(original.state_dict())), tmp_path / "clip.pt")
    clip = load(str(tmp_path / "clip.pt"), with_text=False).clip
    assert clip.text is None
    assert clip.logit_scale is None
    assert torch.equal(answers(clip)["projected"], answers(original)["projected"])


def test_an_image_tower_alone_loads(tmp_path: Path) -> None:
    original = small_clip(VIT, None)
    torch.save(to_openai(original.state_dict()) | {"logit_scale": torch.tensor(4.6)}, tmp_path / "clip.pt")
    assert_same(load(str(tmp_path / "clip.pt")).clip, original)


# --- random weights ---


def test_random_weights_come_from_the_seed_alone() -> None:
    state = torch.get_rng_state()
    first, again, other = (load("random:64x2/8", image_size=(64, 32), seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    image, text = first.clip.config.image, first.clip.config.text
    assert image == ViTConfig((64, 32), 8, 8, 64, 2, 1, 64, "quick_gelu")
    assert text == TextConfig(64, 2, 1, 64, "quick_gelu")
    for name, tensor in first.clip.state_dict().items():
        assert tensor.isfinite().all()
        assert torch.equal(tensor, again.clip.state_dict()[name])
    assert not torch.equal(first.clip.state_dict()["image.proj"], other.clip.state_dict()["image.proj"])
    assert (first.info.format, first.info.licence, first.info.sha256) == ("random", "none", "")
    assert first.info.notes == ("Random weights, drawn from seed 1: train them before use.",)


def test_random_options() -> None:
    loaded = load("random:96x1/32", heads=2)
    assert loaded.clip.config.text == TextConfig(96, 1, 2, 96, "quick_gelu")
    loaded = load("random:96x1/32", heads=2, text_heads=3)
    assert loaded.clip.config.image.heads == 2
    assert loaded.clip.config.text == TextConfig(96, 1, 3, 96, "quick_gelu")
    loaded = load("random:128x1", with_text=False, stride=12, activation="gelu", heads=4)
    assert loaded.clip.text is None
    assert loaded.clip.config.image == ViTConfig((224, 224), 16, 12, 128, 1, 4, 128, "gelu")


@pytest.mark.parametrize(
    "source", ["random:", "random:64", "random:64x", "random:0x2", "random:64x2/", "random:64x2/0", "random:axb"]
)
def test_random_of_another_form_is_refused(source: str) -> None:
    message = f"{source}: not of the form random:WIDTHxDEPTH[/PATCH], such as random:192x6/16."
    with pytest.raises(ConfigError, match=f"^{re.escape(message)}$"):
        load(source)


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("random:100x1", {}, "width of 100 is not a multiple of 64, so its number of heads must be given"),
        ("random:64x1", {"stride": 0}, "random:64x1: .*stride of 0.* Choose another size or stride"),
        ("random:64x1", {"stride": 17}, "random:64x1: .*stride of 17.* Choose another size or stride"),
        ("random:64x1", {"image_size": (8, 8)}, "random:64x1: .*smaller than a patch.* Choose another size or stride"),
        ("random:64x1", {"heads": 3}, "random:64x1: 3 heads do not divide"),
        ("random:64x1", {"heads": 0}, "random:64x1: 0 heads do not divide"),
        ("random:64x1", {"text_heads": 3}, "random:64x1: 3 heads do not divide the text tower's width of 64"),
    ],
)
def test_random_sizes_that_cannot_be_are_refused(source: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(source, **options)  # type: ignore[arg-type]


# --- misfits ---


@pytest.mark.parametrize(
    ("tower", "options", "message"),
    [
        ("vit", {"stride": 0}, "stride of 0.* Choose another size or stride"),
        ("vit", {"stride": 17}, "stride of 17.* Choose another size or stride"),
        ("vit", {"image_size": (8, 8)}, "smaller than a patch.* Choose another size or stride"),
        ("vit", {"heads": 3}, "3 heads do not divide the image tower's width of 128. Give another number"),
        ("vit", {"heads": 0}, "0 heads do not divide the image tower's width of 128. Give another number"),
        ("vit", {"text_heads": 3}, "3 heads do not divide the text tower's width of 64. Give another number"),
        ("resnet", {"stride": 12}, "a ResNet's stride is 16 or 32, not 12. Choose another size or stride"),
        ("resnet", {"image_size": (8, 8)}, "too small for this ResNet. Choose another size or stride"),
    ],
)
def test_sizes_that_cannot_be_are_refused(tower: str, options: dict[str, object], message: str, tmp_path: Path) -> None:
    torch.save(to_openai(small_clip(TOWERS[tower]).state_dict()), tmp_path / "clip.pt")
    with pytest.raises(ConfigError, match=message):
        load(str(tmp_path / "clip.pt"), **options)  # type: ignore[arg-type]


def test_a_width_without_a_number_of_heads_is_refused(tmp_path: Path) -> None:
    torch.save(to_openai(small_clip(replace(VIT, width=96)).state_dict()), tmp_path / "clip.pt")
    message = "the image tower's width of 96 is not a multiple of 64, so its number of heads must be given (heads)."
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(str(tmp_path / "clip.pt"))
    assert load(str(tmp_path / "clip.pt"), heads=2).clip.config.image == replace(VIT, width=96)


def test_the_text_tower_has_a_number_of_heads_of_its_own(tmp_path: Path) -> None:
    original = small_clip(VIT, replace(TEXT, width=96, heads=3))
    torch.save(to_openai(original.state_dict()), tmp_path / "clip.pt")
    message = "the text tower's width of 96 is not a multiple of 64, so its number of heads must be given (text_heads)."
    with pytest.raises(ConfigError, match=re.escape(message)):
        load(str(tmp_path / "clip.pt"))
    assert_same(load(str(tmp_path / "clip.pt"), text_heads=3).clip, original)
    stated = load(str(open_clip_folder(tmp_path, original, quick_gelu=True)), text_heads=3, heads=2)
    assert_same(stated.clip, original)


@pytest.mark.parametrize("source", ["random:64x1", "clip.pt"])
def test_an_unknown_activation_is_a_wrong_call(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(to_openai(small_clip(VIT).state_dict()), tmp_path / "clip.pt")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="activation 'relu': there are quick_gelu, gelu"):
        load(source, activation="relu")  # type: ignore[arg-type]


def test_misfits_are_one_error_that_lists_them(tmp_path: Path) -> None:
    state = to_openai(small_clip(VIT).state_dict())
    del state["visual.ln_post.bias"], state["ln_final.weight"]
    state["visual.ln_pre.weight"] = torch.zeros(5)
    state["surplus"] = torch.zeros(1)
    path = tmp_path / "clip.pt"
    torch.save(state, path)
    message = (
        f"{path}: does not fit a CLIP ViT (patch 16, width 128, 2 blocks) with a text tower (width 64, 1 blocks). Of "
        "its names, 2 missing (visual.ln_post.bias, ln_final.weight); 1 not expected (surplus); 1 of another form "
        "(visual.ln_pre.weight [5] instead of [128]). It is another kind of model, or was changed: choose another "
        "checkpoint."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load(str(path))


def test_many_misfits_are_counted(tmp_path: Path) -> None:
    state = to_openai(small_clip(RESNET, None).state_dict())
    kept = {name: tensor for name, tensor in state.items() if not name.startswith("visual.layer3.0.")}
    torch.save(kept | {f"decoder.{k}": torch.zeros(1) for k in range(12)}, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError) as caught:
        load(str(tmp_path / "clip.pt"))
    assert "does not fit a CLIP ResNet (blocks 1-2-1-1, width 8) without a text tower" in str(caught.value)
    assert "24 missing (visual.layer3.0.conv1.weight, " in str(caught.value)
    assert "and 14 more)" in str(caught.value)
    assert "12 not expected (decoder.0, " in str(caught.value)
    assert "decoder.9 and 2 more)" in str(caught.value)


def test_quantised_weights_are_refused(tmp_path: Path) -> None:
    state = to_openai(small_clip(VIT).state_dict())
    state["visual.proj"] = torch.zeros(128, 32, dtype=torch.int8)
    torch.save(state, tmp_path / "clip.pt")
    message = r"1 of another form \(visual.proj \[128, 32\] of whole numbers instead of \[128, 32\]\)"
    with pytest.raises(CheckpointError, match=message):
        load(str(tmp_path / "clip.pt"))


def test_towers_whose_outputs_differ_are_refused(tmp_path: Path) -> None:
    state = to_openai(small_clip(VIT).state_dict())
    state["text_projection"] = torch.zeros(64, 16)
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(
        CheckpointError, match=r"1 of another form \(text_projection \[64, 16\] instead of \[64, 32\]\)"
    ):
        load(str(tmp_path / "clip.pt"))


@pytest.mark.parametrize("name", ["visual.proj", "visual.positional_embedding", "token_embedding.weight"])
def test_a_tensor_that_tells_the_sizes_must_be_there(name: str, tmp_path: Path) -> None:
    for change in (None, torch.zeros(3), torch.zeros(0, 4), torch.zeros(4, 0)):
        state = to_openai(small_clip(VIT).state_dict())
        state.pop(name)
        torch.save(state if change is None else state | {name: change}, tmp_path / "clip.pt")
        with pytest.raises(CheckpointError, match=f"{name} missing or of another shape: it is no whole CLIP"):
            load(str(tmp_path / "clip.pt"))


def test_an_incomplete_attention_of_transformers_is_a_misfit(tmp_path: Path) -> None:
    state = transformers_names(to_openai(small_clip(VIT).state_dict()))
    del state["vision_model.encoder.layers.1.self_attn.k_proj.bias"]
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=r"1 missing \(visual.transformer.resblocks.1.attn.in_proj_bias\)"):
        load(str(tmp_path / "clip.pt"))


@pytest.mark.parametrize("shape", [(), (5,), (128, 128)])
def test_a_misshapen_attention_of_transformers_is_a_misfit(shape: tuple[int, ...], tmp_path: Path) -> None:
    state = transformers_names(to_openai(small_clip(VIT).state_dict()))
    state["vision_model.encoder.layers.1.self_attn.k_proj.bias"] = torch.zeros(shape)
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=r"1 missing \(visual.transformer.resblocks.1.attn.in_proj_bias\)"):
        load(str(tmp_path / "clip.pt"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("visual_projection.weight", "visual.proj missing or of another shape"),
        ("text_projection.weight", r"text_projection \[32, 64, 1\] instead of \[64, 32\]"),
    ],
)
def test_a_misshapen_projection_of_transformers_is_a_misfit(name: str, message: str, tmp_path: Path) -> None:
    state = transformers_names(to_openai(small_clip(VIT).state_dict()))
    torch.save(state | {name: state[name][..., None]}, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match=message):
        load(str(tmp_path / "clip.pt"))


@pytest.mark.parametrize("shape", [(128, 3, 0, 0), (0, 3, 16, 16)])
def test_an_empty_patch_or_width_is_no_clip(shape: tuple[int, ...], tmp_path: Path) -> None:
    state = to_openai(small_clip(VIT).state_dict()) | {"visual.conv1.weight": torch.zeros(shape)}
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(
        CheckpointError, match=r"visual\.conv1\.weight missing or of another shape: it is no whole CLIP"
    ):
        load(str(tmp_path / "clip.pt"))


def test_a_position_table_for_the_class_token_alone_is_refused(tmp_path: Path) -> None:
    state = to_openai(small_clip(VIT).state_dict()) | {"visual.positional_embedding": torch.zeros(1, 128)}
    torch.save(state, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match="its 0 position embeddings fit no usual picture size"):
        load(str(tmp_path / "clip.pt"))


VALUELESS: dict[str, Callable[[Tensor], Tensor]] = {
    "sparse": Tensor.to_sparse,
    "compressed": Tensor.to_sparse_csr,
    "meta": lambda tensor: tensor.to("meta"),
    "quantised": lambda tensor: torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8),
    "nested": lambda tensor: torch.nested.nested_tensor([tensor, tensor]),
}


@pytest.mark.parametrize("kind", VALUELESS)
@pytest.mark.parametrize("name", ["visual.proj", "visual.positional_embedding", "text_projection"])
@pytest.mark.filterwarnings("ignore:.*(Sparse CSR|quantize_per_tensor|nested tensors|TypedStorage)")
def test_tensors_without_a_number_at_every_place_are_refused(kind: str, name: str, tmp_path: Path) -> None:
    path, state = tmp_path / "clip.pt", to_openai(small_clip(VIT).state_dict())
    torch.save(state | {name: VALUELESS[kind](state[name])}, path)
    message = (
        f"{path}: 1 of its tensors, {name} the first, are sparse, quantised, nested or without values. Save them as "
        "dense floating-point tensors."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load(str(path), image_size=(128, 32))


def test_a_mapping_that_holds_itself_is_read_once(tmp_path: Path) -> None:
    empty: dict[str, object] = {}
    empty["model"] = empty
    torch.save({"model": empty}, tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match="not a CLIP ViT or ResNet: it holds no tensors"):
        load(str(tmp_path / "clip.pt"))


@pytest.mark.parametrize(
    "names",
    [["blocks.0.attn.qkv.weight", "cls_token"], ["visual.trunk.blocks.0.attn.qkv.weight", "text.logit_scale"], []],
)
def test_other_models_are_named_as_such(names: list[str], tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save({name: torch.zeros(2) for name in names}, path)
    with pytest.raises(
        CheckpointError, match=r"not a CLIP ViT or ResNet: it holds .*, not visual.conv1.weight. Towers of timm"
    ):
        load(str(path))


# --- files that cannot be read ---


def test_a_pickle_of_objects_is_refused_and_not_run(tmp_path: Path) -> None:
    class Harmful:
        def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
            return open, (str(tmp_path / "ran"), "w")

    torch.save({"state_dict": {}, "args": Harmful()}, tmp_path / "clip.pth")
    with pytest.raises(
        CheckpointError, match=r"clip.pth: holds Python objects \(\w*io\.open\).* If you trust its maker, load it"
    ):
        load(str(tmp_path / "clip.pth"))
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(CheckpointError):
        load(str(tmp_path / "plain.pkl"))
    assert not (tmp_path / "ran").exists()


class Evil(nn.Module):
    """A module that writes a file while its archive is loaded."""

    def __init__(self, target: str) -> None:
        super().__init__()
        self.target = target
        self.training = False

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.target, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        self.target = state[0]
        self.training = state[1]
        torch.save(torch.zeros(1), self.target)


@pytest.mark.parametrize("name", ["clip.pt", "clip.safetensors", "clip.bin", "pytorch_model.bin"])
def test_a_program_of_another_maker_is_refused_and_not_run(name: str, tmp_path: Path) -> None:
    path, target = tmp_path / name, tmp_path / "ran"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Evil(str(target))).save(str(path))
        torch.jit.load(str(path))
    assert target.exists(), "the archive is not evil"
    target.unlink()
    message = (
        f"{path}: a TorchScript program, and not one of OpenAI's: loading it could do anything. If it should be "
        "OpenAI's, fetch it again; else, only if you trust its origin, save its weights alone: "
        "torch.save(torch.jit.load(FILE).state_dict(), …)."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load(str(path))
    assert not target.exists()


def test_the_advice_for_a_program_of_another_maker_works(tmp_path: Path) -> None:
    original = small_clip(VIT)
    write_torchscript(to_openai(original.state_dict()), tmp_path / "clip.pt")
    with pytest.raises(CheckpointError, match="save its weights alone"):
        load(str(tmp_path / "clip.pt"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.save(torch.jit.load(str(tmp_path / "clip.pt")).state_dict(), tmp_path / "weights.pt")
    assert_same(load(str(tmp_path / "weights.pt")).clip, original)


def test_openai_published_nine_archives() -> None:
    assert len(formats.OPENAI_ARCHIVES) == 9
    assert all(re.fullmatch("[0-9a-f]{64}", sha256) for sha256 in formats.OPENAI_ARCHIVES)


@pytest.mark.parametrize("maker", ["torchscript", "state dict", "state dict, old file form", "safetensors"])
@pytest.mark.parametrize("kept", [0.0, 0.5, 0.97])
def test_a_file_that_is_cut_short_is_refused(maker: str, kept: float, tmp_path: Path) -> None:
    name, _, write = WRITERS[maker]
    path = tmp_path / name
    write(to_openai(small_clip(VIT).state_dict()), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    with pytest.raises(
        CheckpointError, match=r"cannot be read as weights \(.+\)\. It may be cut short: fetch it again"
    ) as caught:
        load(str(path))
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("maker", ["torchscript", "state dict"])
def test_an_archive_that_is_damaged_inside_is_refused(
    maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, _, write = WRITERS[maker]
    path = tmp_path / name
    write(to_openai(small_clip(VIT).state_dict()), path)
    whole = path.read_bytes()
    entry = whole.index(b"data.pkl")
    path.write_bytes(whole[:entry] + b"\xff" * 400 + whole[entry + 400 :])
    published(path, monkeypatch)
    with pytest.raises(CheckpointError, match=r"cannot be read as weights \(.+\)\. It may be cut short"):
        load(str(path))


@pytest.mark.parametrize("name", ["notes.pt", "notes.safetensors"])
def test_a_text_file_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("These are not weights.\n")
    with pytest.raises(CheckpointError, match=f"{name}: cannot be read as weights"):
        load(str(tmp_path / name))
