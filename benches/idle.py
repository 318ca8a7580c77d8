"""Memory of a gateway that holds many idle connections.

    python3 benches/idle.py target/release/scopegate 9900 h1|h2

Opens the connections, makes one request on each (401, so that nothing but the gateway is measured), waits until all are
idle, and prints the growth of the resident set for each. The gateway gives clients half of its file descriptors less a
reserve: 9,900 connections need a hard limit of 20,000.
"""
import os
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SECRET = "0123456789abcdef" * 3
CONFIGURATION = """
listeners: [{ address: 127.0.0.1:18080 }, { address: 127.0.0.1:18081, http2: true }]
admin: off
workers: 2
limits: { connections: 20000 }
timeouts: { idle: 10m, first_byte: 1m }
access_log: { output: "off" }
issuers: [{ issuer: "https://issuer.test/" }]
apis:
  - definition: { identifier: urn:items, signing_alg: HS256 }
    signing_secret: env:IDLE_SECRET
    upstream: http://127.0.0.1:1
    routes: [{ path: /, require: authenticated }]
"""
BATCH = 500


def http1_request():
    return b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"


def http2_request():
    """Preface, empty settings, and one request whose fields are literals without names from a table."""
    fields = {b":method": b"GET", b":scheme": b"http", b":authority": b"a.test", b":path": b"/"}
    block = b"".join(b"\0%c%s%c%s" % (len(name), name, len(value), value) for name, value in fields.items())
    settings = b"\0\0\0\4\0\0\0\0\0"
    head = len(block).to_bytes(3, "big") + b"\1\5\0\0\0\1"
    return b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + settings + head + block


def resident(process):
    """In KiB."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def wait_for(port, process):
    for _ in range(200):
        if process.poll() is not None:
            sys.exit("the gateway has ended")
        try:
            return socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            time.sleep(0.05)
    sys.exit("the gateway does not listen")


def main():
    binary, count, mode = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    port, request = {"h1": (18080, http1_request()), "h2": (18081, http2_request())}[mode]
    with tempfile.TemporaryDirectory() as folder:
        configuration = Path(folder) / "scopegate.yaml"
        configuration.write_text(CONFIGURATION)
        environment = {**os.environ, "IDLE_SECRET": SECRET}
        process = subprocess.Popen([binary, "run", "--config", str(configuration)], env=environment)
        connections = []
        try:
            wait_for(port, process)
            before = resident(process)
            while len(connections) < count:
                batch = [socket.create_connection(("127.0.0.1", port)) for _ in range(min(BATCH, count - len(connections)))]
                for connection in batch:
                    connection.sendall(request)
                for connection in batch:
                    if not connection.recv(4096):
                        sys.exit("a connection was closed: is there a limit on file descriptors?")
                connections += batch
            time.sleep(2)
            after = resident(process)
            each = (after - before) / count
            print(f"{mode}: {before} KiB before, {after} KiB with {count} connections, {each:.2f} KiB each")
        finally:
            for connection in connections:
                connection.close()
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main()
