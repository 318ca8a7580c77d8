"""Checks of what we publish: promtool reads the metrics, hadolint the Dockerfile; the comparison asks its questions."""

import os
import shutil
import subprocess
import sys

from common import DEADLINE, PROJECT, Gateway, Issuer, Tally, Upstream, binary, definition, request


def configuration(issuer, upstream):
    return {
        "issuers": [{"issuer": issuer.issuer}],
        "apis": [
            {
                "definition": definition("https://items.test/", "RS256"),
                "upstream": upstream.url,
                "routes": [{"path": "/items", "methods": ["GET"], "require": "read:items"}],
            }
        ],
    }


def metrics(tally, promtool):
    with Issuer() as issuer, Upstream() as upstream:
        with Gateway(configuration(issuer, upstream), wait=False) as gateway:
            for path in ["/items", "/nothing", "/%zz"]:
                request(gateway.address, "GET", path)
            text = gateway.ask_admin("/metrics")[1]
    done = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    tally.equal("promtool check metrics", (done.returncode, done.stdout + done.stderr), (0, ""))


def dockerfile(tally):
    hadolint = os.path.join(os.path.dirname(sys.executable), "hadolint")
    done = subprocess.run(
        [hadolint, str(PROJECT / "Dockerfile")], capture_output=True, text=True, timeout=DEADLINE, check=False
    )
    tally.equal("hadolint Dockerfile", (done.returncode, done.stdout + done.stderr), (0, ""))


def comparison(tally):
    """The benchmark against other gateways, up to its questions and without a load: that it still fits this gateway."""
    command = [
        str(PROJECT / "benches/peers/run"),
        "--check-only",
        "--dev",
        "--peers",
        "scopegate,bare",
        "--scopegate",
        binary(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * DEADLINE, check=False)
    out = done.stdout + done.stderr
    if tally.equal("benches/peers/run --check-only", (done.returncode, out if done.returncode else ""), (0, "")):
        asked = [line for line in done.stdout.splitlines() if " questions; all as expected" in line]
        tally.equal("gateways that answer as expected", len(asked), 3)


def main():
    tally = Tally("lint")
    if promtool := shutil.which("promtool"):
        metrics(tally, promtool)
    else:
        print("left out: promtool is not installed, and could not be")
    dockerfile(tally)
    if shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin"):
        comparison(tally)
    else:
        print("left out: nginx is not installed, and could not be")
    tally.finish()


main()
