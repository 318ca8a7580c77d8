"""A new process takes over from an old one, as a service manager does it: the socket is theirs to share, and no request
is lost. The parent opens the socket, passes it as file descriptor 3 (LISTEN_FDS), starts the next process on the same
socket while clients go on, and ends the first."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time

from common import DEADLINE, Tally, Upstream, binary, bound, definition

ISSUER = "https://issuer.test/"


def configuration(address, admin, upstream):
    return {
        "listeners": [{"address": address}],
        "admin": {"address": admin},
        "workers": 2,
        "access_log": {"output": "off"},
        "timeouts": {"drain": "10s", "pre_drain": "500ms"},
        "issuers": [{"issuer": ISSUER}],
        "apis": [
            {
                "definition": {**definition("urn:items", "HS256")},
                "signing_secret": "env:SECRET",
                "upstream": upstream.url,
                "routes": [{"path": "/p", "require": "public"}],
            }
        ],
    }


class Started:
    """One process on the socket; `LISTEN_PID` must name it, which only it knows."""

    def __init__(self, listener, path):
        command = 'exec 3<&"$1"; shift; export LISTEN_PID=$$ LISTEN_FDS=1; exec "$@"'
        arguments = [binary(), "run", "--log-format", "json", "--config", str(path)]
        self.child = subprocess.Popen(
            ["bash", "-c", command, "bash", str(listener.fileno()), *arguments],
            pass_fds=[listener.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "SECRET": "kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1S"},
        )
        self.log, self.admin = [], None
        for line in self.child.stderr:
            self.log.append(line)
            self.admin = bound(line, "admin")
            if self.admin:
                break
        if not self.admin:
            raise RuntimeError(f"it did not start: {self.log}")
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.child.stderr:
            self.log.append(line)

    def says(self, words):
        return any(words in line for line in self.log)

    def is_ready(self):
        connection = http.client.HTTPConnection(self.admin, timeout=DEADLINE)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        finally:
            connection.close()

    def end(self):
        self.child.send_signal(signal.SIGTERM)
        return self.child.wait(DEADLINE)


class Load:
    """Clients that never pause: half of them with a connection per request, half with one that they keep."""

    def __init__(self, address):
        self.address, self.is_over = address, threading.Event()
        self.served, self.failures, self._lock = 0, [], threading.Lock()
        self.threads = [threading.Thread(target=self._run, args=(kept,)) for kept in (True, True, False, False)]
        for thread in self.threads:
            thread.start()

    def _run(self, is_kept):
        connection = None
        while not self.is_over.is_set():
            try:
                connection = connection or http.client.HTTPConnection(self.address, timeout=DEADLINE)
                connection.request("GET", "/p")
                answer = connection.getresponse()
                answer.read()
                with self._lock:
                    if answer.status == 200:
                        self.served += 1
                    else:
                        self.failures.append(answer.status)
                if not is_kept or answer.will_close:
                    connection.close()
                    connection = None
            except (OSError, http.client.HTTPException) as error:
                with self._lock:
                    self.failures.append(repr(error))
                connection = None

    def goes_on(self, requests=100):
        end, before = time.monotonic() + DEADLINE, self.served
        while self.served < before + requests:
            if time.monotonic() > end:
                raise RuntimeError(f"no requests: {self.failures[:3]}")
            time.sleep(0.01)

    def finish(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join(DEADLINE)


def wait_for(what, condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"in vain: {what}")
        time.sleep(0.02)


def main():
    tally = Tally("upgrade")
    with Upstream() as upstream, tempfile.TemporaryDirectory(prefix="scopegate-") as folder:
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        address = "127.0.0.1:%d" % listener.getsockname()[1]
        path = pathlib.Path(folder) / "scopegate.yaml"
        # The admin socket is not shared: each process has a port of its own.
        path.write_text(json.dumps(configuration(address, "127.0.0.1:0", upstream)))
        started = [Started(listener, path)]
        try:
            wait_for("the first to be ready", started[0].is_ready)
            tally.check("it says that the socket was passed", started[0].says("taking over a socket"), started[0].log)
            load = Load(address)
            load.goes_on()
            for _ in range(3):
                started.append(Started(listener, path))
                wait_for("the next to be ready", started[-1].is_ready)
                load.goes_on()
                tally.equal("the one before ends well", started[-2].end(), 0)
                load.goes_on()
            load.finish()
            tally.equal("failed requests", load.failures, [])
            tally.check("requests", load.served > 500, load.served)
            print(f"{load.served} requests over {len(started)} processes", flush=True)
            # With nobody there, clients wait in the queue of the socket instead of being refused.
            started[-1].end()
            waiting = socket.create_connection(listener.getsockname(), timeout=DEADLINE)
            waiting.sendall(b"GET /p HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            started.append(Started(listener, path))
            tally.equal("a client that waited is served", waiting.recv(64)[:15], b"HTTP/1.1 200 OK")
            waiting.close()
        finally:
            for process in started:
                if process.child.poll() is None:
                    process.end()
            listener.close()
    tally.finish()


main()
