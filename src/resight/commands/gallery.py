"""`resight gallery`: create, add, update, remove, forget, list, info, compact."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import tyro

from resight.commands.arguments import (
    ClipArguments,
    EmbedArguments,
    WhereArguments,
    parse_fields,
    parse_time,
    print_json,
    say,
)
from resight.commands.filling import PicturesArguments, begin, fill
from resight.commands.rows import fields_text, print_columns, time_text
from resight.data.labels import Labels, read_labels
from resight.errors import ConfigError, GalleryError

if TYPE_CHECKING:
    from resight.gallery.rows import Entry, Gallery
    from resight.types import Record

N_LISTED = 50
AT_A_TIME = 1000
"""Rows that are changed by one call."""

Place = tyro.conf.Positional[str]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CreateCommand:
    """Make a gallery, and fill it where pictures are named.

    The gallery remembers its encoder, which later commands open again. Interrupted while it is filled, it goes on with
    `resight gallery add`. Pictures that cannot be read are listed at the end; the exit status is then 1.
    """

    place: Place
    """A new folder, milvus://HOST:PORT/NAME for a Milvus server, or milvus:FILE.db/NAME for Milvus Lite."""
    encoder: str
    """An encoder folder, an alias (openai:ViT-B-16), hf-hub:owner/name, a checkpoint, or random:WIDTHxDEPTH[/PATCH]."""
    clip: ClipArguments
    pictures: PicturesArguments
    embed: EmbedArguments
    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    seed: int = 0
    """Of the weights of random:…."""
    json: bool = False
    """Print the outcome as JSON."""


def create(arguments: CreateCommand) -> int:
    arguments.embed.config()
    with ExitStack() as stack:
        pictures: Iterable[Record | None] = arguments.pictures.read() if arguments.pictures.given() else ()
        options = arguments.clip.options() | ({"seed": arguments.seed} if arguments.seed else {})
        gallery, encoder = begin(arguments.place, arguments.encoder, device=arguments.device, options=options)
        stack.callback(gallery.close)
        if not arguments.pictures.given():
            print(f"{arguments.place}: a new gallery. `resight gallery add {arguments.place} --data PATH` fills it.")
            return 0
        return fill(gallery, encoder, pictures, arguments.embed, place=arguments.place, as_json=arguments.json)


@dataclass(frozen=True, slots=True)
class AddCommand:
    """Add pictures to a gallery. What is there already is not embedded again, so that the command can be repeated.

    A picture is known by its content: one that comes twice is one row, and labels that are new are taken over. A file
    that has changed replaces the row of its path. Pictures that cannot be read are listed at the end; the exit status
    is then 1.
    """

    place: Place
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    pictures: PicturesArguments
    embed: EmbedArguments
    encoder: str | None = None
    """What turns pictures into vectors (default: what the gallery was made with); it must be the same encoder."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    json: bool = False
    """Print the outcome as JSON."""


def add(arguments: AddCommand) -> int:
    from resight.opening import open_encoder

    arguments.embed.config()
    with ExitStack() as stack:
        gallery = _opened(stack, arguments.place)
        pictures = arguments.pictures.read()
        encoder = open_encoder(gallery, source=arguments.encoder, device=arguments.device)
        return fill(gallery, encoder, pictures, arguments.embed, place=arguments.place, as_json=arguments.json)


def _opened(stack: ExitStack, place: str) -> Gallery:
    from resight.gallery.store import open_gallery

    gallery = open_gallery(place)
    stack.callback(gallery.close)
    return gallery


@dataclass(frozen=True, slots=True)
class UpdateCommand:
    """Correct what is known of rows: of some, the same for all; or of many, from a table.

    All is changed or nothing, where the table names a row that is not there.
    """

    place: Place
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    id: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A row to correct; may be repeated."""
    table: Path | None = None
    """A CSV, TSV or Parquet table, as `gallery list --csv` writes it: its columns identity, camera and time, and others
    as fields, are taken over for the row of each id; an empty cell means unknown; columns that are not there stay."""
    identity: str | None = None
    """Who the rows show; "" is unknown."""
    camera: str | None = None
    """Their camera; "" is unknown."""
    time: str | None = None
    """Their time: 2024-05-31, 2024-05-31T12:00:00+02:00, or UTC seconds; "" is unknown."""
    field: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A further field, as colour=red, or colour= to take it away; may be repeated."""
    json: bool = False
    """Print the outcome as JSON."""


def update(arguments: UpdateCommand) -> int:
    corrections = _said_of_all(arguments)
    if (arguments.table is None) == (not arguments.id):
        raise ConfigError("say which rows: --id ID with --identity, --camera, --time or --field; or --table FILE.")
    if arguments.table is not None and corrections != Labels("", {}, {}):
        raise ConfigError("--identity, --camera, --time and --field go with --id; a table has columns for them.")
    if arguments.id and corrections == Labels("", {}, {}):
        raise ConfigError("nothing to correct is said. Give --identity, --camera, --time or --field.")
    if arguments.table is not None:
        labels = read_labels(arguments.table)
    else:
        labels = [replace(corrections, id=id_) for id_ in dict.fromkeys(arguments.id)]
    with ExitStack() as stack:
        gallery = _opened(stack, arguments.place)
        ids = [label.id for label in labels]
        contents = {id_ for chunk in _chunks(ids) for id_ in gallery.contents(chunk)}
        missing = [id_ for id_ in ids if id_ not in contents]
        if missing:
            some = "is" if len(missing) == 1 else f"and {len(missing) - 1:,} more are"
            raise GalleryError(
                f"row {missing[0]}: {some} not in the gallery, so nothing was changed. "
                f"`resight gallery list {arguments.place}` shows the ids."
            )
        n_changed = sum(_correct(gallery, chunk) for chunk in _chunks(labels))
    if arguments.json:
        print_json({"gallery": arguments.place, "n_rows": len(labels), "n_changed": n_changed})
    else:
        print(f"{arguments.place}: {n_changed:,} rows changed, {len(labels) - n_changed:,} were so already")
    return 0


def _said_of_all(arguments: UpdateCommand) -> Labels:
    known: dict[str, str | float | None] = {}
    if arguments.identity is not None:
        known["identity"] = arguments.identity or None
    if arguments.camera is not None:
        known["camera"] = arguments.camera or None
    if arguments.time is not None:
        known["time"] = parse_time("--time", arguments.time)
    return Labels("", known, parse_fields(arguments.field))


def _correct(gallery: Gallery, labels: Sequence[Labels]) -> int:
    """How many rows changed."""
    before = {row.entry.id: row.entry for row in gallery.get([label.id for label in labels], thumbnails=False)}
    changed = []
    for label in labels:
        fields = {name: value for name, value in {**before[label.id].fields, **label.fields}.items() if value}
        known: dict[str, Any] = {**label.known, "fields": fields}
        after = replace(before[label.id], **known)
        changed += [after] if after != before[label.id] else []
    gallery.update(changed)
    return len(changed)


@dataclass(frozen=True, slots=True)
class RemoveCommand:
    """Take rows out of a gallery: by their ids, or all that the conditions allow. Picture files are not touched.

    Their bytes may stay in the store until `resight gallery compact`; `resight gallery forget` erases an identity.
    """

    place: Place
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    where: WhereArguments
    id: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A row to take out; may be repeated."""
    yes: bool = False
    """Do not ask."""
    json: bool = False
    """Print the outcome as JSON."""


def remove(arguments: RemoveCommand) -> int:
    from resight.gallery.rows import EVERYWHERE

    where = arguments.where.where()
    if bool(arguments.id) == (where != EVERYWHERE):
        raise ConfigError("say which rows: --id ID, or conditions such as --camera NAME; not both.")
    with ExitStack() as stack:
        gallery = _opened(stack, arguments.place)
        if arguments.id:
            ids = [*dict.fromkeys(arguments.id)]
        else:
            ids = [entry.id for entry in gallery.entries(where)]
            if ids:
                _confirm(f"take {len(ids):,} of {gallery.count():,} rows out of {arguments.place}", arguments.yes)
        n = sum(gallery.remove(chunk) for chunk in _chunks(ids))
        left = gallery.count()
    if arguments.json:
        print_json({"gallery": arguments.place, "removed": n, "n_rows": left})
    else:
        absent = f", {len(ids) - n:,} were not there" if n < len(ids) else ""
        print(f"{arguments.place}: {n:,} rows removed{absent}; {left:,} rows")
    return 0


@dataclass(frozen=True, slots=True)
class ForgetCommand:
    """Erase an identity: its rows, vectors and thumbnails, and its pictures in the cache of decoded pictures.

    No byte of them stays in the gallery. The picture files themselves are not touched, nor are copies of the gallery.
    """

    place: Place
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    identity: tyro.conf.Positional[str]
    """Who is to be forgotten."""
    yes: bool = False
    """Do not ask."""
    json: bool = False
    """Print the outcome as JSON."""


def forget(arguments: ForgetCommand) -> int:
    from resight.data.cache import forget_pictures
    from resight.environment import default_cache
    from resight.gallery.rows import Where

    if not arguments.identity:
        raise ConfigError("no identity is named. `resight gallery list` shows them.")
    with ExitStack() as stack:
        gallery = _opened(stack, arguments.place)
        contents = {entry.content for entry in gallery.entries(Where(identities=(arguments.identity,)))}
        if contents:
            _confirm(f"erase {arguments.identity} from {arguments.place} for good", arguments.yes)
        n_cached = forget_pictures(default_cache(), contents)  # first: the gallery's rows say what to look for
        n_rows = gallery.forget(arguments.identity)
    if arguments.json:
        print_json({"gallery": arguments.place, "rows": n_rows, "cached_pictures": n_cached})
    else:
        print(f"{arguments.place}: {n_rows:,} rows and {n_cached:,} cached pictures of {arguments.identity} erased")
        if n_rows:
            print("the picture files themselves are where they were")
    return 0


def _confirm(what: str, yes: bool) -> None:
    """Raises ConfigError unless a person agrees."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"nobody can be asked whether to {what}. Add --yes.")
    say(f"{what[0].upper()}{what[1:]}? [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise ConfigError("not confirmed, so nothing was changed.")


@dataclass(frozen=True, slots=True)
class ListCommand:
    """List rows in the order of their ids."""

    place: Place
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    where: WhereArguments
    start: int = 0
    """Rows to pass over."""
    top: int | None = None
    """Most rows to list (default: 50 for people, all with --json and --csv)."""
    json: bool = False
    """Print as JSON."""
    csv: bool = False
    """Print a table that `gallery update --table` reads, and, as far as the pictures are there, `--data`."""


def list_rows(arguments: ListCommand) -> int:
    if arguments.json and arguments.csv:
        raise ConfigError("--json and --csv: one of them.")
    if arguments.start < 0 or (arguments.top is not None and arguments.top < 1):
        raise ConfigError("--start is at least 0, and --top at least 1.")
    where = arguments.where.where()
    shown = arguments.top if arguments.json or arguments.csv else arguments.top or N_LISTED
    with ExitStack() as stack:
        gallery = _opened(stack, arguments.place)
        if arguments.csv:
            names = sorted({name for entry in gallery.entries(where) for name in entry.fields})
            _write_csv(gallery.entries(where, start=arguments.start, limit=shown), names)
            return 0
        entries = [*gallery.entries(where, start=arguments.start, limit=shown)]
        if arguments.json:
            print_json([asdict(entry) for entry in entries])
            return 0
        n_rows, n_allowed = gallery.count(), gallery.count(where)
    if entries:
        header = ("id", "identity", "camera", "time", "path", "fields")
        print_columns(header, (_cells(entry) for entry in entries))
    if len(entries) < n_allowed or not entries:
        say(
            f"{len(entries):,} of {n_allowed:,} rows" + (f" (the gallery has {n_rows:,})" if n_rows > n_allowed else "")
        )
    return 0


def _cells(entry: Entry) -> tuple[str, ...]:
    return (
        entry.id,
        entry.identity or "",
        entry.camera or "",
        time_text(entry.time),
        entry.path,
        fields_text(entry),
    )


def _write_csv(entries: Iterator[Entry], names: Sequence[str]) -> None:
    writer = csv.writer(sys.stdout, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(["id", "path", "identity", "camera", "time", "x1", "y1", "x2", "y2", *names])
    for entry in entries:
        box = ("", "", "", "") if entry.box is None else entry.box
        known = [entry.id, entry.path, entry.identity, entry.camera, time_text(entry.time), *box]
        writer.writerow([*known, *(entry.fields.get(name, "") for name in names)])


@dataclass(frozen=True, slots=True)
class InfoCommand:
    """Say what a gallery holds, how large it is, and which encoder its vectors are from."""

    place: Place
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    json: bool = False
    """Print as JSON."""


def info(arguments: InfoCommand) -> int:
    with ExitStack() as stack:
        gallery = _opened(stack, arguments.place)
        found, about = gallery.info(), gallery.about
    told = asdict(found) | {
        "encoder": about.encoder,
        "source": about.source,
        "options": dict(about.options),
        "dimension": about.dimension,
        "words": about.aligned is not None,
        "calibrated": about.calibration is not None,
    }
    if arguments.json:
        print_json(told)
        return 0
    size = "" if found.n_bytes is None else f", {found.n_bytes / 1e6:,.1f} MB"
    options = "".join(f", {name} {value}" for name, value in about.options.items())
    print(f"{found.place}: {found.backend}{size}")
    print(f"{found.n_rows:,} rows of {found.n_identities:,} identities and {found.n_cameras:,} cameras")
    print(f"{found.n_indexed:,} rows in the index, the others are compared one by one")
    print(f"encoder {about.encoder} ({about.source}{options}): {about.dimension} numbers a picture")
    print("can be asked in words" if about.aligned is not None else "cannot be asked in words: no text tower")
    print("calibrated" if about.calibration is not None else "not calibrated: `resight calibrate` says what is a match")
    return 0


@dataclass(frozen=True, slots=True)
class CompactCommand:
    """Merge small pieces, bring every row into the index, and drop what was removed."""

    place: Place
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""


def compact(arguments: CompactCommand) -> int:
    with ExitStack() as stack:
        gallery = _opened(stack, arguments.place)
        before = gallery.info()
        gallery.compact()
        after = gallery.info()
    sizes = [f"{found.n_bytes / 1e6:,.1f} MB" for found in (before, after) if found.n_bytes is not None]
    print(
        ", ".join(
            [f"{arguments.place}: {after.n_indexed:,} of {after.n_rows:,} rows in the index", *[" → ".join(sizes)]]
        )
    )
    return 0


def _chunks(items: Sequence[T]) -> Iterator[Sequence[T]]:
    return (items[start : start + AT_A_TIME] for start in range(0, len(items), AT_A_TIME))
