"""The public benchmarks: what they hold, how their folders look, and what reads them."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Final, Literal

from resight.data.benchmarks_image import (
    MARKET_LAYOUT,
    MSMT17_LAYOUT,
    VEHICLEID_LAYOUT,
    VERI_LAYOUT,
    read_market_style,
    read_msmt17,
    read_vehicleid,
    read_veri,
)
from resight.data.benchmarks_text import CUHK_FILES, ICFG_FILES, RSTP_FILES, SPLIT_FILES, read_captions
from resight.data.records import Reading
from resight.errors import ConfigError
from resight.types import Protocol, Role


@dataclass(frozen=True, slots=True)
class Counts:
    """Of one split: identities (all of a gallery's distractors are one), pictures, and captions where it has them."""

    identities: int
    pictures: int
    captions: int = 0


@dataclass(frozen=True, slots=True)
class Form:
    """One way in which a data set lies on a disk.

    marks: any of these files or folders in the root is its sign. names: how a training picture's name starts, where
    several data sets share the marks. shared: whether other data sets look just the same.
    """

    marks: tuple[str, ...]
    read: Callable[[Path], Reading]
    names: str = ""
    shared: bool = False


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A public data set with a fixed protocol.

    layout: what its root holds, a line each. described_at: the address of its page or paper. availability: how one
    comes by it. published: its counts by split. folder: pattern of its root's name. aliases: further names.
    renumbered: its test half numbers other persons with the numbers of the training half. same_people: other data sets
    that hold pictures of it, under other names and numbers.
    """

    name: str
    title: str
    kind: Literal["person", "vehicle", "text"]
    protocol: Protocol
    layout: tuple[str, ...]
    described_at: str
    availability: str
    published: Mapping[Role, Counts]
    forms: tuple[Form, ...]
    folder: str
    aliases: tuple[str, ...] = ()
    renumbered: bool = False
    same_people: tuple[str, ...] = ()


DUKE_LAYOUT: Final = (
    "bounding_box_train/0001_c2_f0046182.jpg  (identity, camera)",
    "query/0005_c2_f0046985.jpg",
    "bounding_box_test/0002_c1_f0044158.jpg  (the gallery)",
)
MARKET_MARKS: Final = ("bounding_box_train", "bounding_box_test")


def _market_style(names: str) -> Form:
    return Form(MARKET_MARKS, read_market_style, names, shared=True)


def _read_json(names: Sequence[str], root: Path) -> Reading:
    """Records of the first of the files that is there; of all that are there when each holds one split."""
    files = [root / name for name in names if (root / name).is_file()]
    return read_captions(root, files if files[0].name in SPLIT_FILES else files[:1])


def _json(names: Sequence[str]) -> Form:
    return Form(tuple(names), functools.partial(_read_json, tuple(names)))


JSON_BY_SPLIT: Final = replace(_json(tuple(SPLIT_FILES)), shared=True)
OWN_FORMS: Final = (_market_style(""), JSON_BY_SPLIT)


def _vehicleid(n_test: int, n_test_pictures: int) -> Benchmark:
    return Benchmark(
        name=f"vehicleid-{n_test}",
        title=f"VehicleID, {n_test:,} test vehicles",
        kind="vehicle",
        protocol="vehicleid",
        layout=VEHICLEID_LAYOUT,
        described_at="https://www.pkuml.org/resources/pku-vehicleid.html",
        availability="on request from its authors",
        published={"train": Counts(13_164, 113_346), "test": Counts(n_test, n_test_pictures)},
        forms=(Form((f"train_test_split/test_list_{n_test}.txt",), functools.partial(read_vehicleid, n_test=n_test)),),
        folder="vehicle.?id",
        aliases=("vehicleid",) if n_test == 800 else (),
    )


def _text_layout(names: Sequence[str], picture: str) -> tuple[str, ...]:
    return (f"imgs/{picture}", f"{' or '.join(names)}  (or {' '.join(SPLIT_FILES)})")


BENCHMARKS: Final = (
    Benchmark(
        name="market1501",
        title="Market-1501",
        kind="person",
        protocol="cross-camera",
        layout=MARKET_LAYOUT,
        described_at=(
            "https://openaccess.thecvf.com/content_iccv_2015/html/"
            "Zheng_Scalable_Person_Re-Identification_ICCV_2015_paper.html"
        ),
        availability="from the address on its authors' page",
        published={"train": Counts(751, 12_936), "query": Counts(750, 3_368), "gallery": Counts(751, 15_913)},
        forms=(_market_style("-?[0-9]+_c[0-9]+s[0-9]+_"),),
        folder="market",
    ),
    Benchmark(
        name="dukemtmc",
        title="DukeMTMC-reID",
        kind="person",
        protocol="cross-camera",
        layout=DUKE_LAYOUT,
        described_at="https://arxiv.org/abs/1701.07717",
        availability="withdrawn by its authors in 2019, over consent; do not build on it",
        published={"train": Counts(702, 16_522), "query": Counts(702, 2_228), "gallery": Counts(1_110, 17_661)},
        forms=(_market_style("[0-9]+_c[0-9]+_f[0-9]+"),),
        folder="^(?!.*occ).*duke",
        aliases=("dukemtmcreid", "duke"),
    ),
    Benchmark(
        name="occluded-duke",
        title="Occluded-Duke",
        kind="person",
        protocol="cross-camera",
        layout=DUKE_LAYOUT,
        described_at="https://github.com/lightas/Occluded-DukeMTMC-Dataset",
        availability="cut from DukeMTMC-reID, which its authors withdrew in 2019; do not build on it",
        published={"train": Counts(702, 15_618), "query": Counts(519, 2_210), "gallery": Counts(1_110, 17_661)},
        forms=(_market_style("[0-9]+_c[0-9]+_f[0-9]+"),),
        folder="occ.*duke|duke.*occ",
        aliases=("occduke", "occludeddukemtmc"),
    ),
    Benchmark(
        name="msmt17",
        title="MSMT17",
        kind="person",
        protocol="cross-camera",
        layout=MSMT17_LAYOUT,
        described_at="https://arxiv.org/abs/1711.08565",
        availability="on request from its authors; version 2 has blurred faces, results of the two do not compare",
        published={"train": Counts(1_041, 32_621), "query": Counts(3_060, 11_659), "gallery": Counts(3_060, 82_161)},
        forms=(
            Form(("list_train.txt", "list_query.txt", "list_gallery.txt"), read_msmt17),
            _market_style("[0-9]{4}_c[0-9]+_[0-9]+[.]"),
        ),
        folder="msmt",
        renumbered=True,
    ),
    Benchmark(
        name="veri776",
        title="VeRi-776",
        kind="vehicle",
        protocol="cross-camera",
        layout=VERI_LAYOUT,
        described_at="https://github.com/JDAI-CV/VeRidataset",
        availability="on request from its authors; texts give 37,746 to 37,781 training pictures",
        published={"train": Counts(576, 37_778), "query": Counts(200, 1_678), "gallery": Counts(200, 11_579)},
        forms=(Form(("image_train", "image_query", "image_test"), read_veri),),
        folder="veri(?!f)",
        aliases=("veri",),
    ),
    _vehicleid(800, 7_332),
    _vehicleid(1_600, 12_995),
    _vehicleid(2_400, 20_038),
    Benchmark(
        name="cuhk-pedes",
        title="CUHK-PEDES",
        kind="text",
        protocol="text",
        layout=_text_layout(CUHK_FILES, "CUHK01/0363004.png"),
        described_at="https://arxiv.org/abs/1702.05729",
        availability="on request from its authors; parts of its pictures come from Market-1501 and CUHK03",
        published={
            "train": Counts(11_003, 34_054, 68_126),
            "validation": Counts(1_000, 3_078, 6_158),
            "test": Counts(1_000, 3_074, 6_156),
        },
        forms=(_json(CUHK_FILES), JSON_BY_SPLIT),
        folder="cuhk",
        same_people=("Market-1501", "CUHK03"),
    ),
    Benchmark(
        name="icfg-pedes",
        title="ICFG-PEDES",
        kind="text",
        protocol="text",
        layout=_text_layout(ICFG_FILES, "test/0000/0000_000_06_0303noon_0550_2.jpg"),
        described_at="https://arxiv.org/abs/2107.12666",
        availability="on request from its authors; its pictures come from MSMT17",
        published={"train": Counts(3_102, 34_674, 34_674), "test": Counts(1_000, 19_848, 19_848)},
        forms=(_json(ICFG_FILES), JSON_BY_SPLIT),
        folder="icfg",
        renumbered=True,
        same_people=("MSMT17", "RSTPReid"),
    ),
    Benchmark(
        name="rstpreid",
        title="RSTPReid",
        kind="text",
        protocol="text",
        layout=_text_layout(RSTP_FILES, "0000_c14_0031.jpg"),
        described_at="https://github.com/NjtechCVLab/RSTPReid-Dataset",
        availability="on request from its authors; its pictures come from MSMT17",
        published={
            "train": Counts(3_701, 18_505, 37_010),
            "validation": Counts(200, 1_000, 2_000),
            "test": Counts(200, 1_000, 2_000),
        },
        forms=(_json(RSTP_FILES), JSON_BY_SPLIT),
        folder="rstp",
        same_people=("MSMT17", "ICFG-PEDES"),
    ),
)


def find(name: str) -> Benchmark:
    """The benchmark of this name; case, hyphens and underscores do not count. Raises ConfigError."""
    plain = {_plain(known): benchmark for benchmark in BENCHMARKS for known in (benchmark.name, *benchmark.aliases)}
    if _plain(name) not in plain:
        close = get_close_matches(_plain(name), plain, n=1)
        hint = f"; the closest is {plain[close[0]].name!r}" if close else ""
        known = ", ".join(benchmark.name for benchmark in BENCHMARKS)
        raise ConfigError(f"benchmark {name!r} is unknown{hint}. Known: {known}.")
    return plain[_plain(name)]


def _plain(name: str) -> str:
    return re.sub("[-_ ]", "", name).lower()
