"""The README.md of a shared encoder: what it is, licences, training, figures, limits, how to load it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from huggingface_hub import EvalResult, ModelCardData

from resight.cards import About, allows_commerce, plain, source_of, terms
from resight.clip.pushed import PREFIX
from resight.clip.sources import aliases
from resight.reported import SCORES, Result

# Licences that the hub knows by the same name; of those that allow no commercial use, those that CLIPs come with.
HUB_LICENCES = re.compile(r"mit|apache-2\.0|bsd-[23]-clause|unlicense|cc0-1\.0|cc-by(-nc)?(-sa)?-[34]\.0|unknown")

PURPOSE = """It is made to compare pictures that whoever runs it may compare: of animals, vehicles and things, and of
people who agreed, or where the law allows it. **Recognising people again is surveillance technology**, and vectors of
faces and bodies are biometric data in many countries. Do not follow people who have not agreed, and let nothing follow
from an answer before a person has looked: it ranks, and is sure of nothing.

- Measure it on your own pictures first. Other cameras, clothes, seasons and people than those it was trained on make it
  worse, often by much. Nothing here says how well it tells groups of people apart.
- It always finds somebody. Which similarity means "the same" must be learned on your own data: `resight calibrate`.
- It knows what its pictures showed, and no names."""


def model_card(about: About, repository: str, results: Sequence[Result]) -> str:
    """Markdown behind the hub's front matter. results: all of this encoder."""
    return "\n".join(
        [
            f"---\n{_front_matter(about, repository, results)}\n---",
            f"# {repository.rpartition('/')[2]}\n",
            _summary(about),
            "\n## Licences\n",
            *_licences(about),
            "\n## What it was trained from and on\n",
            *_training(about),
            "\n## Figures\n",
            *_figures(results, about),
            "\n## Intended use and limits\n",
            PURPOSE,
            "\n## How to load it\n",
            _loading(about, repository),
            "",
        ]
    )


def _front_matter(about: About, repository: str, results: Sequence[Result]) -> str:
    known = {alias.name: alias.repository for alias in aliases()}
    source = about.card.source
    base = known.get(source) or (source.removeprefix(PREFIX) if source.startswith(PREFIX) else None)
    licence = plain(about.card.licence)
    stated = bool(HUB_LICENCES.fullmatch(licence)) and all(map(allows_commerce, terms(about.card)))
    slug = re.sub(r"[^a-z0-9.]+", "-", licence).strip("-") or "unknown"
    data = ModelCardData(
        license=licence if stated else "other",
        license_name=None if stated else f"{slug}-and-the-terms-of-its-pictures",
        license_link=None if stated else f"https://huggingface.co/{repository}#licences",
        library_name="resight",
        pipeline_tag="image-feature-extraction",
        tags=["re-identification", "image-retrieval", "clip", *(["text-to-image-retrieval"] if about.can_read else [])],
        base_model=base,
        model_name=repository.rpartition("/")[2],
        eval_results=[one for result in results for one in _evaluations(result)] or None,
    )
    if not results:
        data.pop("model_name")
    return data.to_yaml()


def _evaluations(result: Result) -> list[EvalResult]:
    """Raw and re-ranked scores as different configurations of the data set, so that they never mix."""
    config = f"{result.task}, {result.protocol}"
    found = [(config, result.scores)]
    if result.reranked is not None:
        found.append((f"{config}, re-ranked ({result.rerank})", result.reranked))
    return [
        EvalResult(
            task_type="image-feature-extraction",
            task_name="re-identification",
            dataset_type=re.sub(r"[^a-z0-9]+", "-", result.data_name.lower()).strip("-") or "unnamed",
            dataset_name=result.data_name,
            dataset_config=config,
            dataset_split=result.subset,
            dataset_revision=result.data,
            metric_type=name.lower(),
            metric_name=f"{name} (%)",
            metric_value=round(100 * scores[name], 1),
        )
        for config, scores in found
        for name in SCORES
    ]


def _summary(about: About) -> str:
    words = " It reads sentences too, and finds the pictures that they describe." if about.can_read else ""
    height, width = about.size
    return (
        "An encoder for re-identification: it turns a picture into a vector, so that pictures of the same individual "
        f"lie close to each other.{words}\n\n"
        + _table(
            ("", ""),
            [
                ("image tower", about.tower),
                ("text tower", "yes" if about.can_read else "no"),
                ("pictures", f"{height} × {width} pixels (height × width)"),
                ("embedding", f"{about.dimension:,} numbers"),
                ("weights", f"`model.safetensors`, {about.n_bytes / 2**20:,.1f} MiB, SHA-256 `{about.sha256}`"),
                ("fingerprint", f"`{about.fingerprint}`"),
                ("calibration", "`calibration.json`" if about.calibrated else "none"),
            ],
        )
    )


def _licences(about: About) -> Iterable[str]:
    yield f"- Weights that it started from ({_cell(source_of(about.card))}): **{_cell(about.card.licence)}**"
    for place, licence in enumerate(terms(about.card), start=1):
        which = f" (training {place})" if len(terms(about.card)) > 1 else ""
        yield f"- Pictures that it was trained on{which}: **{_cell(licence)}**"
    if "unknown" in map(plain, (about.card.licence, *terms(about.card))):
        yield (
            "\n**UNKNOWN MEANS UNKNOWN.** Nobody stated these terms. Do not assume that they allow your use, and "
            "commercial use least of all."
        )
    if any("withdrawn" in licence for licence in terms(about.card)):
        yield (
            "\n**WITHDRAWN PICTURES.** Their authors took them back since those shown had not agreed. Weights trained "
            "on them are here to check older results, and for nothing else."
        )
    yield "\nPictures that the first weights were trained on may have terms of their own; see where they come from."


def _training(about: About) -> Iterable[str]:
    card, training = about.card, about.training
    yield f"- From: {_cell(source_of(card))}"
    if not card.data:
        yield "- On: nothing further; these are the weights that it started from."
    elif training is None:
        yield f"- On: data `{_cell(card.data)}` (fingerprint of the list of pictures); how many is not stated."
    else:
        identities = f" of {training.n_identities:,} identities" if training.n_identities else ""
        yield (
            f"- On: {_cell(training.data) or 'data without a name'}, {training.n_pictures:,} pictures{identities} "
            f"(fingerprint of their list: `{_cell(card.data)}`)"
        )
    yield from (f"- {_cell(note)}" for note in card.notes)


def _figures(results: Sequence[Result], about: About) -> Iterable[str]:
    if not results:
        yield "None were given. Measure it on your own pictures: `resight evaluate`."
        return
    yield (
        "In percent, as `resight evaluate` measured them; below, 95 % intervals by resampling the identities. `valid`: "
        "queries that the gallery can answer, and all.\n"
    )
    head = ("data", "compared", "protocol", *SCORES, "valid", "gallery")
    yield "Without re-ranking:\n"
    yield _table(head, [_row(result, about, result.scores, result.intervals) for result in results])
    if any("duke" in result.data_name.lower() for result in results):
        yield "\nDukeMTMC-reID was withdrawn by its authors in 2019, over consent: figures on it check older results."
    for settings in dict.fromkeys(result.rerank for result in results if result.reranked):
        yield f"\nWith k-reciprocal re-ranking ({settings}), which looks at the whole gallery at once:\n"
        yield _table(
            head,
            [
                _row(result, about, result.reranked, {})
                for result in results
                if result.reranked and result.rerank == settings
            ],
        )


def _row(
    result: Result,
    about: About,
    scores: Mapping[str, float],
    intervals: Mapping[str, tuple[float, float]],
) -> Sequence[str]:
    cells = [f"{100 * scores[name]:.1f}" for name in SCORES]
    for place, name in enumerate(SCORES):
        if name in intervals:
            low, high = intervals[name]
            cells[place] += f"<br>{100 * low:.0f}–{100 * high:.0f}"
    counts = f"{result.n_valid:,} of {result.n_queries:,}", f"{result.n_gallery:,}"
    where = f"{_cell(result.data_name)}, {result.subset}{_kinship(result, about)}"
    return where, _cell(result.task), _cell(result.protocol), *cells, *counts


def _kinship(result: Result, about: About) -> str:
    """Whether the data are those that it was trained on: by the fingerprint of the records, else as far as names tell.

    Records that differ may be of one data set: query and gallery beside the train part.
    """
    trained = about.training.data if about.training is not None else ""
    if about.card.data == result.data != "" or (trained == result.data_name and result.subset == "train"):
        return "<br>(**trained on these**)"
    if not trained:
        return ""
    return "<br>(trained on its train part)" if trained == result.data_name else "<br>(other data)"


def _loading(about: About, repository: str) -> str:
    return (
        f'```python\nimport resight\n\nencoder = resight.Encoder.load("hf-hub:{repository}")\n'
        f'vectors = encoder.embed_images(["a.jpg", "b.jpg"]).embedding  # [2, {about.dimension}]\n```\n\n'
        f"or `resight pull {repository} --out FOLDER`, which checks that the weights are those described here."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    """Text that cannot end a table's cell or a line, nor become a tag or a link."""
    return re.sub(r"[|<>\[\]`*_\\]", lambda found: f"\\{found[0]}", " ".join(text.split()))
