"""Other people's checks of what we publish: promtool reads the metrics, hadolint the Dockerfile."""

import os
import shutil
import subprocess
import sys

from common import DEADLINE, PROJECT, Gateway, Issuer, Tally, Upstream, definition, request


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


def main():
    tally = Tally("lint")
    if promtool := shutil.which("promtool"):
        metrics(tally, promtool)
    else:
        print("left out: promtool is not installed, and could not be")
    dockerfile(tally)
    tally.finish()


main()
