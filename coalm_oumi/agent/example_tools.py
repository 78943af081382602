"""The tools of `recipes/chat/own_tools.yaml`: a Python function, and a small HTTP endpoint.

`python -m coalm_oumi.agent.example_tools PORT` serves the endpoint on this machine.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from coalm_oumi.core.jsontext import Json, dumps, loads

_MAX_BODY = 100_000
_FEET = 3.28084


def convert_length(metres: float) -> Json:
    """Converts metres to feet."""
    return {"feet": round(metres * _FEET, 2)}


class NotesHandler(BaseHTTPRequestHandler):
    """Answers `AddNote` and `ListNotes`."""

    def do_POST(self) -> None:
        """Answers one tool call."""
        length = min(int(self.headers.get("Content-Length", 0)), _MAX_BODY)
        try:
            request = loads(self.rfile.read(length).decode())
            status, answer = 200, self._answer(request["name"], request["arguments"])
        except (ValueError, KeyError, TypeError) as error:
            status, answer = 400, {"error": str(error)}
        body = dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _answer(self, name: str, arguments: Json) -> Json:
        assert isinstance(self.server, NotesServer)
        notes = self.server.notes
        if name == "AddNote":
            notes.append(str(arguments["text"]))
            return {"status": "success", "notes": len(notes)}
        if name == "ListNotes":
            return {"notes": notes}
        raise ValueError(f"no tool {name}")

    def log_message(self, format: str, *arguments: object) -> None:
        """Keeps the terminal quiet."""


class NotesServer(ThreadingHTTPServer):
    """The endpoint, which listens on this machine only. It keeps its notes in memory."""

    def __init__(self, port: int) -> None:
        """Listens. The server answers once `serve_forever` runs."""
        super().__init__(("127.0.0.1", port), NotesHandler)
        self.notes: list[str] = []


if __name__ == "__main__":
    NotesServer(int(sys.argv[1])).serve_forever()
