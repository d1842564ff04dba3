"""A stand-in for the hub: creates repositories and receives files, large ones as the hub does."""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_right"


class Hub(ThreadingHTTPServer):
    """Its content: repository -> file -> content, and whether it is private.

    Attributes:
        fails: method and path -> statuses that the next such requests are answered with.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.large: dict[str, bytes] = {}
        self.fails: dict[str, list[int]] = {}
        self.calls: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    server: Hub

    def log_message(self, *arguments: Any) -> None:
        """Logs nothing."""

    def answer(self, status: int, content: Any = None) -> None:
        body = b"" if content is None else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def handle_any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        call = f"{self.command} {self.path.partition('?')[0]}"
        self.server.calls.append(call)
        for place, statuses in self.server.fails.items():
            if re.fullmatch(place, call) and statuses:
                return self.answer(statuses.pop(0), {"error": "not now"})
        if self.path.startswith("/large/"):
            self.server.large[self.path.removeprefix("/large/")] = body
            return self.answer(200)
        if call == "HEAD /":
            return self.answer(200)
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            return self.answer(401, {"error": "Invalid username or password."})
        return self.route(call, body)

    do_GET = do_POST = do_PUT = do_HEAD = handle_any

    def route(self, call: str, body: bytes) -> None:
        hub = self.server
        if call == "POST /api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'user'}/{wanted['name']}"
            if name.startswith("others/"):
                return self.answer(403, {"error": "no rights"})
            url = {"url": f"{hub.address}/{name}", "name": name}
            if name in hub.files:
                return self.answer(409, {"error": "exists", **url})
            hub.files[name], hub.private[name] = {}, wanted.get("visibility") == "private"
            return self.answer(200, url)
        if call == "GET /api/whoami-v2":
            return self.answer(200, {"name": "user", "type": "user"})
        if call == "POST /api/validate-yaml":
            return self.answer(200, {"warnings": [], "errors": []})
        if found := re.fullmatch(r"POST /api/models/(.+)/preupload/main", call):
            files = [
                {"path": one["path"], "shouldIgnore": False,
                 "uploadMode": "lfs" if one["path"].endswith(".safetensors") else "regular"}
                for one in json.loads(body)["files"]
            ]  # fmt: skip
            return self.answer(200, {"files": files})
        if call.endswith(".git/info/lfs/objects/batch"):
            objects = [
                {"oid": one["oid"], "size": one["size"],
                 "actions": {"upload": {"href": f"{hub.address}/large/{one['oid']}"}}}
                for one in json.loads(body)["objects"]
            ]  # fmt: skip
            return self.answer(200, {"transfer": "basic", "objects": objects})
        if found := re.fullmatch(r"POST /api/models/(.+)/commit/main", call):
            self.commit(found[1], body)
            return self.answer(200, {
                "commitUrl": f"{hub.address}/{found[1]}/commit/0123456789",
                "commitOid": "0123456789", "success": True, "pullRequestUrl": None,
            })  # fmt: skip
        if found := re.fullmatch(r"HEAD /(.+)/resolve/main/(.+)", call):
            return self.head(found[1], found[2])
        return self.answer(404, {"error": call})

    def commit(self, name: str, body: bytes) -> None:
        for line in body.decode().splitlines():
            one = json.loads(line)
            if one["key"] == "file":
                content = base64.b64decode(one["value"]["content"])
                self.server.files[name][one["value"]["path"]] = content
            elif one["key"] == "lfsFile":
                content = self.server.large[one["value"]["oid"]]
                self.server.files[name][one["value"]["path"]] = content

    def head(self, name: str, file: str) -> None:
        content = self.server.files.get(name, {}).get(file)
        self.send_response(200 if content is not None else 404)
        if content is None:
            self.send_header("X-Error-Code", "EntryNotFound")
        else:
            self.send_header("ETag", '"0"')
            self.send_header("X-Repo-Commit", "0" * 40)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A hub that runs during the block."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()
