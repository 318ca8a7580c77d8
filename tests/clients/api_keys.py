"""API keys: an application of the authority and `curl -u` or a header; requests, httpx and the like write the same."""

import base64
import json
import urllib.parse

from authority_tokens import Authority
from common import Gateway, Tally, Upstream, curl, definition

AUDIENCE = "urn:items"
BASIC = 'Basic realm="urn:items", charset="UTF-8"'


def configuration(issuer, upstream):
    return {
        "issuers": [{"issuer": issuer}],
        "apis": [
            {
                "definition": definition(AUDIENCE, "RS256"),
                "upstream": upstream.url,
                "api_keys": {"header": "X-Api-Key", "ttl": "2s", "negative_ttl": "1s"},
                "routes": [
                    {"path": "/items", "require": "read:items"},
                    {"path": "/items/{id}", "require": "write:items"},
                    {"path": "/open", "require": "public"},
                ],
            }
        ],
    }


def seen(answer):
    return json.loads(answer.body)["headers"]


def main():
    tally = Tally("api_keys")
    with Upstream() as upstream, Authority(upstream) as authority:
        authority.api(AUDIENCE)
        app = authority.client("robot", "client_credentials")
        authority.grant(app, AUDIENCE, "read:items")
        stranger = authority.client("stranger", "client_credentials")
        with Gateway(configuration(authority.issuer, upstream)) as gateway:
            check(tally, authority, gateway, upstream, app, stranger)
    tally.finish()


def check(tally, authority, gateway, upstream, app, stranger):
    client_id, secret = app["client_id"], app["client_secret"]

    def ask(what, path, *arguments, status, reason=None):
        before = upstream.count
        answer = curl(*arguments, f"http://{gateway.address}{path}")
        tally.equal(what, (answer.status, answer.reason), (status, reason))
        tally.equal(f"{what}: requests at the upstream", upstream.count - before, int(status == 200))
        return answer

    for flag in ["--http1.1", "--http2-prior-knowledge"]:
        answer = ask(f"curl -u {flag}", "/items", flag, "-u", f"{client_id}:{secret}", status=200)
        authorization = seen(answer).get("authorization", "")
        tally.check(f"the upstream has the token {flag}", authorization.startswith("Bearer ey"), authorization)
        tally.check(f"the upstream has no secret {flag}", secret not in answer.text)
    token = authorization.removeprefix("Bearer ")
    ask("the token as it is", "/items", "-H", f"Authorization: Bearer {token}", status=200)

    answer = ask("a header", "/items", "-H", f"X-Api-Key: {client_id}:{secret}", status=200)
    tally.equal("the header goes no further", seen(answer).get("x-api-key"), None)
    quoted = base64.b64encode(f"{urllib.parse.quote(client_id, safe='')}:{secret}".encode()).decode()
    ask("as RFC 6749 encodes it", "/items", "-H", f"Authorization: Basic {quoted}", status=200)
    exchanges = gateway.metric("scopegate_api_key_exchanges_total", result="granted")
    tally.check("few exchanges", 1 <= exchanges <= 6, exchanges)

    ask("a scope it lacks", "/items/7", "-u", f"{client_id}:{secret}", status=403, reason="insufficient_scope")
    answer = ask("a wrong secret", "/items", "-u", f"{client_id}:wrong", status=401, reason="bad_api_key")
    tally.check("both schemes", BASIC in answer.headers["www-authenticate"], answer.headers["www-authenticate"])
    other = f"{stranger['client_id']}:{stranger['client_secret']}"
    ask("no grant", "/items", "-u", other, status=403, reason="api_key_not_granted")
    ask("no colon", "/items", "-H", "Authorization: Basic YQ==", status=400, reason="malformed_authorization")
    both = ["-u", f"{client_id}:{secret}", "-H", f"X-Api-Key: {client_id}:{secret}"]
    ask("two keys", "/items", *both, status=400, reason="multiple_tokens")
    answer = ask("a public route", "/open", "-u", f"{client_id}:{secret}", status=200)
    tally.equal("where it is not needed either", seen(answer).get("authorization"), None)

    rotated = authority.call("POST", f"/clients/{client_id}/rotate-secret")
    # The old one serves for `ttl` at the most.
    end = 0
    while curl("-u", f"{client_id}:{secret}", f"http://{gateway.address}/items").status == 200 and end < 200:
        end += 1
    tally.check("the old secret ends", end < 200)
    ask("the new secret", "/items", "-u", f"{client_id}:{rotated['client_secret']}", status=200)

    statuses = {curl("-u", f"x{number}:wrong", f"http://{gateway.address}/items").status for number in range(40)}
    tally.equal("a flood", statuses, {401, 429})
    log = "".join(gateway.log) + json.dumps(gateway.access_log())
    for hidden in [secret, rotated["client_secret"], token, quoted]:
        tally.check("nothing of it in the log", hidden not in log)


if __name__ == "__main__":
    main()
