"""Settings of CLIP-ReID's code that its baseline and its second stage share, by field. arXiv 2211.13977."""

from __future__ import annotations

VIT: dict[str, object] = {
    "stride": None,  # the weights' own, 16
    "normalisation": "half",
    "smoothing": 0.1,
    "epochs": 60,
    "rate": 5e-6,
    "weight_decay": 1e-4,
    "warmup_factor": 0.1,
    "milestones": (30, 50),
}
RESNET: dict[str, object] = {
    "stride": 16,  # layer4 keeps its resolution
    "normalisation": "imagenet",
    "smoothing": 0.1,
    "epochs": 120,
    "rate": 3.5e-4,
    "weight_decay": 5e-4,
    "warmup_factor": 0.01,
    "milestones": (40, 70),
}
PERSON: dict[str, object] = {"size": (256, 128)}
VEHICLE: dict[str, object] = {"size": (256, 256)}
