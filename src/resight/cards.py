"""What encoder folders say of themselves: card, form, training and figures; their weights are not read."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any

from resight.calibration import FILE as CALIBRATION
from resight.clip.image import ViTConfig
from resight.clip.sources import OWN, find
from resight.data.records import printable
from resight.embedder import Card, card_of
from resight.encoder import FORMAT, Encoder, dimension_of, image_tower_of
from resight.errors import CheckpointError, ConfigError, DataError
from resight.reported import Result, read_results
from resight.runs import read_config

# Licences that are known to allow commercial use, each on terms of its own, by their SPDX names in small letters.
# "own": pictures of whoever trained, which they may use so; "none": random numbers. Others are not known to allow it.
COMMERCIAL = {
    *("mit", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "unlicense", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0"),
    *("cc-by-3.0", "cc-by-sa-3.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "odc-by", "pddl", "own", "none"),
}


@dataclass(frozen=True, slots=True)
class Training:
    """What an encoder was trained on. data: its name as in reports, "" where the run does not say."""

    data: str
    n_pictures: int
    n_identities: int


@dataclass(frozen=True, slots=True)
class About:
    """One encoder. name: its folder, or resight-mini. size: height and width of its pictures. n_bytes: of the weights.

    sha256: of the weights, as encoder.json states it; "" of resight-mini and of an export. runtime, precision: what it
    was exported for, and in; "" where it was not. training: from the run folder around it, None where there is none, or
    of other data. results: of this encoder, by its fingerprint.
    """

    name: str
    card: Card
    fingerprint: str
    sha256: str
    tower: str
    size: tuple[int, int]
    dimension: int
    can_read: bool
    n_bytes: int
    calibrated: bool
    runtime: str = ""
    precision: str = ""
    training: Training | None = None
    results: tuple[Result, ...] = ()


@dataclass(frozen=True, slots=True)
class Shelf:
    """What was found below some folders. left_out: why a folder that seems to hold an encoder is not among them."""

    encoders: tuple[About, ...]
    left_out: tuple[CheckpointError, ...]


def read_about(folder: Path, results: Iterable[Result] = ()) -> About:
    """The encoder in a folder, or its export, with those of the results that are its own.

    Raises CheckpointError when the folder holds no whole encoder.
    """
    path = folder / "encoder.json"
    if not folder.is_dir():
        raise CheckpointError(f"{folder}: is no folder. Name an encoder folder.")
    if not path.exists() and (folder / "encoder" / "encoder.json").is_file():
        raise CheckpointError(f"{folder}: the folder of a run. Name {folder / 'encoder'}, what it trained.")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != FORMAT:
            raise CheckpointError(
                f"{path}: is of format {about['format']}, this version reads {FORMAT}. Upgrade resight."
            )
        exported = about.get("exported")
        files = [Path(name).name for name in exported["files"]] if exported else ["model.safetensors"]
        image, card, fingerprint = image_tower_of(about), card_of(about), printable(str(about["fingerprint"]))
        return About(
            name=str(folder),
            card=_printable(card),
            fingerprint=fingerprint,
            sha256="" if exported else printable(str(about["sha256"])),
            tower=printable(_tower(image)),
            size=(int(about["preprocess"]["height"]), int(about["preprocess"]["width"])),
            dimension=int(dimension_of(image, about["feature"])),
            can_read=about["text_tower"] is not None,
            n_bytes=sum((folder / file).stat().st_size for file in files),
            calibrated=(folder / CALIBRATION).is_file(),
            runtime=printable(str(exported["runtime"])) if exported else "",
            precision=printable(str(exported["precision"])) if exported else "",
            training=_training(folder.absolute().parent, card),
            results=tuple(result for result in results if result.encoder == fingerprint),
        )
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise CheckpointError(f"{folder}: holds no encoder, for want of {missing}. Name an encoder folder.") from error
    except (OSError, KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        found = " ".join(str(error).split())
        raise CheckpointError(
            f"{path}: is not a whole encoder description ({found}). Copy the folder again."
        ) from error


def find_encoders(folders: Iterable[Path]) -> Shelf:
    """Our own small CLIPs, and every encoder below the folders, by name, with the results that lie there too.

    Hidden folders are passed over, and links not followed. Raises DataError for a folder that is not there.
    """
    homes: dict[Path, Path] = {}  # by where they really lie: two of the folders may hold each other
    reports: dict[Path, Path] = {}
    for top in folders:
        if not top.is_dir():
            raise DataError(f"{top}: is no folder. Name one to look for encoders in.")
        for place, below, files in os.walk(top):
            below[:] = sorted(name for name in below if not name.startswith("."))
            for name, found in (("encoder.json", homes), ("report.json", reports)):
                if name in files:
                    found.setdefault(Path(place).resolve(), Path(place))
    results: list[Result] = []
    for report in reports.values():
        with contextlib.suppress(DataError):  # other programs write files of this name too
            results += read_results(report)
    encoders, left_out = [_built_in(name) for name in OWN], []
    for home in homes.values():
        try:
            encoders.append(read_about(home, results))
        except CheckpointError as error:
            left_out.append(error)
    return Shelf(tuple(encoders), tuple(left_out))


def terms(card: Card) -> tuple[str, ...]:
    """The licence of the pictures of each training; "unknown" where nothing is stored."""
    return card.data_licences or (("unknown",) if card.data else ())


def objections(card: Card) -> list[str]:
    """What is not known to allow commercial use: of the weights, of the pictures; empty when all is known to."""
    of_weights = [] if allows_commerce(card.licence) else [f"weights: {card.licence}"]
    return of_weights + [f"pictures: {licence}" for licence in terms(card) if not allows_commerce(licence)]


def allows_commerce(licence: str) -> bool:
    return plain(licence) in COMMERCIAL


def plain(licence: str) -> str:
    """A licence's name as COMMERCIAL writes it: "Apache 2.0" becomes apache-2.0."""
    return "-".join(licence.lower().split())


def source_of(card: Card) -> str:
    """Where the weights came from; of a file on this machine its name alone."""
    return PurePath(card.source).name if PurePath(card.source).is_absolute() else card.source


def _built_in(name: str) -> About:
    encoder = Encoder.load(name, device="cpu")
    return About(
        name=name,
        card=encoder.card,
        fingerprint=encoder.fingerprint(),
        sha256="",
        tower=_tower(encoder.clip.config.image),
        size=(encoder.preprocess.height, encoder.preprocess.width),
        dimension=encoder.dimension,
        can_read=encoder.can_read,
        n_bytes=find(name).weights.stat().st_size,
        calibrated=False,
    )


def _tower(image: Any) -> str:
    if isinstance(image, ViTConfig):
        return f"ViT, {image.depth} blocks × {image.width}, patches of {image.patch}"
    return f"ResNet, blocks {'-'.join(map(str, image.blocks))}, width {image.width}"


def _printable(card: Card) -> Card:
    """A card may come from a stranger, and be shown on a terminal."""
    source, licence, data = (printable(str(text)) for text in (card.source, card.licence, card.data))
    notes, licences = (tuple(printable(str(text)) for text in texts) for texts in (card.notes, card.data_licences))
    return Card(source, licence, data, notes, licences)


def _training(run: Path, card: Card) -> Training | None:
    """What the run folder says, if it is the one that the encoder came from."""
    try:
        config = read_config(run)
        data = config["data"]
        if data["fingerprint"] != card.data:
            return None
        name = data.get("name") or PurePath(str(data.get("data") or "")).name
        return Training(printable(str(name)), int(data["pictures"]), int(data["identities"]))
    except (ConfigError, KeyError, TypeError, ValueError):
        return None
