"""`resight push`, `resight pull` and `resight encoders`."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from resight.commands.arguments import print_json, say

if TYPE_CHECKING:
    from resight.cards import About
    from resight.reported import Result


@dataclass(frozen=True, slots=True)
class PushCommand:
    """Send an encoder folder to a repository of the Hugging Face hub, with a model card made from what it knows.

    The weights are checked first. A new repository is private unless --public is given; the token is that of `hf auth
    login`, or HF_TOKEN.
    """

    encoder: tyro.conf.Positional[Path]
    """The encoder folder; the run folder around it, where there is one, says what it was trained on."""
    repository: tyro.conf.Positional[str]
    """owner/name on the hub; made when it is not there."""
    report: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A report.json of this encoder, from `resight evaluate --out`, or its folder, whose figures to put on the card;
    may be repeated, for other data too."""
    public: bool = False
    """Let everybody see and download it (default: private)."""
    dry_run: bool = False
    """Print the card and the files, and send nothing."""
    json: bool = False
    """Print the outcome as JSON."""


def push(arguments: PushCommand) -> int:
    from resight import hub
    from resight.cards import objections, source_of
    from resight.reported import read_results

    results = [result for report in arguments.report for result in read_results(report)]
    parcel = hub.pack(arguments.encoder, arguments.repository, results)
    card = parcel.about.card
    if source_of(card) != card.source:
        say(f"note: encoder.json names a file of this machine as its source, and is sent as it is: {card.source}")
    for objection in objections(card):
        say(f"note: not known to allow commercial use: {objection}")
    if not results:
        say("note: the card has no figures. Measure with `resight evaluate --out`, and give them with --report.")
    visibility = "public" if arguments.public else "private"
    if arguments.dry_run:
        address = None
        if not arguments.json:
            print(parcel.card)
            for file in parcel.files:
                print(f"{file}: {file.stat().st_size:,} bytes")
    else:
        _quiet_in_a_pipe()
        address = hub.push(parcel, public=arguments.public)
    if arguments.json:
        print_json(
            {
                "repository": parcel.repository,
                "visibility": visibility,
                "commit": address,
                "files": [file.name for file in parcel.files],
                "bytes": parcel.n_bytes,
                "fingerprint": parcel.about.fingerprint,
                "card": parcel.card,
            }
        )
    elif address is None:
        print(f"{parcel.repository}: nothing was sent; {parcel.n_bytes:,} bytes would be, {visibility}")
    else:
        print(f"{parcel.repository}: {visibility}, {parcel.n_bytes:,} bytes, {address}")
    return 0


@dataclass(frozen=True, slots=True)
class PullCommand:
    """Fetch an encoder from a repository of the Hugging Face hub, and check that it is as it was pushed.

    Nothing is fetched but encoder.json, model.safetensors and, where there is one, calibration.json.
    """

    repository: tyro.conf.Positional[str]
    """owner/name on the hub."""
    out: Path
    """The encoder folder to write, new or empty."""
    revision: str | None = None
    """A branch, tag or commit of the repository (default: its main branch)."""
    force: bool = False
    """Replace the encoder that --out holds."""
    json: bool = False
    """Print the outcome as JSON."""


def pull(arguments: PullCommand) -> int:
    from resight import hub

    _quiet_in_a_pipe()
    about, commit = hub.pull(arguments.repository, arguments.out, revision=arguments.revision, force=arguments.force)
    if arguments.json:
        print_json(_plain(about) | {"commit": commit})
    else:
        print("\n".join([*_lines(about), f"  commit      {commit}, for --revision"]))
    return 0


@dataclass(frozen=True, slots=True)
class EncodersCommand:
    """List the encoders below some folders, exported ones too, and our own small CLIPs, with what their cards say.

    The exit status is 1 when a folder seems to hold an encoder and does not.
    """

    folders: tyro.conf.Positional[tuple[Path, ...]] = (Path("."),)
    """Where to look (default: the current folder)."""
    commercial_ok: bool = False
    """Only those whose licences, of the weights and of the pictures of every training, are known to allow it."""
    json: bool = False
    """Print them as JSON."""


def encoders(arguments: EncodersCommand) -> int:
    from resight.cards import find_encoders, objections

    shelf = find_encoders(arguments.folders)
    shown = [about for about in shelf.encoders if not (arguments.commercial_ok and objections(about.card))]
    if arguments.json:
        print_json([_plain(about) for about in shown])
    else:
        print("\n\n".join("\n".join(_lines(about)) for about in shown))
    if len(shown) < len(shelf.encoders):
        n = len(shelf.encoders) - len(shown)
        say(f"note: {n} more are not known to allow commercial use; without --commercial-ok they are listed, with why.")
    for error in shelf.left_out:
        say(f"left out: {error}")
    return 1 if shelf.left_out else 0


def _lines(about: About) -> list[str]:
    from resight.cards import objections, terms

    card, training = about.card, about.training
    height, width = about.size
    words = ", reads words" if about.can_read else ""
    trained = [f"{training.data or 'data without a name'}, {training.n_pictures:,} pictures"] if training else []
    pictures = f"trained on {', '.join([*trained, f'[{card.data}]'])}: {' · '.join(terms(card))}"
    exported = f"exported for {about.runtime} in {about.precision}; " if about.runtime else ""
    why_not = objections(card)
    return [
        f"{about.name} [{about.fingerprint}]",
        f"  weights     from {card.source}: {card.licence}",
        f"  pictures    {pictures if card.data else 'not trained here'}",
        f"  form        {about.tower}; {height} × {width} pixels; {about.dimension:,} numbers{words}; "
        f"{about.n_bytes / 2**20:,.1f} MiB; {exported}{'calibrated' if about.calibrated else 'not calibrated'}",
        f"  commercial  {'not known to be allowed: ' + '; '.join(why_not) if why_not else 'its licences allow it'}",
        *(line for result in about.results for line in _figures(result)),
    ]


def _figures(result: Result) -> list[str]:
    where = f"{result.data_name}, {result.subset}, {result.task}, {result.protocol}"
    raw = f"  figures     mAP {100 * result.scores['mAP']:.1f}, R1 {100 * result.scores['R1']:.1f}: {where}"
    if result.reranked is None:
        return [raw]
    mean, first = (100 * result.reranked[name] for name in ("mAP", "R1"))
    return [raw, f"  re-ranked   mAP {mean:.1f}, R1 {first:.1f}: {where}, {result.rerank}"]


def _plain(about: About) -> dict[str, object]:
    from resight.cards import objections, terms

    values = asdict(about)
    values["card"]["data_licences"] = terms(about.card)
    return values | {"objections_to_commercial_use": objections(about.card)}


def _quiet_in_a_pipe() -> None:
    """The hub's library draws its bars wherever it writes to."""
    from huggingface_hub.utils.tqdm import disable_progress_bars

    if not sys.stderr.isatty():
        disable_progress_bars()
