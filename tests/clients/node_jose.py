"""Tokens by npm `jose`, the library of Node services, for five APIs of the RFC 9068 profile; and Node's own HTTP/2
client, which is answered while it still sends."""

import json
import os
import subprocess

from common import DEADLINE, PROJECT, Gateway, Issuer, Tally, Upstream, definition, request

ALGORITHMS = ["RS256", "PS256", "ES256", "EdDSA", "HS256"]

# Prints the status and the body of the answer to a POST of 70,000 bytes.
HTTP2_POST = """
import http2 from "node:http2";
const [address, host, authorization] = process.argv.slice(2);
const client = http2.connect(`http://${address}`);
const stream = client.request({
  ":method": "POST", ":path": "/items/7", ":authority": host, ...(authorization ? { authorization } : {}),
});
const parts = [];
let status = 0;
stream.on("response", (headers) => { status = headers[":status"]; });
stream.on("data", (part) => parts.push(part));
stream.on("error", (error) => parts.push(error.code));
stream.on("close", () => { console.log(JSON.stringify([status, parts.join("")])); client.close(); });
stream.end("x".repeat(70_000));
"""


def configuration(issuer, upstream):
    return {
        "issuers": [{"issuer": issuer.issuer, "jwks_uri": issuer.url + "/jwks.json"}],
        "apis": [
            {
                "definition": definition(f"urn:{alg.lower()}", alg, "rfc9068_profile"),
                **({"signing_secret": "file:secret"} if alg == "HS256" else {}),
                "hosts": [f"{alg.lower()}.test"],
                "upstream": upstream.url,
                "routes": [
                    {"path": "/items/{id}", "methods": ["GET"], "require": "read:items"},
                    {"path": "/items/{id}", "methods": ["POST"], "require": "read:items", "max_body": "64KiB"},
                ],
            }
            for alg in ALGORITHMS
        ],
    }


def node(script, *arguments, folder="."):
    command = ["node", "--input-type=module", "-", *arguments]
    done = subprocess.run(
        command, cwd=folder, input=script, capture_output=True, timeout=DEADLINE, check=True, text=True
    )
    return json.loads(done.stdout)


def answers(tally, gateway, upstream, cases):
    for case in cases:
        name, before = f"{case['alg']}, {case['what']}", upstream.count
        headers = {"Host": f"{case['alg'].lower()}.test", "Authorization": f"Bearer {case['token']}"}
        answer = request(gateway.address, "GET", "/items/7", headers)
        tally.equal(name, (answer.status, answer.reason), (case["status"], case["reason"]))
        tally.equal(f"{name}: requests at the upstream", upstream.count - before, int(case["status"] == 200))


def early_answers(tally, gateway, token):
    for what, authorization, expected in [
        ("no token", [], (401, "missing_token")),
        ("too large a body", [f"Bearer {token}"], (413, "body_too_large")),
    ]:
        status, body = node(HTTP2_POST, gateway.address, "rs256.test", *authorization)
        found = (status, json.loads(body).get("reason") if body.startswith("{") else body)
        tally.equal(f"HTTP/2, {what}", found, expected)


def main():
    tally = Tally("node_jose")
    with Issuer() as issuer, Upstream() as upstream:
        script = (PROJECT / "tests/clients/node_jose/tokens.mjs").read_text()
        # A script finds its packages beside itself, so it runs where they are installed.
        made = node(script, issuer.issuer, folder=os.environ["SCOPEGATE_NODE_JOSE"])
        issuer.keys = made["keys"]
        secret = {"secret": "a secret of the API that is quite long enough"}
        with Gateway(configuration(issuer, upstream), secret) as gateway:
            answers(tally, gateway, upstream, made["tokens"])
            early_answers(tally, gateway, made["tokens"][0]["token"])
    tally.finish()


main()
