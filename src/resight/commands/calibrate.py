"""`resight calibrate` and `resight compare`."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import tyro

from resight.commands.arguments import (
    DataArguments,
    EmbedArguments,
    EncoderArguments,
    print_json,
    progress_bar,
    say,
    say_slow,
)
from resight.errors import ConfigError

if TYPE_CHECKING:
    from rich.table import Table

    from resight.calibration import Calibration, Curve
    from resight.embedder import Embedder

A_GALLERY = 1000
"""Rows of others, for which false alarms are told where no gallery is named."""


@dataclass(frozen=True, slots=True)
class CalibrateCommand:
    """Learn from labelled pictures which similarity means "the same individual", at stated rates of false matches.

    The outcome is stored in the encoder's folder, or where --out says, and in a gallery. Pictures of unknown identity
    are left out. docs/evaluation.md says what each number means.
    """

    encoder: EncoderArguments
    data: DataArguments
    embed: EmbedArguments
    subset: Literal["validation", "test", "train", "all"] | None = None
    """Records to learn from: validation, test (query and gallery, or those without a split), train, or all (default:
    validation where there is any, else test). Best are pictures of individuals that the encoder was not trained on."""
    rates: tuple[float, ...] = (1e-2, 1e-3, 1e-4)
    """False-match rates: shares of pairs of different individuals that may pass for the same; each needs 30 / RATE
    pairs of different individuals."""
    gallery: str | None = None
    """A gallery of this encoder that gets the calibration: a folder, or milvus:…"""
    out: Path | None = None
    """File to write the calibration to, as JSON (default: calibration.json in the encoder's folder)."""
    cache: bool = False
    """Keep the decoded pictures (see `resight doctor` for the folder), so that the next run reads them at once."""
    json: bool = False
    """Print the calibration as JSON."""


def calibrate(arguments: CalibrateCommand) -> int:
    from rich.console import Console

    import resight.calibrating as parts
    from resight.calibration import FILE, write
    from resight.embed import prepare_folder
    from resight.gallery.store import open_gallery
    from resight.gallery_encoder import require_encoder
    from resight.thresholds import check_rates

    rates = check_rates(arguments.rates)
    config = arguments.embed.config(cache=arguments.cache)
    folder = Path(arguments.encoder.encoder)
    out = arguments.out or (folder / FILE if (folder / "encoder.json").is_file() else None)
    if out is None and arguments.gallery is None:
        raise ConfigError(f"{folder}: is no encoder folder that could keep the calibration. Name --out or --gallery.")
    if out is not None:
        if out.is_dir():
            raise ConfigError(f"--out {out}: is a folder. Name a file in it, as {out / FILE}.")
        prepare_folder(out.parent)
    with ExitStack() as stack:
        gallery = None if arguments.gallery is None else stack.enter_context(closing(open_gallery(arguments.gallery)))
        splits = arguments.data.read()
        encoder = arguments.encoder.open()
        if gallery is not None:
            require_encoder(gallery, encoder)
        say_slow(encoder, config.precision)
        with progress_bar("embed") as progress:
            found = parts.calibrate(
                encoder,
                splits,
                subset=arguments.subset,
                rates=rates,
                seed=arguments.encoder.seed,
                config=config,
                progress=progress,
            )
        if out is not None:
            write(found, out)
        if gallery is not None:
            gallery.keep_calibration(found.as_dict())
        n_rows = A_GALLERY if gallery is None else gallery.count()
    if arguments.json:
        print_json(found.as_dict())
        return 0
    for name, curve in (("two pictures", found.pictures), ("words and a picture", found.words)):
        if curve is not None:
            Console().print(_table(name, curve, n_rows))
    for note in (*splits.notes, *found.notes):
        print(f"note: {note}")
    places = [str(place) for place in (out, arguments.gallery) if place is not None]
    print(f"stored in {' and '.join(places)}")
    return 0


def _table(name: str, curve: Curve, n_rows: int) -> Table:
    """At most 80 characters wide: 95 % intervals stand on a second line."""
    from rich import box
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from resight.calibration import chance_of_a_false_match

    title = (
        f"{name}: {curve.n_same:,} pairs of the same individual ({curve.rule}),\n"
        f"{curve.n_different:,} of different ones, {curve.n_identities:,} individuals; 95 % intervals below"
    )
    table = Table(title=title, title_justify="left", title_style="", box=box.SIMPLE_HEAD, pad_edge=False)
    for head in ("false-match\nrate", "\nthreshold", "same pairs\nfound, %", "false alarms", "searches with\nany, %"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in curve.thresholds:
        table.add_row(
            f"{one.rate:g}",
            Group(f"{one.similarity:.4f}", Text(f"{one.low:.4f}–{one.high:.4f}", style="dim")),
            Group(f"{100 * one.found:.1f}", Text(f"{100 * one.found_low:.0f}–{100 * one.found_high:.0f}", style="dim")),
            f"{one.rate * n_rows:,.3g}",
            f"≤ {100 * chance_of_a_false_match(one.rate, n_rows):.3g}",
        )
    table.caption = f"false alarms: rows of others that pass, in a search among {n_rows:,} of them"
    table.caption_justify = "left"
    return table


@dataclass(frozen=True, slots=True)
class TwoPictures:
    """A class of its own, since the parser puts what is asked for directly before what groups of arguments ask for."""

    first: tyro.conf.Positional[Path]
    """A picture."""
    second: tyro.conf.Positional[Path]
    """Another picture."""


@dataclass(frozen=True, slots=True)
class CompareCommand:
    """Say how alike two pictures are, and, with a calibration, whether they show the same individual.

    The calibration is the encoder folder's, unless --gallery or --calibration names another.
    """

    encoder: EncoderArguments
    pictures: TwoPictures
    gallery: str | None = None
    """A gallery of this encoder whose calibration to use."""
    calibration: Path | None = None
    """A file that `resight calibrate --out` wrote."""
    json: bool = False
    """Print the outcome as JSON."""


def compare(arguments: CompareCommand) -> int:
    if arguments.gallery is not None and arguments.calibration is not None:
        raise ConfigError("--gallery and --calibration both name a calibration. Leave one out.")
    encoder = arguments.encoder.open()
    known = _known(arguments, encoder)
    one, other = encoder.embed_images([arguments.pictures.first, arguments.pictures.second]).embedding
    similarity = float(one @ other)
    curve = None if known is None else known.pictures
    if arguments.json:
        values = {
            "similarity": similarity,
            "verdict": None if curve is None else curve.judge(similarity),
            "probability": None if curve is None else curve.probability(similarity),
            "false_match_rate": None if curve is None else curve.false_match_rate(similarity),
            "calibration": None if known is None else known.as_dict(),
            "encoder": encoder.fingerprint(),
        }
        print_json(values)
        return 0
    print(f"similarity {similarity:.4f}")
    if curve is None:
        say(f"note: no calibration says what that means. `resight calibrate {arguments.encoder.encoder} --data …`")
        return 0
    print(f"{curve.judge(similarity)} {_from_to(curve)}")
    print(f"probability {curve.probability(similarity):.3f}, if same and different are equally likely beforehand")
    print(_rarity(curve, similarity))
    return 0


def _known(arguments: CompareCommand, encoder: Embedder) -> Calibration | None:
    from resight.calibration import Calibration, read, require_same, stored

    if arguments.calibration is not None:
        return require_same(read(arguments.calibration), encoder, str(arguments.calibration))
    if arguments.gallery is None:
        return stored(encoder, Path(arguments.encoder.encoder))
    from resight.gallery.store import open_gallery
    from resight.gallery_encoder import require_encoder

    with closing(open_gallery(arguments.gallery)) as gallery:
        require_encoder(gallery, encoder)
        kept = gallery.about.calibration
    if kept is None:
        raise ConfigError(f"{arguments.gallery}: has no calibration. `resight calibrate … --gallery` gives it one.")
    return require_same(Calibration.from_dict(kept), encoder, arguments.gallery)


def _from_to(curve: Curve) -> str:
    loose, strict = curve.thresholds[0], curve.thresholds[-1]
    if loose == strict:
        return f"(a match from {strict.similarity:.4f} on, false-match rate {strict.rate:g})"
    return (
        f"(unknown below {loose.similarity:.4f}, false-match rate {loose.rate:g}; a match from {strict.similarity:.4f} "
        f"on, {strict.rate:g})"
    )


def _rarity(curve: Curve, similarity: float) -> str:
    """How many pairs of different individuals are at least as alike."""
    one_in = 1 / curve.false_match_rate(similarity)
    told = f"one in {one_in:,.{0 if one_in >= 10 else 1}f} pairs of different individuals is at least as alike"
    if similarity > curve.different[-1][0]:
        return f"fewer than {told}"
    return f"more than {told}" if similarity < curve.different[0][0] else f"about {told}"
