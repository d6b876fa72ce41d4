"""Runs a Milvus server in FOLDER for as long as the process PID lives, then deletes FOLDER. Writes FOLDER/address."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

from milvus import MilvusServer

QUICK = {
    # the defaults wait for what busy clusters need: answers for a tick of 0.2 s, loading for several seconds
    "proxy.timeTickInterval": 10,
    "queryCoord.checkInterval": 50,
    "queryCoord.distPullInterval": 50,
    "dataCoord.segment.assignmentExpiration": 100,
    "log.level": "error",
}


def main(folder: Path, watched: int) -> None:
    os.environ["ETCD_CONFIG_PATH"] = str(_etcd(folder))
    server = MilvusServer(wait_for_started=False)
    server.config.configs["data_dir"] = str(folder)
    for name, value in QUICK.items():
        server.config.set(name, value)
    server.start()
    process: subprocess.Popen[bytes] = server.server_proc
    try:
        threading.Thread(target=announce, args=(server, folder / "address"), daemon=True).start()
        while process.poll() is None and lives(watched):
            time.sleep(0.2)
    finally:
        process.kill()  # a server that is asked to stop takes a minute
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _etcd(folder: Path) -> Path:
    """Its configuration, with ports that are free: by default two servers on one machine want the same."""
    with socket.socket() as one, socket.socket() as other:
        for found in (one, other):
            found.bind(("127.0.0.1", 0))
        clients, peers = (f"http://127.0.0.1:{found.getsockname()[1]}" for found in (one, other))
    file = folder / "etcd.yaml"
    file.write_text(
        f"name: default\nlisten-client-urls: {clients}\nadvertise-client-urls: {clients}\n"
        f"listen-peer-urls: {peers}\ninitial-advertise-peer-urls: {peers}\ninitial-cluster: default={peers}\n"
    )
    return file


def announce(server: MilvusServer, file: Path) -> None:
    """Writes the file when the server can be used."""
    while True:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"http://127.0.0.1:{server.webservice_port}/healthz", timeout=5) as answer,
        ):
            if b"OK" in answer.read():
                break
        time.sleep(0.1)
    file.with_suffix(".new").write_text(f"127.0.0.1:{server.listen_port}")
    file.with_suffix(".new").replace(file)


def lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    if not os.fork():  # who started this need not wait for it
        os.setsid()
        main(Path(sys.argv[1]), int(sys.argv[2]))
