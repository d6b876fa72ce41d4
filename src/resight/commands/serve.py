"""`resight serve`."""

from __future__ import annotations

import importlib.util
import logging
import os
import signal
import socket
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from resight.commands.arguments import EmbedArguments, say_slow
from resight.commands.filling import PicturesArguments, begin, fill
from resight.environment import Precision
from resight.errors import ConfigError, NoGalleryError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from resight.embedder import Embedder
    from resight.gallery.rows import Gallery

TOKEN = "RESIGHT_TOKEN"
LIBRARIES = ("fastapi", "uvicorn", "python_multipart", "prometheus_client")
STOP_SECONDS = 30  # that requests may take to end, once the service is told to stop


@dataclass(frozen=True, slots=True)
class ServeCommand:
    """Serve a gallery: a page to search it by picture or words, and the same over HTTP for programs.

    With --data the pictures are added first, and a place without a gallery becomes one, so that one command leads from
    a folder to the page. `resight gallery create` and `resight gallery add` can do more.

    Where the environment variable RESIGHT_TOKEN is set, clients must show it; on any address but this machine's own it
    must be set. Ctrl-C and SIGTERM stop the service once what it began is done.
    """

    gallery: tyro.conf.Positional[str]
    """The gallery's folder, milvus://HOST:PORT/NAME, or milvus:FILE.db/NAME."""
    data: Path | None = None
    """Pictures to add first: a folder, a table, or a benchmark's root. What is there already is not embedded again."""
    size: tuple[int, int] | None = None
    """Height and width of the pictures in pixels, where --data makes the gallery with a CLIP (default: the one it was
    trained at); persons: 256 128."""
    host: str = "127.0.0.1"
    """Address to listen on; 127.0.0.1 is reached from this machine alone, 0.0.0.0 from others too."""
    port: int = 8008
    """Port to listen on; 0 takes a free one."""
    encoder: str | None = None
    """What turns pictures into vectors (default: what the gallery was made with; it must be the same encoder). Where
    --data makes the gallery it is needed: an encoder folder, an alias (openai:ViT-B-16), resight-mini, and so on."""
    read_only: bool = False
    """Refuse to add and to remove."""
    max_bytes: int = 10_000_000
    """Bytes of one request, with all its pictures."""
    max_pixels: int = 25_000_000
    """Pixels of one picture."""
    queue: int = 64
    """Requests that may wait to be embedded; further ones are told to come back later (503)."""
    batch_size: int = 32
    """Pictures and texts computed at a time."""
    batch_wait: float = 0.005
    """Seconds that a request waits for others, to be computed together."""
    device: str = "auto"
    """auto (a GPU where there is one), cpu, or a PyTorch device such as cuda:1."""
    precision: Precision = "float32"
    """float32; bf16 is several times faster on processors and GPUs that multiply in it, at a cosine above 0.999."""
    access_log: bool = False
    """Print a line for every request."""


def serve(arguments: ServeCommand) -> int:
    missing = [name for name in LIBRARIES if importlib.util.find_spec(name) is None]
    if missing:
        raise ConfigError(f'{", ".join(missing)}: not installed. Run: pip install "resight[serve]"')
    from resight.service.app import ServeConfig, create_app
    from resight.service.guard import is_loopback

    token = os.environ.get(TOKEN) or None
    if token is None and not is_loopback(arguments.host):
        raise ConfigError(
            f"--host {arguments.host}: others can reach this address. Set {TOKEN} to a long random text, which "
            "clients must show; or listen on 127.0.0.1."
        )
    if not 0 <= arguments.port <= 65535:  # of a larger number the system takes the rest
        raise ConfigError(f"--port {arguments.port}: 0 to 65535.")
    config = ServeConfig(
        token=token,
        read_only=arguments.read_only,
        max_bytes=arguments.max_bytes,
        max_pixels=arguments.max_pixels,
        queue=arguments.queue,
        batch_size=arguments.batch_size,
        batch_wait=arguments.batch_wait,
        precision=arguments.precision,
    )
    with listen(arguments.host, arguments.port) as listener:  # first: that a port is taken is said at once
        pictures = None if arguments.data is None else PicturesArguments(arguments.data).read()
        gallery, encoder = _opened(arguments)
        with closing(gallery):
            if pictures is not None:
                how = EmbedArguments(precision=arguments.precision)
                if (status := fill(gallery, encoder, pictures, how, place=arguments.gallery, as_json=False)) > 1:
                    return status
            else:
                say_slow(encoder, arguments.precision)
            run(create_app(gallery, encoder, config), listener, access_log=arguments.access_log)
    return 0


def _opened(arguments: ServeCommand) -> tuple[Gallery, Embedder]:
    """The gallery and its encoder; a new one where there is none, and pictures for it are named."""
    from resight.gallery.store import open_gallery
    from resight.opening import open_encoder

    try:
        gallery = open_gallery(arguments.gallery)
    except NoGalleryError as error:
        if arguments.data is None:
            raise
        if arguments.encoder is None:
            raise ConfigError(
                f"{arguments.gallery}: is no gallery yet, and nothing says what turns the pictures of --data into "
                "vectors. Name it, as --encoder runs/mine/encoder, or --encoder resight-mini."
            ) from error
        options = {} if arguments.size is None else {"size": arguments.size}
        return begin(arguments.gallery, arguments.encoder, device=arguments.device, options=options)
    if arguments.size is not None:
        place = arguments.gallery
        raise ConfigError(f"--size: {place} is a gallery already, with the size it was made with. Leave it out.")
    return gallery, open_encoder(gallery, source=arguments.encoder, device=arguments.device)


def run(app: FastAPI, listener: socket.socket, *, access_log: bool) -> None:
    """Prints the address, and answers until a signal comes and what has begun is done."""
    import uvicorn

    logging.getLogger("python_multipart").setLevel(logging.ERROR)  # it warns of every form that is none
    if access_log:
        access = logging.getLogger("uvicorn.access")
        access.addHandler(logging.StreamHandler())
        access.setLevel(logging.INFO)
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=access_log,
            server_header=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
    )

    def stop(*_: object) -> None:
        server.should_exit = True

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)  # uvicorn raises what it caught once more, when all is done
    host, port = listener.getsockname()[:2]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    server.run(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens on the address. Raises ConfigError when none can."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen()
        except OSError:
            listener.close()
            raise
    except OSError as error:
        raise ConfigError(f"--host {host} --port {port}: cannot be listened on ({error}). Choose another.") from error
    return listener
