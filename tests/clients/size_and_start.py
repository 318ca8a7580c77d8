"""The bounds of the release build: size of the binary, memory when idle, and time until ready with keys in a file."""

import json
import os
import pathlib
import statistics
import subprocess
import time

from common import Gateway, Tally, Upstream, binary, definition

MIB = 1 << 20
STARTS = 5
# A public key of nobody's (RFC 7517, appendix A.1).
KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM",
    "kid": "1",
    "use": "sig",
    "alg": "ES256",
}


def configuration(upstream):
    return {
        "issuers": [{"issuer": "https://issuer.test/", "jwks_file": "jwks.json"}],
        "apis": [
            {
                "definition": definition("https://items.test/", "ES256"),
                "upstream": upstream.url,
                "routes": [{"path": "/items", "methods": ["GET"], "require": "read:items"}],
            }
        ],
    }


def resident_bytes(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("no VmRSS")


def main():
    os.environ["SCOPEGATE_BINARY"] = os.environ["SCOPEGATE_RELEASE_BINARY"]
    tally, size = Tally("size_and_start"), pathlib.Path(os.environ["SCOPEGATE_RELEASE_BINARY"]).stat().st_size
    print(f"binary: {size / MIB:.1f} MiB")
    # With the authority, which brings SQLite, a client of PostgreSQL and a validator of JSON Schema.
    tally.check("the binary is smaller than 24 MB", size < 24_000_000, str(size))
    sections = subprocess.run(["readelf", "--sections", "--wide", binary()], capture_output=True, text=True, check=True)
    tally.check("the binary is stripped", ".symtab" not in sections.stdout)
    times, memory = [], []
    with Upstream() as upstream:
        for _ in range(STARTS):
            with Gateway(configuration(upstream), {"jwks.json": json.dumps({"keys": [KEY]})}, wait=False) as gateway:
                gateway.wait_until_ready(pause=0.0005)
                times.append(time.monotonic() - gateway.started)
                time.sleep(0.3)
                memory.append(resident_bytes(gateway.child.pid))
    print("ready after: " + " ".join(f"{1000 * each:.0f}" for each in times) + " ms")
    print("resident when idle: " + " ".join(f"{each / MIB:.1f}" for each in memory) + " MiB")
    tally.check("ready in less than 100 ms (median)", statistics.median(times) < 0.1, str(times))
    tally.check("less than 15 MB when idle (largest)", max(memory) < 15_000_000, str(memory))
    tally.finish()


main()
