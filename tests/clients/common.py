"""What the client suites share: the gateway as a process, an issuer, an upstream that counts, curl, and the tally.

Everything listens on 127.0.0.1 with a port of its own, is ended by its process id, and has a deadline: no suite can
hang. The suites use the gateway as a user does: a file, a command line, sockets.
"""

import http.client
import http.server
import json
import os
import pathlib
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse

DEADLINE = 30
PROJECT = pathlib.Path(__file__).resolve().parents[2]


class Tally:
    """Counts what holds and what does not. Prints each failure, and the counts last."""

    def __init__(self, suite):
        self.suite, self.passed, self.failed = suite, 0, 0

    def check(self, what, condition, detail=""):
        if condition:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {self.suite}: {what} {detail}", flush=True)
        return bool(condition)

    def equal(self, what, found, expected):
        return self.check(what, found == expected, f"\n  found    {found!r}\n  expected {expected!r}")

    def finish(self):
        print(f"{self.passed} passed, {self.failed} failed", flush=True)
        sys.exit(1 if self.failed or not self.passed else 0)


def binary():
    """The gateway to test; `run` says which."""
    return os.environ["SCOPEGATE_BINARY"]


class Process:
    """A command with its standard error in a queue. Ends with the `with` block."""

    def __init__(self, arguments, environment=None):
        self.child = subprocess.Popen(
            [binary(), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(environment or {})},
        )
        self.log, self.out = [], []
        self._lines, self._outs = queue.Queue(), queue.Queue()
        for stream, kept, lines in [
            (self.child.stderr, self.log, self._lines),
            (self.child.stdout, self.out, self._outs),
        ]:
            threading.Thread(target=self._read, args=(stream, kept, lines), daemon=True).start()

    @staticmethod
    def _read(stream, kept, lines):
        for line in stream:
            kept.append(line)
            lines.put(line)
        lines.put(None)

    def wait_for_line(self, wanted, from_stdout=False):
        lines, end = (self._outs if from_stdout else self._lines), time.monotonic() + DEADLINE
        while True:
            line = lines.get(timeout=max(0.01, end - time.monotonic()))
            if line is None:
                raise RuntimeError(f"ended before {wanted}: {''.join(self.log)}")
            if found := wanted(line):
                return found

    def stop(self, with_signal=signal.SIGTERM):
        """Asks it to end; its exit code."""
        if self.child.poll() is None:
            self.child.send_signal(with_signal)
        try:
            return self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            return self.child.wait(DEADLINE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


class Gateway(Process):
    """`scopegate run` with a configuration (a dict: JSON is YAML). Port 0 everywhere; the log says what was bound."""

    def __init__(self, configuration, files=None, environment=None, wait=True):
        self.folder = tempfile.TemporaryDirectory(prefix="scopegate-")
        self.path = pathlib.Path(self.folder.name) / "scopegate.yaml"
        for name, content in (files or {}).items():
            (self.path.parent / name).write_text(content)
        base = {
            "listeners": [{"address": "127.0.0.1:0", "http2": True}],
            "admin": {"address": "127.0.0.1:0"},
            "workers": 2,
            "access_log": {"output": str(self.path.parent / "access.log"), "identities": "plain"},
            "timeouts": {"drain": "2s"},
        }
        self.path.write_text(json.dumps({**base, **configuration}, indent=1))
        self.started = time.monotonic()
        super().__init__(["run", "--log-format", "json", "--config", str(self.path)], environment)
        self.address = self.wait_for_line(lambda line: bound(line, "listening"))
        self.admin = self.wait_for_line(lambda line: bound(line, "admin"))
        if wait:
            self.wait_until_ready()

    def wait_until_ready(self, pause=0.02):
        end = time.monotonic() + DEADLINE
        while self.ask_admin("/readyz")[0] != 200:
            if time.monotonic() > end:
                raise RuntimeError(f"never ready: {self.ask_admin('/readyz')} {''.join(self.log)}")
            time.sleep(pause)

    def ask_admin(self, path):
        try:
            answer = request(self.admin, "GET", path)
        except ConnectionError:
            return 0, ""
        return answer.status, answer.text

    def metric(self, name, **labels):
        """The sum of the series of a family that have these labels."""
        total = 0.0
        for line in self.ask_admin("/metrics")[1].splitlines():
            series, _, value = line.rpartition(" ")
            family, _, rest = series.partition("{")
            if family == name and all(f'{key}="{wanted}"' in rest for key, wanted in labels.items()):
                total += float(value)
        return total

    def access_log(self):
        return [json.loads(line) for line in (self.path.parent / "access.log").read_text().splitlines()]

    def __exit__(self, *_):
        self.stop()
        self.folder.cleanup()


def bound(line, message):
    """The address of a log line that says what was bound."""
    try:
        line = json.loads(line)
    except ValueError:
        return None
    return line["address"] if line.get("message") == message else None


class Answer:
    """A response, read whole."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode()

    @property
    def reason(self):
        """The word of a refusal; of an allowed request, nothing."""
        try:
            return json.loads(self.body).get("reason")
        except ValueError:
            return None

    def __repr__(self):
        return f"{self.status} {dict(self.headers)} {self.body[:400]!r}"


def request(address, method, path, headers=None, body=None):
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    try:
        connection.request(method, path, body=body, headers=headers or {})
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


class Server:
    """An HTTP/1.1 server on a free port, on threads of its own."""

    def __init__(self, answer):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_one(self):
                # What is not read would be taken for the next request.
                length = int(self.headers.get("content-length") or 0)
                if self.headers.get("transfer-encoding"):
                    body = b"".join(iter(self.chunk, b""))
                else:
                    body = self.rfile.read(length)
                status, document = answer(self, body)
                text = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(text)

            def chunk(self):
                size = self.rfile.readline().split(b";")[0]
                if not size:
                    raise ConnectionAbortedError  # The gateway has cut the request off, as it may.
                part = self.rfile.read(int(size, 16))
                self.rfile.readline()
                return part

            do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = handle_one

            def log_message(self, *_):
                pass

        class Quiet(http.server.ThreadingHTTPServer):
            # The default of 5 lets a busy machine drop connections, which come again a second later.
            request_queue_size = 128

            def handle_error(self, *peer):
                if not isinstance(sys.exc_info()[1], ConnectionError):
                    super().handle_error(*peer)

        self.server = Quiet(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server.server_port}"
        self.url = f"http://{self.address}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()


class Upstream(Server):
    """An API that answers what it was sent, and counts."""

    def __init__(self):
        self.count, self._lock = 0, threading.Lock()
        super().__init__(self._answer)

    def _answer(self, handler, body):
        with self._lock:
            self.count += 1
        headers = {name.lower(): value for name, value in handler.headers.items()}
        return 200, {
            "method": handler.command,
            "path": handler.path,
            "headers": headers,
            "body_bytes": len(body),
        }


class Issuer(Server):
    """An authorization server, as far as a gateway sees one: metadata and keys. Two issuers live on it: the root speaks
    OpenID Connect discovery, and `tenant` only RFC 8414."""

    def __init__(self):
        self.keys, self.fetches = [], 0
        super().__init__(self._answer)
        self.issuer = self.url + "/"
        self.tenant = self.url + "/tenant"

    def _answer(self, handler, _body):
        path = urllib.parse.urlsplit(handler.path).path
        if path == "/.well-known/openid-configuration":
            return 200, {"issuer": self.issuer, "jwks_uri": self.url + "/jwks.json"}
        if path == "/.well-known/oauth-authorization-server/tenant":
            return 200, {"issuer": self.tenant, "jwks_uri": self.url + "/jwks.json"}
        if path == "/jwks.json":
            self.fetches += 1
            return 200, {"keys": self.keys}
        return 404, {"error": "not found"}


def definition(identifier, alg, dialect="access_token", enforce_policies=False, scopes=("read:items", "write:items")):
    return {
        "identifier": identifier,
        "signing_alg": alg,
        "token_dialect": dialect,
        "enforce_policies": enforce_policies,
        "scopes": [{"value": scope} for scope in scopes],
    }


def curl(*arguments):
    """Real curl; headers go to standard output with the body."""
    command = ["curl", "--silent", "--show-error", "--max-time", str(DEADLINE), "--include", "--noproxy", "*"]
    done = subprocess.run([*command, *arguments], capture_output=True, timeout=DEADLINE + 5, check=False)
    return read_curl(done.stdout, done.returncode, done.stderr)


def read_curl(output, code, errors=b""):
    """What `curl -i` printed, past any 1xx."""
    while True:
        head, _, body = output.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        words = lines[0].split(" ")
        status = int(words[1]) if len(words) > 1 and words[1].isdigit() else 0
        if not 100 <= status < 200:
            break
        output = body
    headers = http.client.HTTPMessage()
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip()] = value.strip()
    answer = Answer(status, headers, body)
    answer.version, answer.code, answer.errors = words[0], code, errors.decode(errors="replace")
    return answer
