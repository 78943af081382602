"""Imitates the Hugging Face Hub for uploads, on loopback: commits go into a folder."""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@contextmanager
def hub(folder: Path) -> Iterator[str]:
    """Serves a hub whose repositories are folders; yields its address.

    Files are sent in the commit itself: this hub asks for no large-file storage.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = re.split("/api/(?:datasets|models)/", self.path)[-1].split("?")[0]
            home = folder / name.split("/revision/")[0].split("/tree/")[0]
            if not home.is_dir():
                self.answer({"error": "Repository not found"}, 404)
            elif "/tree/" in name:
                files = [{"type": "file", "path": f.name, "oid": "0", "size": f.stat().st_size}
                         for f in home.iterdir()]  # fmt: skip
                self.answer(files)
            else:
                self.answer({"id": name, "sha": "0" * 40, "siblings": [
                    {"rfilename": f.name} for f in home.iterdir()]})  # fmt: skip

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path == "/api/repos/create":
                wanted = json.loads(body)
                name = f"{wanted.get('organization', 'me')}/{wanted['name']}"
                (folder / name).mkdir(parents=True, exist_ok=True)
                self.answer({"url": f"{address}/datasets/{name}", "name": name})
            elif "/preupload/" in self.path:
                files = json.loads(body)["files"]
                self.answer({"files": [{"path": f["path"], "uploadMode": "regular",
                                        "shouldIgnore": False} for f in files]})  # fmt: skip
            elif "/commit/" in self.path:
                home = folder / re.split("/api/(?:datasets|models)/|/commit/", self.path)[1]
                for line in body.splitlines():
                    self.apply(home, json.loads(line))
                place = self.path.split("/commit/")[0].split("/api/")[1].removeprefix("models/")
                self.answer({"commitUrl": f"https://huggingface.co/{place}/commit/1", "commitOid": "1" * 40,
                             "hookOutput": "", "success": True})  # fmt: skip
            elif self.path.startswith("/api/validate-yaml"):
                self.answer({"errors": [], "warnings": []})
            else:
                self.answer({"error": f"not served: {self.path}"}, 404)

        def apply(self, home: Path, operation: dict[str, Any]) -> None:
            value = operation["value"]
            if operation["key"] == "file":
                assert value["encoding"] == "base64"
                (home / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif operation["key"] == "deletedFile":
                (home / value["path"]).unlink()

        def answer(self, value: Any, status: int = 200) -> None:
            content = json.dumps(value).encode()
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "RepoNotFound")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield address
    finally:
        server.shutdown()
        server.server_close()
