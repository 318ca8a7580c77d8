"""What is too long to be held: 1 GiB down and up over HTTP/1.1 and HTTP/2 with curl, while the memory of the gateway is
looked at, and events that arrive one by one.
"""

import http.server
import os
import pathlib
import subprocess
import threading
import time

import common
from common import DEADLINE, Gateway, Tally, definition

GIB = 1 << 30
PART = b"\0" * (1 << 20)
# The kernel's buffers are its own; what the process holds may grow by so much.
MOST_GROWTH = 16 << 20
LONGEST = 150
HTTP2 = "--http2-prior-knowledge"


def resident(pid, which="VmRSS"):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(which):
            return int(line.split()[1]) << 10
    raise RuntimeError(f"no {which}")


class Upstream(http.server.ThreadingHTTPServer):
    """1 GiB of zeros at `/down`, a count of what came at `/up`, and events when they are asked for at `/events`."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self):
        self.next_event = threading.Semaphore(0)
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        if self.path == "/events":
            self.send_header("content-type", "text/event-stream")
            self.send_header("transfer-encoding", "chunked")
            self.end_headers()
            for number in range(3):
                self.server.next_event.acquire(timeout=DEADLINE)
                event = f"data: {number}\n\n".encode()
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("content-length", str(GIB))
        self.end_headers()
        for _ in range(GIB // len(PART)):
            self.wfile.write(PART)

    def do_POST(self):
        left, buffer = int(self.headers["content-length"]), bytearray(1 << 20)
        total = left
        while left:
            count = self.rfile.readinto(memoryview(buffer)[: min(left, len(buffer))])
            if not count:
                return
            left -= count
        text = str(total).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


def watched(tally, what, gateway, *arguments):
    """Runs curl. What it wrote, and how the memory of the gateway grew meanwhile."""
    pid = gateway.child.pid
    before = most = resident(pid)
    began = time.monotonic()
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", str(LONGEST), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as curl:
        while curl.poll() is None:
            most = max(most, resident(pid))
            time.sleep(0.02)
        out, code = curl.stdout.read().decode(), curl.returncode
    took = time.monotonic() - began
    tally.equal(f"{what}: curl", code, 0)
    growth = most - before
    tally.check(f"{what}: memory", growth < MOST_GROWTH, f"grew by {growth >> 20} MiB")
    print(f"{what}: {took:.1f} s, the gateway grew by {growth / (1 << 20):.1f} MiB", flush=True)
    return out


def large(tally, gateway, folder):
    zeros = folder / "zeros"
    with zeros.open("wb") as file:
        file.truncate(GIB)
    for version, flag in [("HTTP/1.1", "--http1.1"), ("HTTP/2", HTTP2)]:
        url = f"http://{gateway.address}"
        size = "%{size_download}"
        out = watched(tally, f"1 GiB down, {version}", gateway, flag, "-o", os.devnull, "-w", size, f"{url}/down")
        tally.equal(f"1 GiB down, {version}: bytes", out, str(GIB))
        # `Expect` is left to curl: it asks, and waits for the gateway's 100.
        out = watched(tally, f"1 GiB up, {version}", gateway, flag, "-X", "POST", "-T", str(zeros), f"{url}/up")
        tally.equal(f"1 GiB up, {version}: bytes", out, str(GIB))


def events(tally, gateway, upstream):
    for version, flag in [("HTTP/1.1", "--http1.1"), ("HTTP/2", HTTP2)]:
        command = ["curl", "--silent", "--no-buffer", "--noproxy", "*", "--max-time", str(DEADLINE), flag]
        with subprocess.Popen([*command, f"http://{gateway.address}/events"], stdout=subprocess.PIPE) as curl:
            for number in range(3):
                # The next one is not even sent before this one has arrived.
                upstream.next_event.release()
                tally.equal(f"event {number}, {version}", curl.stdout.readline(), b"data: %d\n" % number)
                curl.stdout.readline()
            tally.equal(f"the end of the events, {version}", (curl.stdout.read(), curl.wait(DEADLINE)), (b"", 0))


def main():
    tally = Tally("streams")
    # What is measured is what is shipped.
    if release := os.environ.get("SCOPEGATE_RELEASE_BINARY"):
        common.binary = lambda: release
    upstream = Upstream()
    route = {"path": "/{name}", "require": "public", "max_body": "2GiB"}
    configuration = {
        "issuers": [{"issuer": "https://issuer.test/"}],
        "apis": [
            {
                "definition": definition("https://files.test/", "HS256"),
                "signing_secret": "env:FILES_SECRET",
                "upstream": f"http://127.0.0.1:{upstream.server_port}",
                "routes": [route],
            }
        ],
    }
    environment = {"FILES_SECRET": "a secret of the API that is quite long enough"}
    with Gateway(configuration, environment=environment) as gateway:
        events(tally, gateway, upstream)
        large(tally, gateway, gateway.path.parent)
    upstream.shutdown()
    tally.finish()


main()
