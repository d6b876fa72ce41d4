"""A hub on this machine: the routes that huggingface_hub uses to make a repository, to commit to it and to read it.

What it answers follows huggingface_hub 2.4.0, which is the client; storage is a dictionary, and weights take the
way of large files (LFS).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from huggingface_hub import constants


@dataclass
class Repository:
    """commits: their hashes, each with all its files, the newest last."""

    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return list(self.commits)[-1]

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.head]

    def commit(self, files: dict[str, bytes]) -> str:
        name = hashlib.sha1(repr((len(self.commits), sorted(files.items()))).encode()).hexdigest()
        self.commits[name] = files
        return name


class Hub(ThreadingHTTPServer):
    """tokens: those it knows, and whether they may write. refuse: status with which it answers a path that matches.
    gated: repositories with terms that nobody has accepted.

    cut: how many downloads of weights still to break off in their middle. asked: what was asked for, in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.tokens = {"hf_writes": True, "hf_reads": False}
        self.refuse: dict[str, int] = {}
        self.gated: set[str] = set()
        self.cut = 0
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, files: dict[str, bytes], *, private: bool = False) -> Repository:
        self.repositories[name] = Repository(private)
        self.repositories[name].commit(files)
        return self.repositories[name]


class RefusedError(Exception):
    """status, and the header by which the client tells one 404 from another."""


class Request(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def __getattr__(self, name: str) -> Any:
        """Every method, do_GET and the others, is answered in one place."""
        if name.startswith("do_"):
            return self.answer
        raise AttributeError(name)

    def answer(self) -> None:
        place = unquote(urlsplit(self.path).path)
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.asked.append(f"{self.command} {place}")
        for pattern, status in self.server.refuse.items():
            if re.search(pattern, place):
                return self.send(status, b"{}")
        try:
            if self.token is not None and self.token not in self.server.tokens:
                raise RefusedError(401, "", "Invalid credentials in Authorization header")
            for pattern, route in ROUTES.items():
                match = re.fullmatch(pattern, place)
                if match is not None:
                    return route(self, *match.groups())
            raise RefusedError(404, "")
        except RefusedError as refused:
            status, code, *message = refused.args
            headers = {"X-Error-Code": code} | ({"X-Error-Message": message[0]} if message else {})
            return self.send(status, b"{}", {name: value for name, value in headers.items() if value})

    @property
    def token(self) -> str | None:
        return (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None

    def repository(self, name: str, *, to_write: bool = False) -> Repository:
        found = self.server.repositories.get(name)
        if found is None or (found.private and self.token is None):
            raise RefusedError(404 if self.token else 401, "RepoNotFound")
        if name in self.server.gated:
            raise RefusedError(403, "GatedRepo")
        if to_write and not self.server.tokens.get(self.token or ""):
            raise RefusedError(403 if self.token else 401, "")
        return found

    def commit_of(self, repository: Repository, revision: str) -> str:
        revision = repository.head if revision == "main" else revision
        if revision not in repository.commits:
            raise RefusedError(404, "RevisionNotFound")
        return revision

    def create(self) -> None:
        wanted = json.loads(self.body)
        name = f"{wanted['organization']}/{wanted['name']}"
        if not self.server.tokens.get(self.token or ""):
            raise RefusedError(403 if self.token else 401, "")
        if name in self.server.repositories:
            raise RefusedError(409, "")
        self.server.add(name, {".gitattributes": b""}, private=wanted["visibility"] == "private")
        self.send_json({"url": f"{self.server.url}/{name}", "name": name})

    def describe(self, name: str, revision: str | None) -> None:
        repository = self.repository(name)
        commit = self.commit_of(repository, revision or "main")
        siblings = [{"rfilename": file} for file in repository.commits[commit]]
        self.send_json({"id": name, "private": repository.private, "sha": commit, "siblings": siblings, "tags": []})

    def check_card(self) -> None:
        assert json.loads(self.body)["content"].startswith("---\n")
        self.send_json({"errors": [], "warnings": []})

    def sort_out(self, name: str, _: str) -> None:
        self.repository(name, to_write=True)
        files = json.loads(self.body)["files"]
        modes = {True: "lfs", False: "regular"}
        told = [
            {"path": f["path"], "uploadMode": modes[f["path"].endswith(".safetensors")], "shouldIgnore": False}
            for f in files
        ]
        self.send_json({"files": told})

    def plan_large(self, name: str) -> None:
        self.repository(name, to_write=True)
        objects = [
            {"oid": one["oid"], "size": one["size"]}
            | (
                {}
                if one["oid"] in self.server.large
                else {"actions": {"upload": {"href": f"{self.server.url}/large/{one['oid']}"}}}
            )
            for one in json.loads(self.body)["objects"]
        ]
        self.send_json({"transfer": "basic", "objects": objects})

    def store_large(self, oid: str) -> None:
        assert hashlib.sha256(self.body).hexdigest() == oid
        self.server.large[oid] = self.body
        self.send(200, b"")

    def commit(self, name: str, revision: str) -> None:
        repository = self.repository(name, to_write=True)
        files = dict(repository.commits[self.commit_of(repository, revision)])
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "header" and value.get("parentCommit", repository.head) != repository.head:
                raise RefusedError(412, "")
            if item["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                files[value["path"]] = self.server.large[value["oid"]]
            elif item["key"] == "deletedFile":
                del files[value["path"]]
        commit = repository.commit(files)
        self.send_json({"commitUrl": f"{self.server.url}/{name}/commit/{commit}", "commitOid": commit})

    def give(self, name: str, revision: str, file: str) -> None:
        repository = self.repository(name)
        commit = self.commit_of(repository, revision)
        content = repository.commits[commit].get(file)
        headers = {"X-Repo-Commit": commit}
        if content is None:
            return self.send(404, b"", headers | {"X-Error-Code": "EntryNotFound"})
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
        start = int(asked[1]) if asked else 0
        headers |= {"ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        if start:
            headers |= {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"}
        cut = self.command == "GET" and file == "model.safetensors" and self.server.cut > 0
        self.server.cut -= cut
        return self.send(206 if start else 200, content[start:], headers, cut=cut)

    def send_json(self, value: Any) -> None:
        self.send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def send(self, status: int, content: bytes, headers: dict[str, str] | None = None, *, cut: bool = False) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        self.close_connection = self.close_connection or cut

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


NAME = r"([^/]+/[^/]+)"
ROUTES = {
    r"/api/repos/create": Request.create,
    rf"/api/models/{NAME}(?:/revision/(.+))?": Request.describe,
    r"/api/validate-yaml": Request.check_card,
    rf"/api/models/{NAME}/preupload/(.+)": Request.sort_out,
    rf"/{NAME}\.git/info/lfs/objects/batch": Request.plan_large,
    r"/large/(\w+)": Request.store_large,
    rf"/api/models/{NAME}/commit/(.+)": Request.commit,
    rf"/{NAME}/resolve/([^/]+)/(.+)": Request.give,
}


@contextmanager
def running_hub(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the library asks in place of the real one, with a token that may write and an empty cache in `folder`.

    Waiting between the library's attempts is left out, and its second protocol for large files, which this hub has not.
    """
    server = Hub()
    for name, value in {
        "ENDPOINT": server.url,
        "HUGGINGFACE_CO_URL_TEMPLATE": server.url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_TOKEN_PATH": str(folder / "token"),
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
    }.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setenv("HF_TOKEN", "hf_writes")
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
