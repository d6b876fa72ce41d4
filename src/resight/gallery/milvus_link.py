"""Reaching Milvus: what a place means, a connection to it, and what it refuses, said in one line."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from resight.errors import GalleryError, NoGalleryError

os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # it prints what is raised anyway, and reads this when imported
try:
    import grpc  # type: ignore[import-untyped]
    from pymilvus import MilvusClient, MilvusException
except ImportError as error:
    raise GalleryError(f"Milvus needs another library ({error}). Install it: pip install 'resight[milvus]'") from error

CONNECT, ANSWER, MAINTAIN = 5, 60, 600
"""Seconds to wait: for a server at all, for an answer, and for flushing, loading or an index."""

_lite = Counter[str]()
"""Galleries that are open on each Lite file: pymilvus serves a file once a process, and the last one ends that."""


@dataclass(frozen=True, slots=True)
class Place:
    """said: what the user wrote. address: a URI, or the path of a Lite file. name: of the collection."""

    said: str
    address: str
    name: str

    @property
    def lite(self) -> Path | None:
        return None if "://" in self.address else Path(self.address)


def read_place(said: str) -> Place:
    """From milvus://HOST:PORT/NAME, milvus:https://HOST:PORT/NAME or milvus:FILE.db/NAME. Raises GalleryError."""
    address, _, name = said.removeprefix("milvus:").rpartition("/")
    served = re.fullmatch(r"(https:)?//([^/\s@:]+|\[[0-9a-fA-F:]+\])(:[0-9]{1,5})?", address) is not None
    if not served and (not address.endswith(".db") or "//" in address):
        raise GalleryError(f"{said}: expected milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME for Milvus Lite.")
    if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,199}", name) is None:
        raise GalleryError(f"{said}: name it with the letters a to z, digits and _, and no digit first.")
    return Place(said, f"http:{address}" if address.startswith("//") else address, name)


def connect(place: Place, *, new: bool) -> MilvusClient:
    """Raises GalleryError when nobody answers. new: a Lite file that is not there is made."""
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)  # they print tracebacks of what is raised anyway
    if place.lite is not None:
        _find_file(place, place.lite, new=new)
    client = _open(place)
    if place.lite is not None:
        _lite[str(place.lite.resolve())] += 1
    return client


def disconnect(place: Place, client: MilvusClient) -> None:
    client.close()
    if place.lite is None:
        return
    file = str(place.lite.resolve())
    _lite[file] -= 1
    if not _lite[file]:
        _release(place)


def reconnect(place: Place, client: MilvusClient) -> MilvusClient:
    """Opens a Lite file anew. After a full disk that alone shows what is in it: its log has what memory has lost."""
    client.close()
    _release(place)
    return _open(place)


def _open(place: Place) -> MilvusClient:
    try:
        return MilvusClient(place.address, token=os.environ.get("MILVUS_TOKEN", ""), timeout=CONNECT, dedicated=True)
    except (MilvusException, grpc.RpcError, ValueError) as error:
        raise _explained(place, error) from error


def _release(place: Place) -> None:
    from milvus_lite.server_manager import server_manager_instance

    server_manager_instance.release_server(place.address)


def asking(place: Place) -> Callable[..., Any]:
    """A function that calls pymilvus, and gives what goes wrong as a GalleryError."""

    def ask(what: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        try:
            return what(*arguments, **options)
        except (MilvusException, grpc.RpcError, grpc.FutureTimeoutError, ValueError) as error:
            raise _explained(place, error) from error

    return ask


def _find_file(place: Place, file: Path, *, new: bool) -> None:
    if not new and not file.exists():
        raise NoGalleryError(f"{place.said}: is no gallery. Make one with `resight gallery create {place.said}`.")
    try:
        file.mkdir(parents=True, exist_ok=True)  # a Lite "file" is a folder
    except OSError as error:
        raise GalleryError(f"{place.said}: {file} cannot be a folder ({error.strerror}). Name another.") from error


MEANINGS = {
    r"auth check failure|missing authorization|unauthenticated|invalid token|invalid user": "the server refuses who "
    "asks. Set the environment variable MILVUS_TOKEN to user:password, or to a key.",
    r"permission ?deny|permission ?denied|privilege": "the token does not allow this. Ask who runs the server.",
    r"no space left|quota exceeded|deny to write|force deny|insufficient memory|not enough memory": "has no room for "
    "more. Free some; nothing that was stored is lost.",
    r"fail connecting|unavailable|failed to connect|port out of range": "no Milvus server answers. Start it, or check "
    "host and port.",
    r"timeout|timed out|deadline": "the server did not answer in time. What was asked may or may not have been done; "
    "ask again.",
    r"unimplemented": "what answers there is no Milvus server. Check the port; Milvus' is 19530 by default.",
    r"not loaded|not fully loaded|no available shard": "is being loaded by the server. Try again in a minute.",
    r"collection not found|collection .* does not exist|can't find collection": "is gone from the server. Make it with "
    "`resight gallery create`.",
}
"""What Milvus says, without regard to case → what it means for who asked."""


def _explained(place: Place, error: Exception) -> GalleryError:
    said = _said(error)
    if "open local milvus failed" in said.lower():
        return GalleryError(f"{place.said}: {_why_not_open(place)}")
    # pymilvus calls everything that goes wrong first "fail connecting"; what it was, is behind that
    chain = " ".join([said, *(_said(cause) for cause in (error.__cause__, error.__context__) if cause is not None)])
    for pattern, meaning in MEANINGS.items():
        if re.search(pattern, chain, re.IGNORECASE):
            return GalleryError(f"{place.said}: {meaning}")
    return GalleryError(f"{place.said}: Milvus refuses ({said[:300]}). Its log may say more.")


def _said(error: BaseException) -> str:
    said = getattr(error, "message", None) or (error.details() if isinstance(error, grpc.RpcError) else None)
    return " ".join(str(said or error).split())


def _why_not_open(place: Place) -> str:
    """pymilvus does not say why it cannot serve a Lite file."""
    try:
        from milvus_lite import MilvusLite

        MilvusLite(place.address).close()
    except ImportError as error:
        return f"Milvus Lite cannot be loaded ({error}). Install it: pip install 'resight[milvus]'"
    except Exception as error:
        if "lock" in type(error).__name__.lower():
            return "is open in another process; a Lite file is open in one at a time. End that, or use a server."
        return f"cannot be opened ({' '.join(str(error).split())[:200]}). Mend that, or name another place."
    return "could not be opened. Try again."
