"""An encoder folder to a repository of the Hugging Face hub, and back."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from resight import calibration
from resight.cards import About, read_about
from resight.clip.pushed import FILES, PREFIX, find_encoder, refusal, repository_of
from resight.encoder import Encoder, swap
from resight.errors import CheckpointError, ConfigError, DataError
from resight.model_card import model_card
from resight.reported import Result

if TYPE_CHECKING:
    from huggingface_hub import CommitInfo, HfApi

CARD = "README.md"
FROM_THE_HUB = {".gitattributes", CARD, "LICENSE"}  # what a repository may hold before an encoder comes into it


@dataclass(frozen=True, slots=True)
class Parcel:
    """What will be pushed: the files of a folder as they are, and the card."""

    repository: str
    about: About
    files: tuple[Path, ...]
    card: str

    @property
    def n_bytes(self) -> int:
        return sum(file.stat().st_size for file in self.files) + len(self.card.encode())


def pack(folder: Path, repository: str, results: Sequence[Result] = ()) -> Parcel:
    """An encoder folder, checked, with the card that results and the run around it allow. Nothing is sent.

    Raises CheckpointError when the encoder is not whole or the name is none, ConfigError when results or a calibration
    are another encoder's.
    """
    name = repository_of(repository)
    about = check(folder)
    strangers = {result.encoder for result in results} - {about.fingerprint}
    if strangers:
        raise ConfigError(
            f"--report: measures encoder {strangers.pop()}, and {folder} is {about.fingerprint}. Evaluate this one."
        )
    files = tuple(folder / name for name in FILES if (folder / name).is_file())
    return Parcel(name, about, files, model_card(about, name, results))


def push(parcel: Parcel, *, public: bool = False) -> str:
    """Sends the parcel as one commit; the commit's address. A repository that is not there is made, private unless
    public.

    Raises CheckpointError when the hub refuses or cannot be reached, and when the repository holds something else;
    ConfigError when it is public and this was not asked for, or the other way round.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RepositoryNotFoundError

    api, source = HfApi(), PREFIX + parcel.repository
    try:
        try:
            info = api.model_info(parcel.repository, timeout=10)
        except RepositoryNotFoundError:
            api.create_repo(parcel.repository, private=not public, exist_ok=True)
            info = api.model_info(parcel.repository, timeout=10)
        there = {file.rfilename for file in info.siblings or ()}
        if "encoder.json" not in there and there - FROM_THE_HUB:
            others = ", ".join(sorted(there - FROM_THE_HUB)[:3])
            raise CheckpointError(f"{source}: holds other files ({others}). Name a repository of the encoder's own.")
        if info.private is public:
            now, flag = ("private", "leave out --public") if public else ("public", "add --public")
            raise ConfigError(f"{source}: is {now}. Change that on its page, or {flag}.")
        return str(_commit(api, parcel, there, info.sha).commit_url)
    except (CheckpointError, ConfigError):
        raise
    except Exception as error:  # which HTTP library raises, and what, differs between the hub's versions
        raise refusal(source, error) from error


def pull(repository: str, folder: Path, *, revision: str | None = None, force: bool = False) -> tuple[About, str]:
    """An encoder from the hub into a folder, whole or not at all; what it says of itself, and the commit that it is of.

    Its two or three files are fetched and no others, checked by the hashes they carry, and none can execute anything.
    force: in place of the encoder that the folder holds. Raises CheckpointError when the repository holds no encoder
    or a damaged one, when the hub refuses, or when the folder holds something else.
    """
    name = repository_of(repository)
    _require_place(folder, force=force)
    found = find_encoder(PREFIX + name, revision=revision)
    if found is None:
        raise CheckpointError(
            f"{PREFIX}{name}: holds no {FILES[0]}, so it is no encoder that `resight push` sent. A CLIP need not be "
            f"pulled: name it as {PREFIX}{name}."
        )
    folder = folder.resolve()
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as staging:
            new = Path(staging) / "new"
            new.mkdir()
            for file in FILES:
                if (found / file).is_file():
                    shutil.copyfile(found / file, new / file)
            try:
                check(new)
            except (CheckpointError, ConfigError) as error:
                raise CheckpointError(
                    f"{PREFIX}{name}: is not as it was pushed: {str(error).replace(f'{new}/', '').rstrip('.')}. Empty "
                    f"its cache with `hf cache rm model/{name}` and try again; else whoever owns it must push it again."
                ) from error
            swap(new, folder, Path(staging) / "old")
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error}). Free the disk or name another --out.") from error
    return read_about(folder), found.name


def check(folder: Path) -> About:
    """What the encoder in a folder says of itself, once it is known to be true.

    Raises CheckpointError for an export, and when the weights are not those that encoder.json names, or do not load;
    ConfigError when the calibration is another encoder's.
    """
    about = read_about(folder)
    if about.runtime:
        raise CheckpointError(f"{folder}: was exported. Name the encoder folder it was made from.")
    with (folder / "model.safetensors").open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != about.sha256:
            raise CheckpointError(f"{folder}/model.safetensors: is not the file that encoder.json was written with.")
    if Encoder.load(folder, device="cpu").fingerprint() != about.fingerprint:
        raise CheckpointError(f"{folder}/encoder.json: was changed since it was written: its fingerprint is another.")
    if about.calibrated:
        path = folder / calibration.FILE
        try:
            of = calibration.read(path).encoder
        except DataError as error:
            raise CheckpointError(str(error)) from error
        if of != about.fingerprint:
            raise ConfigError(f"{path}: was learned for encoder {of}, and this one is {about.fingerprint}. Remove it.")
    return about


def _require_place(folder: Path, *, force: bool) -> None:
    """Raises CheckpointError where an encoder must not be written."""
    if folder.exists() and not folder.is_dir():
        raise CheckpointError(f"{folder}: is a file. Name a folder with --out.")
    there = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    if there - {*FILES, CARD}:
        raise CheckpointError(f"{folder}: holds other files. Name an empty or new folder with --out.")
    if there and not force:
        raise CheckpointError(
            f"{folder}: holds an encoder. Name another folder with --out, or replace it with --force."
        )


def _commit(api: HfApi, parcel: Parcel, there: set[str], head: str | None) -> CommitInfo:
    """One commit: the files, the card, and without a calibration that was there and is not here."""
    from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete

    stale = there & set(FILES) - {file.name for file in parcel.files}
    operations: list[CommitOperationAdd | CommitOperationCopy | CommitOperationDelete] = [
        *(CommitOperationAdd(file.name, file) for file in parcel.files),
        CommitOperationAdd(CARD, parcel.card.encode()),
        *(CommitOperationDelete(name) for name in sorted(stale)),
    ]
    message = f"Encoder {parcel.about.fingerprint}, by resight push"
    return api.create_commit(parcel.repository, operations, commit_message=message, parent_commit=head)
