"""Every field of every preset against the published settings: of CLIP-ReID its paper, its code and its yml files;
of PCL-CLIP its code, and without labels those of the codes that it names as its own."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from resight.commands.settings import override
from resight.recipes import clip_reid, finetune, pcl, pcl_unsupervised
from resight.runs import flat

PRESETS = ("person", "veri", "vehicleid", "person-resnet", "veri-resnet", "vehicleid-resnet")


def row(*values: Any) -> dict[str, Any]:
    return dict(zip(PRESETS, values, strict=True))


PERSON, VEHICLE = (256, 128), (256, 256)
SHARED = {  # stage 2, its baseline, and the pictures
    "size": row(PERSON, VEHICLE, VEHICLE, PERSON, VEHICLE, VEHICLE),
    "stride": row(None, None, None, 16, 16, 16),  # None: the weights' own, 16
    "normalisation": row("half", "half", "half", "imagenet", "imagenet", "imagenet"),
    "train_interpolation": row(*["bicubic"] * 6),
    "test_interpolation": row(*["bilinear"] * 6),
    "side_camera": row(*[False] * 6),
    "side_view": row(*[False] * 6),
    "side_coefficient": row(*[1.0] * 6),
    "flip": row(*[0.5] * 6),
    "pad": row(*[10] * 6),
    "erase": row(*[0.5] * 6),
    "erasing": row(*["pixel"] * 6),
    "colour": row(*[0.0] * 6),
    "epochs": row(60, 60, 60, 120, 120, 120),
    "rate": row(5e-6, 5e-6, 5e-5, 3.5e-4, 3.5e-4, 3.5e-4),
    "optimizer": row(*["adam"] * 6),
    "stepped": row(*["before"] * 6),
    "weight_decay": row(1e-4, 1e-4, 1e-4, 5e-4, 5e-4, 5e-4),
    "bias_rate_factor": row(*[2.0] * 6),
    "classifier_rate_factor": row(*[1.0] * 6),
    "warmup_epochs": row(*[10] * 6),
    "warmup_factor": row(0.1, 0.1, 0.1, 0.01, 0.01, 0.01),
    "milestones": row((30, 50), (30, 50), (30, 50), (40, 70), (40, 70), (40, 70)),
    "decay": row(*[0.1] * 6),
    "triplet_weight": row(*[1.0] * 6),
    "margin": row(*[0.3] * 6),
    "n_identities": row(*[16] * 6),
    "n_images": row(*[4] * 6),
    "clip_norm": row(*[0.0] * 6),
    "keep": row(*["last"] * 6),
    "seed": row(*[1234] * 6),
}
PUBLISHED = {
    finetune: SHARED
    | {
        "identity_weight": row(*[1.0] * 6),
        "smoothing": row(0.1, 0.1, 0.0, 0.1, 0.1, 0.0),
    },
    clip_reid: SHARED
    | {
        "identity_weight": row(0.25, 0.25, 0.25, 1.0, 1.0, 1.0),
        "smoothing": row(0.1, 0.1, 0.1, 0.1, 0.1, 0.0),
        "prompt_weight": row(*[1.0] * 6),
        "noun": row("person", "vehicle", "vehicle", "person", "vehicle", "vehicle"),
        "n_words": row(*[4] * 6),
        "prompt_epochs": row(120, 60, 60, 60, 60, 60),
        "prompt_batch": row(64, 64, 256, 64, 64, 256),
        "prompt_rate": row(*[3.5e-4] * 6),
        "prompt_start_rate": row(*[1e-5] * 6),
        "prompt_floor_rate": row(*[1e-6] * 6),
        "prompt_weight_decay": row(*[1e-4] * 6),
    },
}
PCL_SHARED = {  # with labels and without
    "size": PERSON,
    "stride": None,
    "normalisation": "half",
    "train_interpolation": "bicubic",
    "test_interpolation": "bicubic",
    "side_camera": False,
    "side_view": False,
    "side_coefficient": 1.0,
    "flip": 0.5,
    "pad": 10,
    "erase": 0.5,
    "erasing": "constant",
    "colour": 0.0,
    "optimizer": "sgd",
    "rate": 3.5e-4,
    "stepped": "after",
    "weight_decay": 5e-4,
    "bias_rate_factor": 1.0,
    "classifier_rate_factor": 1.0,
    "warmup_epochs": 10,
    "decay": 0.1,
    "n_batches": 200,
    "freeze_patches": True,
    "clip_norm": 0.0,
    "keep": "last",
    "seed": 1234,
}
PCL = PCL_SHARED | {
    "loss": "pcl+id",
    "identity_weight": 0.25,
    "smoothing": 0.1,
    "temperature": 0.05,
    "memory_momentum": 0.2,
    "memory_update": "hardest",
    "n_identities": 32,
    "n_images": 8,
    "epochs": 60,
    "warmup_factor": 0.1,
    "milestones": (30, 50),
}
UNSUPERVISED = PCL_SHARED | {
    "sampler": "auto",
    "association_epoch": 6,
    "association_weight": 0.5,
    "source": None,
    "k2": 6,
    "min_samples": 4,
    "warmup_factor": 0.01,
    "milestones": (20, 40),
}
PROXIES = UNSUPERVISED | {
    "temperature": 0.07,
    "memory_momentum": 0.2,
    "memory_update": "every",
    "batch_size": 32,
    "n_images": 4,
    "epochs": 50,
    "k1": 20,
    "eps": 0.5,
}
CONTRAST = UNSUPERVISED | {
    "loss": "cc",
    "normalisation": "imagenet",
    "temperature": 0.05,
    "memory_momentum": 0.1,
    "batch_size": 256,
    "n_images": 16,
    "epochs": 60,
    "k1": 30,
}
PUBLISHED_PCL: dict[Any, dict[str, dict[str, Any]]] = {
    pcl: {"market1501": PCL, "msmt17": PCL, "veri776": PCL | {"size": VEHICLE}},
    pcl_unsupervised: {
        "cap": PROXIES | {"loss": "cap"},
        "o2cap": PROXIES | {"loss": "o2cap"},
        "cc-market1501": CONTRAST | {"memory_update": "hardest", "eps": 0.4},
        "cc-msmt17": CONTRAST | {"memory_update": "every", "eps": 0.7},
    },
}
ALL = (*PUBLISHED, *PUBLISHED_PCL)
OURS = {  # of no influence on the published method, or not in it
    *("device", "precision", "micro_batch", "recompute", "compile", "workers", "checkpoint_minutes", "log_every"),
    *("tensorboard", "validate_every", "validation_share", "without_text", "stage1"),
}


def fields(settings: Any) -> dict[str, Any]:
    return flat(dataclasses.asdict(settings))


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("recipe", PUBLISHED, ids=lambda recipe: recipe.NAME)
def test_a_preset_has_the_published_value_of_every_field(recipe: Any, name: str) -> None:
    assert tuple(recipe.PRESETS) == PRESETS
    found = fields(override(recipe.Config(), recipe.PRESETS[name], name))
    expected = {field: values[name] for field, values in PUBLISHED[recipe].items()}
    assert {field: value for field, value in found.items() if field not in OURS} == expected


@pytest.mark.parametrize("recipe", PUBLISHED_PCL, ids=lambda recipe: recipe.NAME)
def test_a_preset_of_pcl_has_the_published_value_of_every_field(recipe: Any) -> None:
    """cap and o2cap normalise pixels by a half, as with labels; their own codes have other figures."""
    assert tuple(recipe.PRESETS) == tuple(PUBLISHED_PCL[recipe])
    for name, expected in PUBLISHED_PCL[recipe].items():
        found = fields(override(recipe.Config(), recipe.PRESETS[name], name))
        assert {field: value for field, value in found.items() if field not in OURS} == expected, name


@pytest.mark.parametrize(("recipe", "name"), [(pcl, "market1501"), (pcl_unsupervised, "o2cap")])
def test_a_preset_of_pcl_is_the_default(recipe: Any, name: str) -> None:
    assert fields(override(recipe.Config(), recipe.PRESETS[name], name)) == fields(recipe.Config())


@pytest.mark.parametrize("recipe", PUBLISHED, ids=lambda recipe: recipe.NAME)
def test_persons_with_a_vision_transformer_are_the_default(recipe: Any) -> None:
    assert fields(override(recipe.Config(), recipe.PRESETS["person"], "person")) == fields(recipe.Config())


@pytest.mark.parametrize("recipe", ALL, ids=lambda recipe: recipe.NAME)
def test_every_preset_states_the_same_fields_so_that_one_replaces_another(recipe: Any) -> None:
    stated = {frozenset(preset) for preset in recipe.PRESETS.values()}
    assert len(stated) == 1


def test_equal_names_would_be_mixed_up() -> None:
    """The command line, presets and files know a field by its last name alone."""

    def names(settings: Any) -> list[str]:
        nested = {f.name for f in dataclasses.fields(settings) if dataclasses.is_dataclass(getattr(settings, f.name))}
        own = [f.name for f in dataclasses.fields(settings) if f.name not in nested]
        return own + [name for part in nested for name in names(getattr(settings, part))]

    for recipe in ALL:
        found = names(recipe.Config())
        assert len(found) == len(set(found))
