"""A model hub on this machine: the part of the HTTP API that a download needs, with faults.

Like the real hub it knows each file's size and hashes, sends large files (`*.safetensors`) from
another host, and supports ranges. `sent` counts the bytes of each file that were sent, `served`
lists the ranges, and `most_at_once` is the most files or ranges on their way at a time.
"""

import functools
import hashlib
import json
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

MAIN = "main"
INFO = "the repository itself"  # for faults of the API, not of a file
_STEP = 1 << 16

_OTHER_BYTES = bytes(byte ^ 1 for byte in range(256))


@dataclass
class Break:
    """Sends `after` bytes of the body, and closes the connection."""

    after: int


@dataclass
class Hold:
    """Sends `after` bytes of the body, and the rest once `go_on` is set."""

    after: int
    go_on: threading.Event = field(default_factory=threading.Event)


@dataclass
class Wrong:
    """Sends a wrong body of the right length."""


@dataclass
class Endless:
    """Sends the file, and then more until the client hangs up."""


@dataclass
class Refuse:
    """Answers with an error status, and the code that the hub has for the reason."""

    status: int
    code: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class NoRanges:
    """Sends the whole file, whatever range was requested."""


@dataclass
class Slow:
    """Sends `rate` bytes a second."""

    rate: int


Fault = Slow | Break | Hold | Wrong | Endless | Refuse | NoRanges


@dataclass
class Repo:
    """A repository: its commits by hash, and its branches and tags."""

    kind: str = "models"
    gated: bool = False
    called: str = ""  # its name on the hub, if it has been renamed
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    revisions: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, int] = field(default_factory=dict)  # false sizes to announce
    terse: bool = False  # lists files without size and hash, as some mirrors do

    def commit(self, files: Mapping[str, bytes], revision: str = MAIN) -> str:
        """Commit `files` to a branch, and return the commit."""
        commit = hashlib.sha1(repr((len(self.commits), sorted(files))).encode()).hexdigest()
        self.commits[commit] = dict(files)
        self.revisions[revision] = commit
        return commit

    def at(self, revision: str) -> str | None:
        return revision if revision in self.commits else self.revisions.get(revision)


@dataclass
class FakeHub:
    """A running hub. Each answer about a file uses up one of its `faults`.

    A connection gets `rate` bytes a second, if that is not 0. Beyond `limit` files or ranges at a
    time, the other host refuses. An address on that host can be used once.
    """

    url: str
    other_host: str
    token: str = ""  # that it requires
    repos: dict[str, Repo] = field(default_factory=lambda: defaultdict(Repo))
    faults: dict[str, deque[Fault]] = field(default_factory=lambda: defaultdict(deque))
    sent: Counter[str] = field(default_factory=Counter)
    asked: list[str] = field(default_factory=list)
    leaked: list[str] = field(default_factory=list)  # tokens that reached the other host
    rate: int = 0
    limit: int = 1000
    without_ranges: Fault | None = None  # how every request for a range fails, if it does
    served: list[tuple[str, int, int]] = field(default_factory=list)  # file, start, end
    most_at_once: int = 0
    refused: int = 0
    addresses: set[str] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    at_once: int = 0

    def fails(self, file: str, *faults: Fault) -> None:
        self.faults[file].extend(faults)

    def fault(self, file: str) -> Fault | None:
        with self.lock:
            return self.faults[file].popleft() if self.faults[file] else None

    def sign(self) -> str:
        """Return what makes an address on the other host valid, once."""
        with self.lock:
            self.addresses.add(signature := f"signature={len(self.asked)}-{len(self.addresses)}")
        return signature

    def is_valid(self, signature: str) -> bool:
        with self.lock:
            if signature not in self.addresses:
                return False
            self.addresses.remove(signature)
            return True

    @contextmanager
    def serving(self) -> Iterator[bool]:
        """Count a file or range on its way, and say whether it may be sent."""
        with self.lock:
            self.at_once += 1
            allowed = self.at_once <= self.limit
            if allowed:
                self.most_at_once = max(self.most_at_once, self.at_once)
            self.refused += not allowed
        try:
            yield allowed
        finally:
            with self.lock:
                self.at_once -= 1


@contextmanager
def fake_hub() -> Iterator[FakeHub]:
    """Run a hub until the block ends."""

    class Handler(_Handler):
        pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        port = server.server_address[1]
        hub = FakeHub(f"http://127.0.0.1:{port}", f"http://localhost:{port}")
        Handler.hub = hub
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            for faults in hub.faults.values():
                faults.clear()
            server.shutdown()
            thread.join()


def is_large(name: str) -> bool:
    return name.endswith(".safetensors")


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: FakeHub

    def do_HEAD(self) -> None:
        self._route()

    def do_GET(self) -> None:
        self._route()

    def log_message(self, *args: object) -> None:
        pass

    def _route(self) -> None:
        address = urlsplit(self.path)
        path = address.path.removeprefix("/")
        self.hub.asked.append(f"{self.command} /{path}")
        if path.startswith("api/"):
            self._info(*path.removeprefix("api/").partition("/")[::2])
        elif path.startswith("cdn/"):
            if token := self.headers.get("authorization"):
                self.hub.leaked.append(token)
            repo, _, rest = path.removeprefix("cdn/").partition("/at/")
            commit, _, name = rest.partition("/")
            with self.hub.serving() as allowed:
                if not self.hub.is_valid(address.query):
                    self._refuse(Refuse(403))
                elif not allowed:
                    self._refuse(Refuse(503, headers={"Retry-After": "0"}))
                else:
                    self._file(name, self.hub.repos[repo].commits[commit][name])
        elif "/resolve/" in path:
            repo, _, rest = path.partition("/resolve/")
            revision, _, name = rest.partition("/")
            self._resolve(repo, unquote(revision), unquote(name))
        else:
            self._refuse(Refuse(404))

    def _known(self, name: str, kind: str) -> Repo | None:
        """Return the repository, or refuse like the hub, which hides private ones."""
        repo = self.hub.repos.get(name)
        token = self.headers.get("authorization", "").removeprefix("Bearer ")
        if self.hub.token and token and token != self.hub.token:
            message = {"X-Error-Message": "Invalid credentials in Authorization header"}
            self._refuse(Refuse(401, headers=message))
        elif repo is None or repo.kind != kind or (self.hub.token and token != self.hub.token):
            self._refuse(Refuse(404 if token else 401, "RepoNotFound"))
        else:
            return repo
        return None

    def _info(self, kind: str, rest: str) -> None:
        name, _, revision = rest.partition("/revision/")
        if isinstance(fault := self.hub.fault(INFO), Refuse):
            self._refuse(fault)
        elif (repo := self._known(name, kind)) is None:
            pass
        elif (commit := repo.at(unquote(revision) or MAIN)) is None:
            self._refuse(Refuse(404, "RevisionNotFound"))
        else:
            files = repo.commits[commit].items()
            siblings = [_sibling(file, data, repo.sizes.get(file)) for file, data in files]
            if repo.terse:
                siblings = [{"rfilename": file} for file, _ in files]
            reply = {"id": repo.called or name, "sha": commit, "siblings": siblings}
            self._send(200, json.dumps(reply).encode(), {"Content-Type": "application/json"})

    def _resolve(self, name: str, revision: str, file: str) -> None:
        if (repo := self._known(name, "models")) is None:
            return
        if repo.gated:
            self._refuse(Refuse(403, "GatedRepo"))
        elif (commit := repo.at(revision)) is None:
            self._refuse(Refuse(404, "RevisionNotFound"))
        elif file not in repo.commits[commit]:
            self._refuse(Refuse(404, "EntryNotFound"))
        elif is_large(file):
            location = f"{self.hub.other_host}/cdn/{name}/at/{commit}/{file}?{self.hub.sign()}"
            content = repo.commits[commit][file]
            linked = {"X-Linked-Etag": _etag(file, content), "X-Linked-Size": str(len(content))}
            self._send(302, b"", {"Location": location, "X-Repo-Commit": commit, **linked})
        else:
            self._file(file, repo.commits[commit][file])

    def _file(self, name: str, content: bytes) -> None:
        fault = self.hub.fault(name)
        if "range" in self.headers:
            fault = self.hub.without_ranges or fault
        if isinstance(fault, Refuse):
            self._refuse(fault)
            return
        first, _, last = self.headers.get("range", "bytes=0-").removeprefix("bytes=").partition("-")
        start, end = int(first), int(last or len(content) - 1) + 1
        status, headers = 206, {"Content-Range": f"bytes {start}-{end - 1}/{len(content)}"}
        if isinstance(fault, NoRanges) or "range" not in self.headers:
            status, headers, start, end = 200, {}, 0, len(content)
        with self.hub.lock:
            self.hub.served.append((name, start, end))
        rate = fault.rate if isinstance(fault, Slow) else self.hub.rate
        body = content[start:end]
        if isinstance(fault, Wrong):
            body = body.translate(_OTHER_BYTES)  # in one go, since the client is impatient
        length = 10**12 if isinstance(fault, Endless) else len(body)
        self._head(status, length, headers | {"ETag": _etag(name, content)})
        end = fault.after if isinstance(fault, Break | Hold) else len(body)
        self._write(name, body[:end], rate)
        if isinstance(fault, Hold):
            fault.go_on.wait(60)
            self._write(name, body[end:], rate)
        while isinstance(fault, Endless) and not self.close_connection:
            self._write(name, bytes(_STEP))
        if isinstance(fault, Break):
            self.close_connection = True

    def _write(self, name: str, body: bytes, rate: int = 0) -> None:
        if self.command == "HEAD":
            return
        began = time.monotonic()
        try:
            for at in range(0, len(body), _STEP):
                block = body[at : at + _STEP]
                if rate:
                    time.sleep(max(0.0, began + (at + len(block)) / rate - time.monotonic()))
                self.wfile.write(block)
                with self.hub.lock:
                    self.hub.sent[name] += len(block)
        except ConnectionError:
            self.close_connection = True

    def _refuse(self, fault: Refuse) -> None:
        headers = {**fault.headers, **({"X-Error-Code": fault.code} if fault.code else {})}
        self._send(fault.status, b"", headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self._head(status, len(body), headers)
        if self.command != "HEAD":
            self.wfile.write(body)

    def _head(self, status: int, length: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()


def _etag(name: str, content: bytes) -> str:
    return f'"{_sha256(content) if is_large(name) else _blob_id(content)}"'


@functools.lru_cache(maxsize=16)  # the client is impatient
def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@functools.lru_cache(maxsize=16)
def _blob_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _sibling(name: str, content: bytes, said: int | None) -> dict[str, object]:
    size = len(content) if said is None else said
    sibling: dict[str, object] = {
        "rfilename": name,
        "size": size,
        "blobId": _blob_id(content),
    }
    if is_large(name):
        sibling["lfs"] = {"size": size, "sha256": _sha256(content), "pointerSize": 134}
    return sibling
