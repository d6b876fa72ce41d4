"""Published results on the known benchmarks, to hold one's own beside; facts from the papers and their code's pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

CLIP_REID = "CLIP-ReID, arXiv 2211.13977"
PCL_CLIP = "PCL-CLIP, arXiv 2310.17218"
IRRA = "IRRA, arXiv 2303.12501"
RDE = "RDE, CVPR 2024"


@dataclass(frozen=True, slots=True)
class Published:
    """One published result, without re-ranking. scores: shares from 0 to 1. method, source: in words."""

    benchmark: str
    method: str
    source: str
    scores: Mapping[str, float]


def _rows(
    method: str, source: str, names: tuple[str, ...], of: Mapping[str, tuple[float, ...]]
) -> tuple[Published, ...]:
    """of: benchmark → percentages, in the order of the names."""
    return tuple(
        Published(benchmark, method, source, {n: p / 100 for n, p in zip(names, percent, strict=True)})
        for benchmark, percent in of.items()
    )


_MAP_R1 = ("mAP", "R1")
_TEXT = ("R1", "R5", "R10", "mAP", "mINP")

# Only figures that a second public text repeats, that their released weights give, or that their code's page states.
PUBLISHED: Final = (
    *_rows(
        "ViT-B/16",
        CLIP_REID,
        _MAP_R1,
        {
            "market1501": (89.6, 95.5),
            "msmt17": (73.4, 88.7),
            "dukemtmc": (82.5, 90.0),
            "occluded-duke": (59.5, 67.1),
            "veri776": (83.3, 97.4),
        },
    ),
    *_rows(
        "ViT-B/16 with camera vectors and overlapping patches",
        CLIP_REID,
        _MAP_R1,
        {
            "market1501": (90.5, 95.4),
            "msmt17": (75.8, 89.7),
            "dukemtmc": (83.1, 90.8),
            "occluded-duke": (60.3, 67.2),
            "veri776": (84.5, 97.3),
        },
    ),
    *_rows(
        "ResNet-50",
        CLIP_REID,
        _MAP_R1,
        {"market1501": (89.8, 95.7), "dukemtmc": (80.7, 90.0), "occluded-duke": (53.5, 61.0)},
    ),
    *_rows("ViT-B/16", CLIP_REID, ("R1", "R5"), {"vehicleid-800": (85.3, 97.6)}),
    *_rows(
        "ViT-B/16, centroids and identity loss",
        PCL_CLIP,
        _MAP_R1,
        {"market1501": (91.4, 95.9), "msmt17": (76.1, 89.8), "veri776": (82.5, 97.1)},
    ),
    *_rows(
        "ViT-B/16, unsupervised, cluster contrast",
        PCL_CLIP,
        _MAP_R1,
        {"market1501": (86.9, 94.2), "msmt17": (56.4, 77.9)},
    ),
    *_rows(
        "CLIP ViT-B/16 fine-tuned by InfoNCE",
        IRRA,
        _TEXT,
        {
            "cuhk-pedes": (68.19, 86.47, 91.47, 61.12, 44.86),
            "icfg-pedes": (56.74, 75.72, 82.26, 31.84, 5.03),
            "rstpreid": (54.05, 80.70, 88.00, 43.41, 22.31),
        },
    ),
    *_rows(
        "ViT-B/16",
        IRRA,
        _TEXT,
        {
            "cuhk-pedes": (73.38, 89.93, 93.71, 66.13, 50.24),
            "icfg-pedes": (63.46, 80.25, 85.82, 38.06, 7.93),
            "rstpreid": (60.20, 81.30, 88.20, 47.17, 25.28),
        },
    ),
    *_rows(
        "ViT-B/16",
        RDE,
        _TEXT,
        {
            "cuhk-pedes": (75.94, 90.14, 94.12, 67.56, 51.44),
            "icfg-pedes": (67.68, 82.47, 87.36, 40.06, 7.87),
            "rstpreid": (65.35, 83.95, 89.90, 50.88, 28.08),
        },
    ),
)


def published_for(benchmark: str | None) -> tuple[Published, ...]:
    """The results on this benchmark, by its name in `data.benchmarks`; none where it is not among these."""
    return tuple(one for one in PUBLISHED if one.benchmark == benchmark)
