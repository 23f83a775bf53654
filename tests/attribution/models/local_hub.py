"""A small HTTP server that answers as a model hub does, for one repository in a local folder."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

COMMIT = "0" * 40


@contextmanager
def local_hub(repository: str, folder: Path) -> Iterator[str]:
    """Serve `folder` as `repository`; yields the endpoint's address. Anything else is a 404."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(repository, folder))
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(repository: str, folder: Path) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(with_body=True)

        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def log_message(self, format: str, *args: object) -> None:
            """Keep test output clean."""

        def _answer(self, *, with_body: bool) -> None:
            path = self.path.split("?")[0]
            file = _file_of(repository, path)
            api = f"/api/models/{repository}"
            if path in (api, f"{api}/revision/main", f"{api}/revision/{COMMIT}"):
                self._send(json.dumps(_about(repository, folder)).encode(), "application/json", with_body)
            elif file is not None and (folder / file).is_file():
                self._send((folder / file).read_bytes(), "application/octet-stream", with_body)
            else:
                known = path.startswith((f"/{repository}/", f"{api}/"))
                code = "EntryNotFound" if known else "RepoNotFound"
                self.send_response(404)
                self.send_header("X-Error-Code", code)
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, body: bytes, kind: str, with_body: bool) -> None:
            start, end = 0, len(body) - 1
            if wanted := self.headers.get("Range"):
                first, _, last = wanted.removeprefix("bytes=").partition("-")
                start, end = int(first), int(last or end)
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{end}/{len(body)}")
            else:
                self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(end - start + 1))
            self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Accept-Ranges", "bytes")
            self.end_headers()
            if with_body:
                self.wfile.write(body[start : end + 1])

    return Handler


def _file_of(repository: str, path: str) -> str | None:
    """The file in `/<repository>/resolve/<revision>/<file>`, for the one commit there is."""
    for revision in ("main", COMMIT):
        prefix = f"/{repository}/resolve/{revision}/"
        if path.startswith(prefix):
            return path.removeprefix(prefix)
    return None


def _about(repository: str, folder: Path) -> dict[str, object]:
    files = [{"rfilename": str(f.relative_to(folder))} for f in sorted(folder.rglob("*")) if f.is_file()]
    return {"id": repository, "modelId": repository, "sha": COMMIT, "siblings": files, "tags": [], "private": False}
