"""Our numbers against those of the public reference implementations, and against the values the methods' notes give.

The folder comes from RESIGHT_GOLDEN (default: the copy beside this file). Every file in it is known by name: the part
that uses it, or the part that will. A file that no test reads fails as soon as the module of its part exists.
"""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.cluster import DBSCAN  # type: ignore[import-untyped]

from resight import metrics
from resight.clip.image import ModifiedResNet, ResNetConfig, VisionTransformer, ViTConfig, resize_positions
from resight.clip.model import Clip, ClipConfig, from_openai, to_openai
from resight.clip.prompts import IdentityPrompts
from resight.clip.text import TextConfig
from resight.losses.contrastive import (
    cross_modal_projection_matching,
    image_text_contrastive,
    prompt_contrastive,
    similarity_distribution_matching,
    triplet_alignment,
)
from resight.losses.identity import identity_loss
from resight.losses.memory import memory_contrast, update_memory
from resight.losses.proxies import intra_camera_contrast, offline_association, online_association, split_by_camera
from resight.losses.triplet import batch_hard_triplet
from resight.neighbours import jaccard_graph, similarity_blocks
from resight.optim import warmup_cosine, warmup_steps
from resight.rerank import reranked_blocks

GOLDEN = Path(os.environ.get("RESIGHT_GOLDEN", Path(__file__).parent / "golden"))

# file: the module that must match it; a test in this file reads it as soon as that module exists
FILES = {
    "camera_proxies.npz": "resight.losses.proxies",
    "clip_reid_stage2_loss.npz": "resight.recipes.clip_reid",
    "clip_resnet.json": "resight.clip.image",
    "clip_vit.json": "resight.clip.image",
    "cluster_memory_every_instance.npz": "resight.losses.memory",
    "cluster_memory_hardest_instance.npz": "resight.losses.memory",
    "image_encoder_resnet_stride16.npz": "resight.clip.image",
    "image_encoder_vit_stride12.npz": "resight.clip.image",
    "image_encoder_vit_stride16.npz": "resight.clip.image",
    "image_retrieval.npz": "resight.metrics",
    "jaccard_dbscan.npz": "resight.neighbours",
    "label_smoothing.npz": "resight.losses.identity",
    "prompt_contrastive.npz": "resight.losses.contrastive",
    "schedules.npz": "resight.optim",
    "text_cmpm.npz": "resight.losses.contrastive",
    "text_encoder.npz": "resight.clip.text",
    "text_itc.npz": "resight.losses.contrastive",
    "text_retrieval.npz": "resight.metrics",
    "text_sdm.npz": "resight.losses.contrastive",
    "tokenizer.json": "resight.clip.tokenizer",
    "triplet_margin.npz": "resight.losses.triplet",
    "triplet_soft.npz": "resight.losses.triplet",
}


def golden(name: str) -> dict[str, NDArray[Any]]:
    """Arrays of one recorded file; `__meta__` holds its settings as a JSON string."""
    with np.load(GOLDEN / f"{name}.npz") as stored:
        return {key: stored[key] for key in stored.files}


def pseudo_random(shape: tuple[int, ...], *, rank: int, scale: float, base: float) -> NDArray[np.float32]:
    """The fill rule of the recorded weights and pictures, as the folder's README states it."""
    k = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    h = 43758.5453 * np.sin(12.9898 * k + 78.233 * rank)
    return (base + scale * (2 * (h - np.floor(h)) - 1)).astype(np.float32).reshape(shape)


def sine(shape: tuple[int, ...], rank: int, scale: float = 1.0, base: float = 0.0) -> NDArray[np.float32]:
    """The fill rule D of the image methods' appendix."""
    k = np.arange(1, int(np.prod(shape)) + 1, dtype=np.float64)
    return (base + scale * np.sin(12.9898 * k + 78.233 * rank)).astype(np.float32).reshape(shape)


def golden_weights(name: str) -> dict[str, torch.Tensor]:
    """A state dict in OpenAI's names, filled by the rule; `name` is clip_vit or clip_resnet."""
    listing = json.loads((GOLDEN / f"{name}.json").read_text())
    weights: dict[str, torch.Tensor] = {}
    for rank, (key, shape) in enumerate(sorted(listing["shapes"].items()), start=1 + listing["offset"]):
        if key == "logit_scale":
            weights[key] = torch.tensor(np.log(1 / 0.07), dtype=torch.float32)
            continue
        if key.endswith("num_batches_tracked"):
            weights[key] = torch.zeros(shape, dtype=torch.int64)
            continue
        if len(shape) > 1:
            scale, base = 1.7 / float(np.sqrt(np.prod(shape[1:]))), 0.0
        elif key.endswith(("weight", "running_var")):
            scale, base = 0.2, 1.0
        else:
            scale, base = 0.1, 0.0
        weights[key] = torch.from_numpy(pseudo_random(tuple(shape), rank=rank, scale=scale, base=base))
    return weights


def test_every_recorded_file_is_known_and_used() -> None:
    found = {path.name for path in GOLDEN.iterdir()} - {"README.md"}
    assert found == set(FILES), "a recorded file appeared or vanished: name its part in FILES and test it"
    source = Path(__file__).read_text().split("# --- the tests")[-1]
    for name, module in FILES.items():
        stem = name.split(".")[0]
        exists = all(
            importlib.util.find_spec(".".join(module.split(".")[:depth])) is not None
            for depth in range(2, module.count(".") + 2)
        )
        if exists:
            assert f'"{stem}' in source, f"{module} exists, yet no test here reads {name}"


def test_fill_rule_check_values() -> None:
    expected = [-0.791340, -0.464200, -0.687419, 0.020130]
    np.testing.assert_allclose(pseudo_random((4,), rank=15, scale=1.0, base=0.0), expected, atol=1e-6)


# --- the tests -------------------------------------------------------------------------------------------------------

# --- towers (clip/image.py, clip/text.py) ---

VIT = ViTConfig((128, 64), patch=16, stride=16, width=128, depth=12, heads=2, output=64, activation="quick_gelu")
TEXT = TextConfig(width=128, depth=2, heads=2, output=64, activation="quick_gelu", vocabulary=100)


def clip_with(
    weights: dict[str, torch.Tensor], config: ClipConfig, *, positions: str, old_grid: tuple[int, int]
) -> Clip:
    """A model in eval mode with weights in OpenAI's names, whose position embedding `positions` is made to fit."""
    clip = Clip(config)
    resized = resize_positions(weights[positions], old_grid=old_grid, new_grid=config.image.grid)
    clip.load_state_dict(from_openai({**weights, positions: resized}))
    return clip.eval().requires_grad_(False)


@pytest.mark.parametrize(("name", "stride"), [("image_encoder_vit_stride16", 16), ("image_encoder_vit_stride12", 12)])
def test_vision_transformer(name: str, stride: int) -> None:
    recorded = golden(name)
    config = ClipConfig(replace(VIT, stride=stride), TEXT)
    clip = clip_with(golden_weights("clip_vit"), config, positions="visual.positional_embedding", old_grid=(4, 4))
    images = torch.from_numpy(pseudo_random((3, 3, 128, 64), rank=5000, scale=1.0, base=0.0))
    side = torch.from_numpy(recorded["cls_side_embedding"])
    assert isinstance(clip.image, VisionTransformer)
    found = {
        **dict(zip(("cls_layer11", "cls_layer12_ln_post", "cls_projected"), clip.image(images), strict=True)),
        "patch_projected": clip.image.tokens(images)[:, 1:],
        "resized_positional_embedding": clip.image.positional_embedding,
    }
    for key, tap in zip(("layer11", "layer12_ln_post", "projected"), clip.image(images, side=side), strict=True):
        found[f"side_cls_{key}"] = tap
    assert set(found) == set(recorded) - {"__meta__", "cls_side_embedding"}
    for key, array in found.items():
        np.testing.assert_allclose(array, recorded[key], atol=1e-4, rtol=0, err_msg=key)


def test_resnet() -> None:
    recorded = golden("image_encoder_resnet_stride16")
    config = ClipConfig(ResNetConfig((128, 64), (1, 1, 2, 1), width=16, heads=8, output=64), TEXT)
    positions = "visual.attnpool.positional_embedding"
    clip = clip_with(golden_weights("clip_resnet"), config, positions=positions, old_grid=(7, 7))
    taps = clip.image(torch.from_numpy(pseudo_random((3, 3, 128, 64), rank=5000, scale=1.0, base=0.0)))
    for key, array in zip(("layer3_avg", "layer4_avg", "attnpool_global"), taps, strict=True):
        np.testing.assert_allclose(array, recorded[key], atol=1e-4, rtol=0, err_msg=key)
    assert isinstance(clip.image, ModifiedResNet)
    resized = clip.image.attnpool.positional_embedding
    np.testing.assert_allclose(resized, recorded["resized_positional_embedding"], atol=1e-4, rtol=0)


def test_text_transformer_and_identity_prompts() -> None:
    recorded = golden("text_encoder")
    weights = golden_weights("clip_vit")
    clip = clip_with(weights, ClipConfig(VIT, TEXT), positions="visual.positional_embedding", old_grid=(4, 4))
    assert clip.text is not None
    assert clip.logit_scale is not None
    features = clip.text(torch.from_numpy(recorded["tokens"]))
    np.testing.assert_allclose(features, recorded["text_features"], atol=1e-4, rtol=0)

    images = torch.from_numpy(pseudo_random((3, 3, 128, 64), rank=5000, scale=1.0, base=0.0))
    pictures, texts = F.normalize(clip.image(images).projected), F.normalize(features)
    logits = clip.logit_scale.exp() * pictures @ texts.T
    np.testing.assert_allclose(logits, recorded["logits_per_image"], atol=1e-4, rtol=0)

    prompts = IdentityPrompts(
        len(recorded["context"]), recorded["prompt_tokens"][0].tolist(), placeholder=50, width=128, seed=0
    )
    prompts.load_state_dict({"vectors": torch.from_numpy(recorded["context"])})
    found = prompts(torch.arange(len(recorded["context"])), clip.text).detach()
    np.testing.assert_allclose(found, recorded["prompt_features"], atol=1e-4, rtol=0)


# The appendix of the image methods' notes: full-size towers filled with D; first 4 of row 0, mean, Frobenius norm.
APPENDIX_VIT = ViTConfig(
    (224, 224), patch=16, stride=16, width=768, depth=12, heads=12, output=512, activation="quick_gelu"
)
APPENDIX_RESNET = ResNetConfig((224, 224), (3, 4, 6, 3), width=64, heads=32, output=1024, last_stride=2)
APPENDIX_TEXT = TextConfig(width=512, depth=12, heads=8, output=512, activation="quick_gelu")
# "A photo of a X X X X person.", or vehicle
PERSON, VEHICLE = ([49406, 320, 1125, 539, 320, 343, 343, 343, 343, noun, 269, 49407] for noun in (2533, 5299))


def appendix_clip(config: ClipConfig, size: tuple[int, int], **changes: int) -> Clip:
    """`config` with weights D, then with its image tower changed to another size."""
    with torch.device("meta"):
        shapes = to_openai(Clip(config).state_dict())
    weights: dict[str, torch.Tensor] = {}
    for rank, (name, tensor) in enumerate(sorted(shapes.items()), start=1):
        if not tensor.is_floating_point() or name == "logit_scale":
            weights[name] = torch.zeros(tensor.shape, dtype=tensor.dtype)
            continue
        one = tensor.dim() == 1 and name.endswith(("weight", "running_var"))
        weights[name] = torch.from_numpy(sine(tuple(tensor.shape), rank, 0.02, 1.0 if one else 0.0))
    (positions,) = (name for name in weights if name.startswith("visual.") and name.endswith("positional_embedding"))
    changed = replace(config, image=replace(config.image, image_size=size, **changes))
    return clip_with(weights, changed, positions=positions, old_grid=config.image.grid)


def appendix_texts(clip: Clip, template: list[int]) -> torch.Tensor:
    prompts = IdentityPrompts(7, template, placeholder=343, width=512, seed=0)
    prompts.load_state_dict({"vectors": torch.from_numpy(sine((7, 4, 512), 1000, 0.02))})
    assert clip.text is not None
    features: torch.Tensor = prompts(torch.tensor([0, 1, 6]), clip.text).detach()
    return features


def check(found: torch.Tensor, shape: str, first: str, mean: float, norm: float) -> None:
    """Hold the printed digits but for float32's noise: our own run in float64 differs as much from what is printed."""
    assert "×".join(map(str, found.shape)) == shape
    np.testing.assert_allclose(found[0, :4], [float(number) for number in first.split()], atol=2e-5, rtol=0)
    assert found.double().mean().item() == pytest.approx(mean, abs=1.5e-6)
    assert found.double().norm().item() == pytest.approx(norm, rel=1e-6, abs=5e-6)


def appendix_images(height: int, width: int) -> torch.Tensor:
    count = np.arange(1, 2 * 3 * height * width + 1, dtype=np.float64)
    return torch.from_numpy(np.sin(0.01 * count).astype(np.float32).reshape(2, 3, height, width))


@pytest.mark.slow
def test_appendix_vision_transformer_stride_16_and_its_texts() -> None:
    clip = appendix_clip(ClipConfig(APPENDIX_VIT, APPENDIX_TEXT), (256, 128))
    a, b, c = clip.image(appendix_images(256, 128))
    both = torch.cat([b, c], 1)
    check(clip.image.positional_embedding, "129×768", "-0.01167 -0.00396 0.00444 0.01206", 0.0, 2.339374)
    check(a, "2×768", "-0.69446 -3.10409 -2.42446 0.00351", -0.013732, 113.239514)
    check(b, "2×768", "-0.23982 -1.06395 -0.86325 -0.04793", -0.004482, 39.371219)
    check(c, "2×512", "0.00022 -0.00684 -0.01270 -0.01632", -0.000156, 0.388655)
    check(both, "2×1280", "-0.23982 -1.06395 -0.86325 -0.04793", -0.002752, 39.373137)
    texts = appendix_texts(clip, PERSON)
    check(texts, "3×512", "-0.30577 0.96285 2.06139 2.79583", 0.026913, 84.008711)
    # PCL-CLIP's test feature: after batch norms that have learned nothing yet
    after = both / np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(after[0, :4], [-0.239817, -1.063941, -0.863246, -0.047924], atol=2e-6, rtol=0)
    assert after.double().norm().item() == pytest.approx(39.372940, rel=1e-6)


@pytest.mark.slow
def test_appendix_vision_transformer_stride_12_with_camera_vectors() -> None:
    clip = appendix_clip(ClipConfig(APPENDIX_VIT, APPENDIX_TEXT), (256, 128), stride=12)
    cameras = torch.from_numpy(sine((3, 768), 2000, 0.02))
    a, b, c = clip.image(appendix_images(256, 128), side=cameras[[0, 2]])
    check(clip.image.positional_embedding, "211×768", "-0.01167 -0.00396 0.00444 0.01206", 0.0, 3.001010)
    check(a, "2×768", "-0.01386 -2.58719 -2.31410 -0.63977", -0.009539, 112.715329)
    check(b, "2×768", "-0.01016 -0.91820 -0.84966 -0.24750", -0.003457, 39.344636)
    check(c, "2×512", "0.00270 -0.00451 -0.01091 -0.01539", -0.000149, 0.375597)
    check(torch.cat([b, c], 1), "2×1280", "-0.01016 -0.91820 -0.84966 -0.24750", -0.002134, 39.346429)


@pytest.mark.slow
def test_appendix_vision_transformer_of_vehicles_and_its_texts() -> None:
    clip = appendix_clip(ClipConfig(APPENDIX_VIT, APPENDIX_TEXT), (256, 256))
    a, b, c = clip.image(appendix_images(256, 256))
    check(clip.image.positional_embedding, "257×768", "-0.01167 -0.00396 0.00444 0.01206", 0.0, 3.336742)
    check(a, "2×768", "-0.77284 -3.07158 -2.34280 -0.02177", -0.013810, 112.517645)
    check(b, "2×768", "-0.26362 -1.06276 -0.84555 -0.05373", -0.004504, 39.372118)
    check(c, "2×512", "-0.00005 -0.00712 -0.01293 -0.01646", -0.000157, 0.389212)
    texts = appendix_texts(clip, VEHICLE)
    check(texts, "3×512", "-0.61743 0.65633 1.81416 2.65156", 0.025854, 83.894659)


@pytest.mark.slow
def test_appendix_resnet_and_its_texts() -> None:
    config = ClipConfig(APPENDIX_RESNET, replace(APPENDIX_TEXT, output=1024))
    clip = appendix_clip(config, (256, 128), last_stride=1)
    a, b, c = clip.image(appendix_images(256, 128))
    resized = clip.image.attnpool.positional_embedding
    check(resized, "129×2048", "-0.00018 0.00805 0.01486 0.01905", 0.0, 7.000304)
    check(a, "2×1024", "0.03004 0.01861 0.00000 0.15344", 0.059516, 4.161590)
    check(b, "2×2048", "0.03732 0.01843 0.07371 0.07504", 0.108567, 10.037868)
    check(c, "2×1024", "-0.08901 -0.12949 -0.17189 -0.21536", -0.000099, 13.538982)
    check(torch.cat([b, c], 1), "2×3072", "0.03732 0.01843 0.07371 0.07504", 0.072345, 16.854163)
    texts = appendix_texts(clip, PERSON)
    check(texts, "3×1024", "-0.24146 -0.08642 0.08388 0.23937", -0.000036, 15.888186)


# --- tokenizer (clip/tokenizer.py) ---


def test_tokenizer_rows() -> None:
    from resight.clip.tokenizer import END, START, encode, tokenize

    recorded = json.loads((GOLDEN / "tokenizer.json").read_text())
    rows = tokenize(recorded["texts"], context_length=recorded["context_length"]).tolist()
    pairs = zip(recorded["tokens"], rows, strict=True)
    injected = [text for text, (row, ours) in zip(recorded["texts"], pairs, strict=True) if row != ours]
    assert injected == ["<|startoftext|> literal <|endoftext|>"]  # the reference lets a user's text hold special tokens
    assert not {START, END} & set(encode(injected[0]))


# --- neighbours, metrics, re-ranking ---


def unit(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows divided by their length."""
    unit_length: NDArray[np.float32] = features / np.linalg.norm(features, axis=1, keepdims=True)
    return unit_length


def image_retrieval_labels(stored: dict[str, NDArray[Any]]) -> tuple[metrics.Labels, metrics.Labels]:
    return (
        metrics.Labels(stored["query_ids"], stored["query_cameras"]),
        metrics.Labels(stored["gallery_ids"], stored["gallery_cameras"]),
    )


def test_image_retrieval() -> None:
    stored = golden("image_retrieval")
    blocks = similarity_blocks(unit(stored["query_features"]), unit(stored["gallery_features"]), block_rows=17)
    ranking = metrics.rank(blocks, *image_retrieval_labels(stored), cross_camera=True)
    np.testing.assert_allclose(metrics.cmc(ranking, 50), stored["cmc"], atol=1e-6)
    assert metrics.summary(ranking)["mAP"] == pytest.approx(float(stored["mAP"]), abs=1e-6)


def dense_reranking(
    features: NDArray[Any], n_query: int, k1: int, k2: int, dtype: type[np.floating[Any]]
) -> NDArray[np.float64]:
    """k-reciprocal re-ranking with full matrices, picture by picture; weights and Jaccard distances in dtype."""
    distance = np.maximum(2 - 2 * features @ features.T, 0)
    distance /= distance.max(axis=1, keepdims=True)
    order = np.argsort(distance, axis=1, kind="stable")

    def mutual(i: int, k: int) -> NDArray[np.int64]:
        near = order[i, : k + 1]
        return near[(order[near, : k + 1] == i).any(axis=1)]

    weights = np.zeros(distance.shape, dtype)
    for i in range(len(features)):
        own = mutual(i, k1)
        others = [mutual(j, round(k1 / 2)) for j in own]
        kept = [other for other in others if len(np.intersect1d(other, own)) > 2 / 3 * len(other)]
        members = np.unique(np.concatenate([own, *kept]))
        near = np.exp(-distance[i, members])
        weights[i, members] = near / near.sum()
    weights = np.stack([weights[row[:k2]].mean(axis=0) for row in order]).astype(dtype)
    found = []
    for i in range(n_query):
        shared = np.zeros(len(features), dtype)
        for j in np.flatnonzero(weights[i]):
            shared = shared + np.minimum(weights[i, j], weights[:, j])
        found.append(0.7 * (1 - shared / (2 - shared)).astype(dtype) + 0.3 * distance[i])
    return np.array(found)[:, n_query:]


@pytest.mark.parametrize(("k1", "k2"), [(20, 6), (50, 15)])
def test_image_retrieval_reranked(k1: int, k2: int) -> None:
    """The reference's float16 moves up to 0.1 % of its distances by more than the tolerance of 2e-3, at most 4.6e-3,
    from what its own steps give in float64. So the steps in float16 are held to the record, ours to those in float64.
    """
    stored = golden("image_retrieval")
    query, gallery = unit(stored["query_features"]), unit(stored["gallery_features"])
    recorded = stored[f"rerank_{k1}_{k2}_distance"]
    features = np.concatenate([query, gallery])
    half = dense_reranking(features, len(query), k1, k2, np.float16)
    np.testing.assert_allclose(half, recorded, atol=2e-3, rtol=0)
    distances = np.concatenate(list(reranked_blocks(query, gallery, k1=k1, k2=k2)))
    apart = np.abs(distances - dense_reranking(features.astype(np.float64), len(query), k1, k2, np.float64))
    assert np.median(apart) < 1e-6
    assert apart.max() < 2e-3  # rounding in float32 puts another picture at the end of a list now and then
    assert np.abs(distances - recorded).max() < 5e-3
    ranking = metrics.rank([-distances], *image_retrieval_labels(stored), cross_camera=True)
    assert metrics.summary(ranking)["mAP"] == pytest.approx(float(stored[f"rerank_{k1}_{k2}_mAP"]), abs=2e-3)
    one_query = 1 / ranking.valid.sum() + 1e-6
    np.testing.assert_allclose(metrics.cmc(ranking, 50), stored[f"rerank_{k1}_{k2}_cmc"], atol=one_query)


def partition(labels: NDArray[Any]) -> tuple[set[tuple[int, ...]], list[int]]:
    """Clusters as sets of rows, whatever their numbers, and the outliers."""
    rows = {label: np.flatnonzero(labels == label).tolist() for label in np.unique(labels).tolist()}
    outliers = rows.pop(-1, [])
    return {tuple(members) for members in rows.values()}, outliers


def dbscan(features: NDArray[np.float32], *, k1: int, k2: int, eps: float) -> NDArray[Any]:
    graph = jaccard_graph(features, k1=k1, k2=k2, eps=eps)
    labels: NDArray[Any] = DBSCAN(eps=eps, min_samples=4, metric="precomputed").fit_predict(graph)
    return labels


def full_jaccard(features: NDArray[np.float32], *, k1: int, k2: int) -> NDArray[np.float32]:
    """All distances, 1 where the graph stores none."""
    graph = jaccard_graph(features, k1=k1, k2=k2, eps=1 - 1e-7)
    dense = np.ones(graph.shape, np.float32)
    dense[np.repeat(np.arange(len(dense)), np.diff(graph.indptr)), graph.indices] = graph.data
    return dense


def test_jaccard_dbscan() -> None:
    stored = golden("jaccard_dbscan")
    meta = json.loads(str(stored["__meta__"]))
    features = unit(stored["features"])
    np.testing.assert_allclose(full_jaccard(features, k1=meta["k1"], k2=meta["k2"]), stored["jaccard"], atol=1e-5)
    for eps in (0.4, 0.5, 0.6, 0.7):
        labels = dbscan(features, k1=meta["k1"], k2=meta["k2"], eps=eps)
        assert partition(labels) == partition(stored[f"dbscan_eps{eps}"])


def test_reranking_of_the_appendix() -> None:
    features = unit(sine((30, 8), 14))
    for k1, k2, mean, first in (
        (6, 3, 0.72704, [0.9707, 0.4360, 0.9989, 0.0002]),
        (20, 6, 0.44687, [0.6802, 0.1274, 0.7350, 0.0002]),
    ):
        (distances,) = reranked_blocks(features[:10], features[10:], k1=k1, k2=k2)
        np.testing.assert_allclose(distances[0, :4], first, atol=2e-3)
        assert distances.mean() == pytest.approx(mean, abs=2e-3)


def runs(text: str) -> list[int]:
    """Labels written as `label` or `label×times`."""
    pairs = (item.split("×") for item in text.split())
    return [int(pair[0]) for pair in pairs for _ in range(int(pair[1]) if len(pair) == 2 else 1)]


FIRST_CLUSTERS = (
    "0 1 1 1 0 0 0 0 2 2 2 2 3 3 3 3 4 4 3 3 4 4 4 4 5 5 5 5 6×12 7 7 7 7 1×8 "
    "0 1 1 1 0 0 0 0 2 2 2 2 3 3 3 3 4 3 3 3 4 4 4 4 5 5 5 5"
)
SECOND_CLUSTERS = "0×4 -1×4 1×4 -1×4 2 2 -1 2 -1×4 3×4 -1×4 4×4 5×4 6×4 7×4 -1×8 8×4 -1 -1 7 -1 2 -1×7 9×4 10×4"


def test_jaccard_of_the_appendix() -> None:
    smooth = unit(np.repeat(sine((20, 16), 15), 4, axis=0) + np.float32(0.35) * sine((80, 16), 16))
    noise = {rank: pseudo_random(shape, rank=rank, scale=1, base=0) for rank, shape in ((15, (20, 16)), (16, (80, 16)))}
    rough = unit(np.repeat(noise[15], 4, axis=0) + np.float32(0.8) * noise[16])
    for features, mean, first, clusters in (
        (smooth, 0.897173, [0, 0.73804, 0.85603, 0.89433, 0, 0], FIRST_CLUSTERS),
        (rough, 0.903525, [0, 0, 0, 0, 0.94749, 0.93343], SECOND_CLUSTERS),
    ):
        distances = full_jaccard(features, k1=10, k2=4)
        assert distances.mean() == pytest.approx(mean, abs=1e-5)
        np.testing.assert_allclose(distances[0, :6], first, atol=1e-5)
        assert partition(dbscan(features, k1=10, k2=4, eps=0.5)) == partition(np.array(runs(clusters)))


def test_text_retrieval() -> None:
    stored = golden("text_retrieval")
    query, gallery = metrics.Labels(stored["query_ids"]), metrics.Labels(stored["gallery_ids"])
    ranking = metrics.rank([stored["similarity"]], query, gallery, cross_camera=False)
    np.testing.assert_allclose(100 * metrics.cmc(ranking, 10), stored["cmc"], atol=1e-3)
    assert 100 * metrics.summary(ranking)["mAP"] == pytest.approx(float(stored["mAP"]), abs=1e-3)
    assert 100 * metrics.summary(ranking)["mINP"] == pytest.approx(float(stored["mINP"]), abs=1e-3)


def test_text_toy_with_ties() -> None:
    similarities = np.array([[0.9, 0.8, 0.7, 0.6, 0.5], [0.1, 0.9, 0.3, 0.8, 0.2], [0.5] * 5], dtype=np.float32)
    query, gallery = metrics.Labels(np.array([1, 2, 3])), metrics.Labels(np.array([2, 1, 1, 3, 2]))
    ranking = metrics.rank([similarities], query, gallery, cross_camera=False)
    np.testing.assert_allclose(100 * metrics.cmc(ranking, 5), [0, 33.33, 33.33, 100, 100], atol=5e-3)
    assert 100 * metrics.summary(ranking)["mAP"] == pytest.approx(38.6111, abs=1e-4)
    assert 100 * metrics.summary(ranking)["mINP"] == pytest.approx(43.8889, abs=1e-4)


def test_evaluation_of_the_appendix() -> None:
    i, j = np.arange(6), np.arange(120)
    query = metrics.Labels(np.where(i == 5, 99, 7 * i % 5), i % 3)
    gallery = metrics.Labels((3 * j + 1) % 5, 5 * j % 3)
    distances = 2 + sine((6, 120), 13) + 0.15 * (query.identities[:, None] != gallery.identities)
    ranking = metrics.rank([-distances], query, gallery, cross_camera=True)
    assert ranking.valid.sum() == 5
    found = metrics.summary(ranking)
    assert found["mAP"] == pytest.approx(0.2665886, abs=1e-7)
    assert [found[name] for name in ("R1", "R5", "R10")] == pytest.approx([0.4, 0.4, 0.4])


# --- losses ---

L8 = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3])


def tensor(array: NDArray[Any]) -> torch.Tensor:
    """A recorded array as a leaf whose gradient is asked for."""
    return torch.from_numpy(array).requires_grad_()


@pytest.mark.parametrize(("name", "margin"), [("triplet_soft", None), ("triplet_margin", 0.3)])
def test_triplet(name: str, margin: float | None) -> None:
    recorded = golden(name)
    features, identities = tensor(recorded["features"]), torch.from_numpy(recorded["labels"])
    loss = batch_hard_triplet(features, identities, margin=margin)
    (gradient,) = torch.autograd.grad(loss, features)
    np.testing.assert_allclose(loss.item(), recorded["loss"], atol=1e-5)
    np.testing.assert_allclose(gradient, recorded["grad"], atol=1e-5)
    gaps = torch.from_numpy(recorded["hardest_positive"] - recorded["hardest_negative"])
    terms = F.softplus(gaps) if margin is None else F.relu(margin + gaps)
    np.testing.assert_allclose(loss.item(), terms.mean(), atol=1e-5)


def test_label_smoothing() -> None:
    recorded = golden("label_smoothing")
    logits = tensor(recorded["logits"])
    loss = identity_loss(logits, torch.from_numpy(recorded["labels"]), smoothing=0.1)
    np.testing.assert_allclose(loss.item(), recorded["loss"], atol=1e-5)
    np.testing.assert_allclose(torch.autograd.grad(loss, logits)[0], recorded["grad"], atol=1e-5)


def test_losses_of_the_appendix() -> None:
    smoothed = identity_loss(torch.from_numpy(sine((8, 4), 1, 3)), L8, smoothing=0.1)
    assert smoothed.item() == pytest.approx(1.933124, abs=1e-6)
    features = torch.from_numpy(sine((8, 16), 4))
    assert batch_hard_triplet(features, L8, margin=0.3).item() == pytest.approx(0.225450, abs=1e-6)
    assert batch_hard_triplet(features, L8, margin=None).item() == pytest.approx(0.580388, abs=1e-6)
    images, texts = torch.from_numpy(sine((8, 16), 2)), torch.from_numpy(sine((4, 16), 3))
    found = [part.item() for part in prompt_contrastive(images, texts, L8)]
    assert found == pytest.approx([5.283044, 8.907907], abs=1e-5)


def test_prompt_contrastive() -> None:
    """The record has another text for each picture of an identity, which prompts never have.

    So each text is an identity of its own here, and what it pulls more than the mean text of its identity is added;
    with one text an identity, as in the appendix, that is nothing.
    """
    recorded = golden("prompt_contrastive")
    images, texts = tensor(recorded["image_features"]), tensor(recorded["text_features"])
    identities = torch.from_numpy(recorded["labels"])
    same = (identities[:, None] == identities).float()
    pull = (images * (texts - same @ texts / same.sum(dim=1, keepdim=True))).sum(dim=1).mean()
    image_to_text, text_to_image = (part + pull for part in prompt_contrastive(images, texts, torch.arange(len(texts))))
    image_gradient, text_gradient = torch.autograd.grad(image_to_text + text_to_image, (images, texts))
    np.testing.assert_allclose(image_to_text.item(), recorded["loss_i2t"], atol=1e-5)
    np.testing.assert_allclose(text_to_image.item(), recorded["loss_t2i"], atol=1e-5)
    np.testing.assert_allclose(image_gradient, recorded["grad_image"], atol=1e-5)
    np.testing.assert_allclose(text_gradient, recorded["grad_text"], atol=1e-5)


@pytest.mark.parametrize("name", ["text_sdm", "text_itc", "text_cmpm"])
def test_losses_of_pictures_and_captions(name: str) -> None:
    recorded = golden(name)
    images, texts = tensor(recorded["image_features"]), tensor(recorded["text_features"])
    identities = torch.from_numpy(recorded["labels"])
    if name == "text_sdm":
        loss = similarity_distribution_matching(images, texts, identities, logit_scale=50.0)
    elif (
        name == "text_itc"
    ):  # the record knows no identities: of two pairs of one identity each is the other's negative
        loss = image_text_contrastive(images, texts, logit_scale=50.0)
    else:
        loss = cross_modal_projection_matching(images, texts, identities)
    image_gradient, text_gradient = torch.autograd.grad(loss, (images, texts))
    np.testing.assert_allclose(loss.item(), recorded["loss"], atol=1e-5)
    np.testing.assert_allclose(image_gradient, recorded["grad_image"], atol=1e-5)
    np.testing.assert_allclose(text_gradient, recorded["grad_text"], atol=1e-5)


def test_losses_of_the_text_notes() -> None:
    i, j = torch.arange(6, dtype=torch.float64)[:, None], torch.arange(8, dtype=torch.float64)
    images = torch.sin(1.3 * i + 0.7 * j + 0.1 * i * j)
    texts = torch.cos(0.9 * i - 0.4 * j + 0.2 * i * j) + 0.5 * images
    identities, unique = torch.tensor([0, 0, 1, 2, 2, 2]), torch.arange(6)
    for found, expected in (
        (similarity_distribution_matching(images, texts, identities, logit_scale=50), 10.805769414),
        (similarity_distribution_matching(images, texts, unique, logit_scale=50), 11.932959193),
        (image_text_contrastive(images, texts, logit_scale=50), 4.762711688),
        (image_text_contrastive(images, texts, identities, logit_scale=1 / 0.07), 4.066641645),
        (cross_modal_projection_matching(images, texts, identities), 13.364990967),
        (triplet_alignment(images, texts, identities, margin=0.1, temperature=0.015), 1.359436319),
    ):
        assert found.item() == pytest.approx(expected, abs=1e-6)
    weight = torch.arange(24, dtype=torch.float64).sin().reshape(3, 8)
    both = [identity_loss(features @ weight.T, identities, smoothing=0.0) for features in (images, texts)]
    assert (sum(both) / 2).item() == pytest.approx(1.223282151, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "hardest"), [("cluster_memory_every_instance", False), ("cluster_memory_hardest_instance", True)]
)
def test_cluster_memory(name: str, hardest: bool) -> None:
    recorded = golden(name)
    features, labels = tensor(recorded["features"]), torch.from_numpy(recorded["labels"])
    memory = torch.from_numpy(recorded["memory_before"])
    loss = memory_contrast(features, labels, memory, temperature=0.05)
    update_memory(memory, features, labels, momentum=0.2, hardest=hardest)
    (gradient,) = torch.autograd.grad(loss, features)
    np.testing.assert_allclose(loss.item(), recorded["loss"], atol=1e-5)
    np.testing.assert_allclose(gradient, recorded["grad"], atol=1e-5)
    np.testing.assert_allclose(memory, recorded["memory_after"], atol=1e-5)


def test_cluster_memory_of_the_appendix() -> None:
    before, features = torch.from_numpy(unit(sine((6, 10), 11))), tensor(sine((8, 10), 12))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    loss = memory_contrast(features, labels, before, temperature=0.05)
    (gradient,) = torch.autograd.grad(loss, features)
    assert loss.item() == pytest.approx(19.119354, abs=2e-6)
    assert gradient.norm().item() == pytest.approx(2.767607, abs=1e-6)
    for hardest, first in ((True, [-1.723553, -0.002512, 1.475645]), (False, [-1.931581, -0.483830, 1.801813])):
        memory = before.clone()
        update_memory(memory, features, labels, momentum=0.2, hardest=hardest)
        np.testing.assert_allclose(memory.sum(dim=1), [*first, 1.474905, 0.302012, -1.920812], atol=1e-6)


def test_camera_proxies() -> None:
    """The record's gradient is that of normalised features; ours goes on through the norm, which is 1 here."""
    recorded = golden("camera_proxies")
    all_own, proxies = split_by_camera(
        torch.from_numpy(recorded["pseudo_labels"]), torch.from_numpy(recorded["cameras"])
    )
    np.testing.assert_array_equal(all_own, recorded["proxy_labels"])
    features, own = tensor(recorded["features"]), all_own[torch.from_numpy(recorded["batch_indices"])]
    memory = torch.from_numpy(recorded["proxy_memory_before"])
    state = (features, own, memory, proxies)
    losses = {
        "intra": intra_camera_contrast(*state, temperature=0.07),
        "offline": offline_association(*state, temperature=0.07, n_negatives=50),
        "online": online_association(*state, temperature=0.07, n_negatives=50, n_positives=3, balance=0.15),
    }
    losses["offline_online"] = losses["offline"] + losses["online"]
    update_memory(memory, features, own, momentum=0.2, hardest=False)
    np.testing.assert_allclose(memory, recorded["proxy_memory_after"], atol=1e-4)
    for name, loss in losses.items():
        (gradient,) = torch.autograd.grad(loss, features, retain_graph=True)
        before_norm = recorded[f"grad_{name}"]
        radial = (before_norm * recorded["features"]).sum(axis=1, keepdims=True) * recorded["features"]
        np.testing.assert_allclose(loss.item(), recorded[f"loss_{name}"], atol=1e-4, err_msg=name)
        np.testing.assert_allclose(gradient, before_norm - radial, atol=1e-4, err_msg=name)


def test_camera_proxies_of_the_appendix() -> None:
    pictures = torch.arange(24)
    all_own, proxies = split_by_camera(pictures // 6, pictures % 3)
    memory, features = torch.from_numpy(unit(sine((12, 12), 17))), torch.from_numpy(unit(sine((8, 12), 18)))
    own = all_own[[0, 1, 6, 7, 12, 13, 18, 20]]
    intra = intra_camera_contrast(features, own, memory, proxies, temperature=0.07).item()
    offline = offline_association(features, own, memory, proxies, temperature=0.07, n_negatives=5).item()
    online = online_association(features, own, memory, proxies, temperature=0.07, n_negatives=5, n_positives=3).item()
    assert offline == pytest.approx(37.97612, abs=1e-4)
    assert online == pytest.approx(42.63310, abs=1e-4)
    assert offline + online == pytest.approx(80.60922, abs=1e-4)
    assert intra == pytest.approx(38.694969, abs=1e-5)  # CAP before and from epoch 5 on
    assert intra + 0.5 * offline == pytest.approx(57.683025, abs=1e-4)
    update_memory(memory, features, own, momentum=0.2, hardest=False)
    assert memory.sum().item() == pytest.approx(2.099534, abs=1e-5)


def test_schedules() -> None:
    recorded = golden("schedules")
    steps = [
        warmup_steps(epoch, rate=5e-6, milestones=(30, 50), gamma=0.1, warmup=10, factor=0.1, shift=0)
        for epoch in range(1, 61)
    ]
    np.testing.assert_allclose(steps, recorded["multistep"], rtol=1e-12)
    cosine = [
        warmup_cosine(epoch, epochs=120, rate=3.5e-4, start=1e-5, floor=1e-6, warmup=5) for epoch in range(1, 121)
    ]
    np.testing.assert_allclose(cosine, recorded["cosine"], rtol=1e-12)


# --- CLIP-ReID's stage 2 (the parts that recipes/clip_reid.py adds up) ---


def stage2_terms(
    taps: tuple[torch.Tensor, ...],
    logits: tuple[torch.Tensor, ...],
    text_logits: torch.Tensor,
    identities: torch.Tensor,
    *,
    smoothing: float,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Identity loss of both classifiers, triplet loss of three features, and the texts' loss."""
    identity = torch.stack([identity_loss(each, identities, smoothing=smoothing) for each in logits]).sum()
    triplet = torch.stack([batch_hard_triplet(each, identities, margin=0.3) for each in taps]).sum()
    return identity, triplet, identity_loss(text_logits, identities, smoothing=smoothing)


def test_clip_reid_stage2() -> None:
    recorded = golden("clip_reid_stage2_loss")
    names = ("layer11", "layer12", "projected")
    taps = tuple(tensor(recorded[name]) for name in names)
    texts, identities = torch.from_numpy(recorded["text_features"]), torch.from_numpy(recorded["labels"])
    logits = tuple(
        F.batch_norm(tap, None, None, training=True) @ torch.from_numpy(recorded[f"classifier_{name}"]).T
        for tap, name in zip(taps[1:], names[1:], strict=True)
    )
    terms = stage2_terms(taps, logits, taps[2] @ texts.T, identities, smoothing=0.1)
    for term, name in zip(terms, ("id_loss", "triplet_loss", "image_to_text_loss"), strict=True):
        np.testing.assert_allclose(term.item(), recorded[name], atol=1e-5, err_msg=name)
    total = 0.25 * terms[0] + terms[1] + terms[2]
    np.testing.assert_allclose(total.item(), recorded["total"], atol=1e-5)
    for name, gradient in zip(names, torch.autograd.grad(total, taps), strict=True):
        np.testing.assert_allclose(gradient, recorded[f"grad_{name}"], atol=1e-5, err_msg=name)


def test_clip_reid_stage2_of_the_appendix() -> None:
    taps = tuple(torch.from_numpy(sine(shape, rank)) for shape, rank in (((8, 12), 7), ((8, 12), 8), ((8, 6), 9)))
    *logits, texts = (torch.from_numpy(sine((8, 4), rank, 2)) for rank in (5, 6, 10))
    identity, triplet, text = stage2_terms(taps, tuple(logits), texts, L8, smoothing=0.1)
    assert (0.25 * identity + triplet + text).item() == pytest.approx(9.339085, abs=1e-5)
    assert (identity + triplet + text).item() == pytest.approx(11.718442, abs=1e-5)
    assert (identity + triplet).item() == pytest.approx(10.011112, abs=1e-5)
    plain = stage2_terms(taps, tuple(logits), texts, L8, smoothing=0.0)
    assert torch.stack(plain).sum().item() == pytest.approx(11.735914, abs=1e-5)
