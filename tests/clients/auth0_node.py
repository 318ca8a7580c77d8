"""npm `auth0` 7, @auth0/auth0-auth-js and express-oauth2-jwt-bearer against the authority."""

import os

from authority import Authority, node
from common import PROJECT, Tally


def main():
    tally = Tally("auth0_node")
    script = (PROJECT / "tests/clients/auth0_node/steps.js").read_text()
    with Authority() as authority:
        facts = {
            "domain": authority.domain, "clientId": authority.client_id, "clientSecret": authority.client_secret,
        }
        found = node(authority, os.environ["SCOPEGATE_AUTH0_NODE"], script, facts)
        tally.check("no secret in the log", authority.client_secret not in "".join(authority.log))
    for what, expected in [
        ("byIdentifier", True), ("duplicate", 409), ("immutable", 400), ("absent", 404), ("odd", True),
        ("oddGone", 404), ("rotated", True), ("signed", True), ("ps256", [200, '"ok"']),
        # The Management API and one more are there beside the many.
        ("many", [107, 107, 105]),
    ]:
        tally.equal(what, found[what], expected)
    tally.equal("allowed", found["allowed"][:2], [200, "orders"])
    status, code, challenge = found["insufficient"]
    tally.equal("insufficient", (status, code), (403, "insufficient_scope"))
    tally.check("its challenge", 'error="insufficient_scope"' in challenge and 'scope="admin:orders"' in challenge)
    tally.equal("missing", found["missing"][0], 401)
    status, code, challenge = found["invalid"]
    tally.equal("invalid", (status, code), (401, "invalid_token"))
    tally.check("its challenge", 'error="invalid_token"' in challenge)
    tally.finish()


main()
