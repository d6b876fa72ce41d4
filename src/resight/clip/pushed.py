"""Encoders on the Hugging Face hub, as `resight push` leaves them: from there into the hub's cache."""

from __future__ import annotations

import re
from pathlib import Path

from resight.errors import CheckpointError

# What is taken from a repository, and nothing else: the first two must be there, the third may be.
FILES = ("encoder.json", "model.safetensors", "calibration.json")

PREFIX = "hf-hub:"
ANSWER_SECONDS = 10  # until the hub counts as out of reach


def find_encoder(source: str | Path, *, revision: str | None = None) -> Path | None:
    """The encoder folder that a source names: a folder here, or hf-hub:owner/name in the hub's cache; None for neither.

    What the cache lacks is downloaded, from one commit; revision: a branch, tag or commit, the main branch unless said.
    Without a network the cache serves. Raises CheckpointError when the hub refuses or cannot be reached.
    """
    if (Path(source) / FILES[0]).is_file():
        return Path(source)
    if not str(source).startswith(PREFIX):
        return None
    repository = repository_of(str(source))
    from huggingface_hub import HfApi, hf_hub_download

    try:
        try:
            info = HfApi().model_info(repository, revision=revision, timeout=ANSWER_SECONDS)
        except Exception as error:  # which HTTP library raises, and what, differs between the hub's versions
            if not _is_out_of_reach(error):
                raise
            return _cached(str(source), repository, revision, error)
        there = [name for name in FILES if name in {file.rfilename for file in info.siblings or ()}]
        if FILES[0] not in there:
            return None
        if FILES[1] not in there:
            raise CheckpointError(f"{source}: holds {FILES[0]} and no {FILES[1]}. Whoever owns it must push it again.")
        # the first by its branch, so that the cache remembers where it ended; the others from the same commit
        folder = Path(hf_hub_download(repository, FILES[0], revision=revision)).parent
        for name in there[1:]:
            hf_hub_download(repository, name, revision=folder.name)
    except CheckpointError:
        raise
    except Exception as error:
        raise refusal(str(source), error) from error
    return folder


def repository_of(source: str) -> str:
    """owner/name of hf-hub:owner/name. Raises CheckpointError for another form."""
    repository = source.removeprefix(PREFIX)
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", repository):
        raise CheckpointError(f"{source}: not of the form hf-hub:owner/name. Give a repository of the hub in full.")
    return repository


def refusal(source: str, error: Exception) -> CheckpointError:
    """One line for what the hub, or the way to it, refused; source: hf-hub:owner/name, which it begins with."""
    from huggingface_hub import get_token
    from huggingface_hub.errors import (
        GatedRepoError,
        HFValidationError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    if isinstance(error, RuntimeError) and isinstance(error.__cause__, Exception):
        error = error.__cause__  # of a thread that sent a file
    repository, status = source.removeprefix(PREFIX), _status(error)
    reason = " ".join(str(error).split()).partition(" For more information")[0].rstrip(".") or type(error).__name__
    if isinstance(error, GatedRepoError):
        what = "its owner asks to accept terms first. Do so on its page, then `hf auth login` or set HF_TOKEN."
    elif isinstance(error, RepositoryNotFoundError):
        what = (
            f"the hub shows no repository {repository}. Check the name; one that is private, or has terms to accept, "
            "needs `hf auth login` or HF_TOKEN."
        )
    elif isinstance(error, RevisionNotFoundError):
        what = "has no such revision. Name a branch, a tag or a commit that its page shows."
    elif isinstance(error, HFValidationError):
        what = f"is no name for a repository ({reason})."
    elif status == 401 and get_token() is None:
        what = "the hub wants to know who asks. Log in with `hf auth login`, or set HF_TOKEN."
    elif status == 401:
        what = "the hub does not accept the token. Log in again with `hf auth login`, or correct HF_TOKEN."
    elif status == 403:
        what = "the token may not do that. Make one that may, on the hub's page of tokens, and set HF_TOKEN."
    elif "header" in reason or isinstance(error, UnicodeError):  # the reason would show the token, or a part of it
        what = "the token holds characters that no token has. Correct HF_TOKEN."
    elif isinstance(error, OfflineModeIsEnabled):
        what = "HF_HUB_OFFLINE is set. Unset it, where there is a network."
    elif _is_of_the_disk(error):
        what = f"the hub's cache cannot be written ({reason}). Free the disk, or name another place with HF_HOME."
    elif _is_out_of_reach(error):
        what = f"the hub cannot be reached ({reason[:200]}). Check the network, HF_ENDPOINT and proxies."
    else:
        what = f"the hub refused ({reason[:300]})."
    return CheckpointError(f"{source}: {what}")


def _cached(source: str, repository: str, revision: str | None, error: Exception) -> Path | None:
    """The folder in the cache; None where the cache holds a CLIP of this name. Raises CheckpointError for neither."""
    from huggingface_hub import try_to_load_from_cache

    encoder, weights, *clips = (
        try_to_load_from_cache(repository, name, revision=revision)
        for name in (*FILES[:2], "open_clip_config.json", "config.json")
    )
    if isinstance(encoder, str) and isinstance(weights, str):
        return Path(encoder).parent
    if any(isinstance(clip, str) for clip in clips):
        return None
    raise CheckpointError(f"{refusal(source, error)} The hub's cache here does not hold it either.") from error


def _is_out_of_reach(error: Exception) -> bool:
    """Whether nobody answered, or a machine on the way, or the hub with a fault of its own."""
    status = _status(error)
    if status is not None:
        return status >= 500
    if _is_of_the_disk(error):
        return False
    return isinstance(error, OSError) or type(error).__module__.split(".")[0] in ("httpx", "httpx2")


def _is_of_the_disk(error: Exception) -> bool:
    """Whether Python itself raised it for a file: the libraries' errors of the network may derive from OSError too."""
    own = isinstance(error, OSError) and type(error).__module__ == "builtins"
    return own and not isinstance(error, ConnectionError | TimeoutError)


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that an error stems from."""
    while error is not None:
        status = getattr(getattr(error, "response", None), "status_code", None)
        if isinstance(status, int):
            return status
        error = error.__cause__
    return None
