"""DPoP proofs by npm `dpop` for bound tokens by npm `jose`, and nonces as a client of that library gets them."""

import json
import os
import subprocess

from common import DEADLINE, PROJECT, Gateway, Issuer, Tally, Upstream, definition, request

PUBLIC = "https://items.example.com/v1"


def configuration(issuer, upstream, nonces):
    api = {
        "definition": {
            **definition("urn:items", "RS256"),
            "proof_of_possession": {"mechanism": "dpop", "required": True},
        },
        "public_url": PUBLIC,
        "upstream": upstream.url,
        "routes": [{"path": "/items", "require": "read:items"}],
    }
    settings = {
        "issuers": [{"issuer": issuer.issuer, "jwks_uri": issuer.url + "/jwks.json"}],
        "apis": [api],
    }
    return {**settings, "dpop": {"nonce_lifetime": "1h"}} if nonces else settings


def made(issuer, *nonce):
    """What the script makes. It finds its packages beside itself, so it runs where they are installed."""
    script = (PROJECT / "tests/clients/node_jose/proofs.mjs").read_text()
    command = ["node", "--input-type=module", "-", issuer.issuer, "urn:items", PUBLIC + "/items", *nonce]
    done = subprocess.run(
        command,
        cwd=os.environ["SCOPEGATE_NODE_JOSE"],
        input=script,
        capture_output=True,
        timeout=DEADLINE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def ask(gateway, case):
    headers = {"Authorization": f"DPoP {case['token']}", "DPoP": case["proof"]}
    return request(gateway.address, "GET", "/items?page=2", headers)


def proofs(tally, gateway, upstream, cases):
    for case in cases:
        name, before = f"{case['alg']}, {case['what']}", upstream.count
        answer = ask(gateway, case)
        expected = (401 if case["reason"] else 200, case["reason"])
        tally.equal(name, (answer.status, answer.reason), expected)
        tally.equal(f"{name}: requests at the upstream", upstream.count - before, int(not case["reason"]))
        if not case["reason"]:
            again = ask(gateway, case)
            tally.equal(f"{name}: a second time", (again.status, again.reason), (401, "dpop_replay"))


def nonces(tally, issuer, upstream):
    first = made(issuer)
    issuer.keys = first["keys"]
    with Gateway(configuration(issuer, upstream, True)) as gateway:
        answer = ask(gateway, first["cases"][0])
        tally.equal("a nonce is asked for", (answer.status, answer.reason), (401, "dpop_nonce"))
        tally.check("with its error", 'error="use_dpop_nonce"' in answer.headers["www-authenticate"], str(answer))
        nonce = answer.headers["dpop-nonce"]
        tally.check("and given", bool(nonce), str(answer))
    # The process that made it has ended, and its key with it.
    issuer.keys = (second := made(issuer, nonce))["keys"]
    with Gateway(configuration(issuer, upstream, True)) as gateway:
        answer = ask(gateway, second["cases"][0])
        tally.equal("of another process", (answer.status, answer.reason), (401, "dpop_nonce"))


def main():
    tally = Tally("dpop")
    with Issuer() as issuer, Upstream() as upstream:
        cases = made(issuer)
        issuer.keys = cases["keys"]
        with Gateway(configuration(issuer, upstream, False)) as gateway:
            proofs(tally, gateway, upstream, cases["cases"])
        nonces(tally, issuer, upstream)
    tally.finish()


main()
