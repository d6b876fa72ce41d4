"""`resight search`."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from resight.commands.arguments import WhereArguments, print_json, say
from resight.commands.rows import fields_text, print_columns, time_text
from resight.errors import ConfigError

if TYPE_CHECKING:
    from resight.gallery.rows import Gallery
    from resight.search import Answer, Found, Sought

N_ON_SHEET = 200


@dataclass(frozen=True, slots=True)
class SearchCommand:
    """Find who is shown or described among a gallery's rows: the most similar first.

    Ask by pictures of one individual, by words, by both, or by rows of the gallery. Where the gallery has a calibration
    each answer has a verdict (match, ask a person, unknown) and a probability.
    """

    gallery: tyro.conf.Positional[str]
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    where: WhereArguments
    image: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction] = ()
    """A picture of who is looked for; may be repeated, for several pictures of the same individual."""
    text: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """What who is looked for looks like; may be repeated."""
    id: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    """A row to find the like of; may be repeated. It is not among the answers."""
    not_: Annotated[tuple[str, ...], tyro.conf.UseAppendAction, tyro.conf.arg(name="not")] = ()
    """What who is looked for does not have; may be repeated."""
    top: int = 10
    """Most answers to give, 1 to 10,000."""
    threshold: float | None = None
    """Least similarity of an answer."""
    text_weight: float = 0.5
    """Share of the words where pictures or rows are given too, 0 to 1."""
    one_each: bool = False
    """Of every identity the most similar row alone; rows of unknown identity all count."""
    exact: bool = False
    """Compare with every row, also where an index could save that."""
    sheet: Path | None = None
    """A JPEG to write with the answers' thumbnails."""
    encoder: str | None = None
    """What turns pictures into vectors (default: what the gallery was made with); it must be the same encoder."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    json: bool = False
    """Print the answers as JSON."""


def search(arguments: SearchCommand) -> int:
    from resight.embed import prepare_folder
    from resight.gallery.store import open_gallery
    from resight.search import Terms, look

    if arguments.image and arguments.id:
        raise ConfigError("--image and --id: ask by pictures or by rows. Leave one out.")
    if not (arguments.image or arguments.text or arguments.id):
        raise ConfigError("Nothing is asked. Give --image FILE, --text WORDS, or --id ROW.")
    if arguments.not_ and not arguments.text:
        raise ConfigError("--not: what is left out needs words to be taken from. Give --text too.")
    terms = Terms(
        top=arguments.top,
        where=arguments.where.where(),
        threshold=arguments.threshold,
        text_weight=arguments.text_weight,
        one_each=arguments.one_each,
        exact=arguments.exact,
    )
    if arguments.sheet is not None:
        if arguments.sheet.suffix.lower() not in (".jpg", ".jpeg"):
            raise ConfigError(f"--sheet {arguments.sheet}: is written as JPEG. Name it {arguments.sheet.stem}.jpg.")
        prepare_folder(arguments.sheet.parent)
    gallery = open_gallery(arguments.gallery)
    answer = look(gallery, _sought(gallery, arguments), terms)
    for note in answer.notes:
        say(f"note: {note}")
    if arguments.sheet is not None and answer.found:
        _write_sheet(gallery, answer, arguments.sheet)
    if arguments.json:
        print_json({"found": [_as_json(found) for found in answer.found], "notes": list(answer.notes)})
    elif answer.found:
        _show(answer)
    else:
        print(_nothing(gallery, arguments))
    return 0


def _sought(gallery: Gallery, arguments: SearchCommand) -> Sought:
    from resight.opening import open_encoder
    from resight.search import seek, seek_rows

    rows = seek_rows(gallery, arguments.id) if arguments.id else None
    if rows is not None and not arguments.text and not arguments.not_:
        return rows  # no encoder is needed
    encoder = open_encoder(gallery, source=arguments.encoder, device=arguments.device)
    sought = seek(encoder, pictures=arguments.image, texts=arguments.text, without=arguments.not_)
    return sought if rows is None else replace(sought, picture=rows.picture, rows=rows.rows)


def _nothing(gallery: Gallery, arguments: SearchCommand) -> str:
    n_rows = gallery.count()
    if not n_rows:
        return f"nothing found: the gallery is empty. `resight gallery add {arguments.gallery}` fills it."
    n_allowed = gallery.count(arguments.where.where())
    if n_allowed == 0:
        return f"nothing found: none of the {n_rows:,} rows is what --camera, --identity and the like ask for."
    return f"nothing found: none of {n_allowed:,} rows is at least as similar as --threshold {arguments.threshold}."


def _show(answer: Answer) -> None:
    header = ("similarity", "verdict", "probability", "identity", "camera", "time", "id", "path", "fields")
    print_columns(header, (_cells(found) for found in answer.found))


def _cells(found: Found) -> tuple[str, ...]:
    entry = found.entry
    return (
        f"{found.similarity:.3f}",
        found.verdict or "",
        "" if found.probability is None else f"{100 * found.probability:.1f} %",
        entry.identity or "",
        entry.camera or "",
        time_text(entry.time),
        entry.id,
        entry.path,
        fields_text(entry),
    )


def _as_json(found: Found) -> dict[str, object]:
    said = {"similarity": found.similarity, "verdict": found.verdict, "probability": found.probability}
    return said | asdict(found.entry)


def _write_sheet(gallery: Gallery, answer: Answer, path: Path) -> None:
    """A page of the answers' thumbnails, the most similar first."""
    from PIL import Image

    from resight.contact_sheet import lay_out, save_sheet

    shown = answer.found[:N_ON_SHEET]
    rows = {row.entry.id: row for row in gallery.get([found.entry.id for found in shown])}
    pictures, labels = [], []
    for found in shown:
        row = rows.get(found.entry.id)
        if row is not None and row.thumbnail:
            pictures.append(Image.open(io.BytesIO(row.thumbnail)).convert("RGB"))
            labels.append(f"{found.similarity:.3f} {found.entry.identity or ''}")
    if not pictures:
        say(f"note: the rows have no thumbnails, so {path} was not written")
        return
    about = f"{len(answer.found):,} found" if len(pictures) == len(answer.found) else f"the first {len(pictures):,}"
    save_sheet(lay_out(pictures, labels, "answers", about), path)
