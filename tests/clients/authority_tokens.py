"""Tokens of the authority, asked for by Auth0's Python SDK and verified by what services use: the gateway, Authlib and npm
`jose`, each of them every kind of token.

Everything is made over the Management API of a running authority, with the administrator that its first start prints.
"""

import json
import os
import pathlib
import socket
import subprocess
import tempfile
import time
import warnings

from auth0.authentication import GetToken, RevokeToken
from auth0.authentication.exceptions import Auth0Error
from common import DEADLINE, PROJECT, Process, Tally, Upstream, bound, request
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwcrypto import jwe, jwk

warnings.showwarning = lambda *_, **__: None
from authlib.jose import JsonWebKey, JsonWebToken  # noqa: E402

SECRET = "a secret of the API that is quite long enough"
ALGORITHMS = ["RS256", "PS256", "HS256"]
DIALECTS = ["access_token", "access_token_authz", "rfc9068_profile", "rfc9068_profile_authz"]
ENCRYPTIONS = ["RSA-OAEP-256", "RSA-OAEP-384", "RSA-OAEP-512"]
SCOPES = [{"value": "read:items"}, {"value": "write:items"}]
CONNECTION = "Username-Password-Authentication"


def cell_name(alg, dialect):
    return f"{alg}-{dialect}.test".lower().replace("_", "-")


def cell_identifier(alg, dialect):
    return f"https://{cell_name(alg, dialect)}/api"


class Authority(Process):
    """`scopegate run` with an authority in memory, and a gateway that follows one API for each kind of token."""

    def __init__(self, upstream):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{free.getsockname()[1]}"
        self.issuer = f"http://{self.address}/"
        self.folder = tempfile.TemporaryDirectory(prefix="scopegate-")
        path = pathlib.Path(self.folder.name) / "scopegate.yaml"
        authority = {"address": self.address, "issuer": self.issuer, "store": "memory"}
        apis = [
            {
                "definition": {"follow": cell_identifier(alg, dialect)},
                "hosts": [cell_name(alg, dialect)],
                "upstream": upstream.url,
                "routes": [
                    {"path": "/items", "methods": ["GET"], "require": "read:items"},
                    {"path": "/items", "methods": ["POST"], "require": "write:items"},
                ],
            }
            for alg in ALGORITHMS
            for dialect in DIALECTS
        ]
        listeners, admin = [{"address": "127.0.0.1:0"}], {"address": "127.0.0.1:0"}
        path.write_text(json.dumps({"authority": authority, "listeners": listeners, "admin": admin, "apis": apis}))
        super().__init__(["run", "--log-format", "json", "--config", str(path)])
        self.gateway = self.wait_for_line(lambda line: bound(line, "listening"))
        self.admin = self.wait_for_line(lambda line: bound(line, "admin"))
        printed = {}

        def keep(line):
            name, _, value = line.strip().partition("=")
            printed[name] = value
            return name == "SCOPEGATE_CLIENT_SECRET"

        self.wait_for_line(keep, from_stdout=True)
        self.client_id, self.client_secret = printed["SCOPEGATE_CLIENT_ID"], printed["SCOPEGATE_CLIENT_SECRET"]
        self.token = self.sdk(self.client_id, client_secret=self.client_secret).client_credentials(
            f"{self.issuer}api/v2/"
        )["access_token"]

    def sdk(self, client_id, **credential):
        return GetToken(self.address, client_id, protocol="http", **credential)

    def call(self, method, path, body=None):
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        answer = request(self.address, method, f"/api/v2{path}", headers, json.dumps(body) if body is not None else None)
        if answer.status >= 300:
            raise RuntimeError(f"{method} {path}: {answer}")
        return json.loads(answer.body) if answer.body else None

    def api(self, identifier, **settings):
        return self.call("POST", "/resource-servers", {"identifier": identifier, "scopes": SCOPES, **settings})

    def client(self, name, *grant_types, **settings):
        body = {"name": name, "app_type": "non_interactive", "grant_types": list(grant_types), **settings}
        return self.call("POST", "/clients", body)

    def grant(self, client, identifier, *scopes):
        body = {"client_id": client["client_id"], "audience": identifier, "scope": list(scopes)}
        self.call("POST", "/client-grants", body)

    def jwks(self):
        return json.loads(request(self.address, "GET", "/.well-known/jwks.json").body)

    def __exit__(self, *_):
        self.stop()
        self.folder.cleanup()


def verified_by_jose(authority, made):
    script = (PROJECT / "tests/clients/node_jose/verify.mjs").read_text()
    jwks = f"{authority.issuer}.well-known/jwks.json"
    done = subprocess.run(
        ["node", "--input-type=module", "-e", script],
        cwd=os.environ["SCOPEGATE_NODE_JOSE"],
        input=json.dumps({"issuer": authority.issuer, "jwks": jwks, "cells": made}),
        capture_output=True,
        timeout=DEADLINE,
        check=True,
        text=True,
    )
    return json.loads(done.stdout)


def refused(call, *arguments, **named):
    """Status and error of an SDK call that must fail."""
    try:
        return ("no error", call(*arguments, **named))
    except Auth0Error as error:
        return (error.status_code, error.error_code)


def private_key():
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return private, public


def cells(authority, client):
    """A token of every kind, by the SDK."""
    sdk = authority.sdk(client["client_id"], client_secret=client["client_secret"])
    for alg in ALGORITHMS:
        for dialect in DIALECTS:
            identifier = cell_identifier(alg, dialect)
            secret = {"signing_secret": SECRET} if alg == "HS256" else {}
            enforced = dialect.endswith("_authz")
            authority.api(identifier, signing_alg=alg, token_dialect=dialect, enforce_policies=enforced, **secret)
            authority.grant(client, identifier, "read:items")
            token = sdk.client_credentials(identifier)
            rfc9068 = dialect.startswith("rfc9068")
            yield {
                "alg": alg, "dialect": dialect, "audience": identifier, "token": token["access_token"],
                "typ": "at+jwt" if rfc9068 else "JWT", "secret": secret.get("signing_secret"), "rfc9068": rfc9068,
            }


def right(tally, by, cell, claims, client):
    what = f"{by}, {cell['alg']}, {cell['dialect']}"
    told = "client_id" if cell["rfc9068"] else "azp"
    tally.equal(f"{what}: client", claims.get(told), client["client_id"])
    tally.equal(f"{what}: scope", claims.get("scope"), "read:items")
    tally.equal(f"{what}: jti", "jti" in claims, cell["rfc9068"])
    permissions = ["read:items"] if cell["dialect"].endswith("_authz") else None
    tally.equal(f"{what}: permissions", claims.get("permissions"), permissions)


def by_gateway(tally, authority, upstream, made):
    end = time.monotonic() + DEADLINE
    while (answer := request(authority.admin, "GET", "/readyz")).status != 200:
        if time.monotonic() > end:
            raise RuntimeError(f"never ready: {answer}")
        time.sleep(0.02)

    def ask(cell, token, method, expected):
        what = f"gateway, {cell['alg']}, {cell['dialect']}, {method}"
        headers = {"Host": cell_name(cell["alg"], cell["dialect"]), "Authorization": f"Bearer {token}"}
        before, answer = upstream.count, request(authority.gateway, method, "/items", headers)
        tally.equal(what, (answer.status, answer.reason), expected)
        tally.equal(f"{what}: requests at the upstream", upstream.count - before, int(expected[0] == 200))

    for at, cell in enumerate(made):
        ask(cell, cell["token"], "GET", (200, None))
        reason = "insufficient_permission" if cell["dialect"].endswith("_authz") else "insufficient_scope"
        ask(cell, cell["token"], "POST", (403, reason))
        # Not even the next kind is good for it.
        other = made[(at + 1) % len(made)]
        if other["alg"] != cell["alg"]:
            reason = "alg_mismatch"
        elif other["typ"] != cell["typ"]:
            reason = "wrong_type"
        else:
            reason = "audience_mismatch"
        ask(cell, other["token"], "GET", (401, reason))


def by_authlib(tally, authority, client, made):
    keys = JsonWebKey.import_key_set(authority.jwks())
    wanted = {"iss": {"essential": True, "value": authority.issuer}, "exp": {"essential": True}}
    for cell in made:
        key = JsonWebKey.import_key(cell["secret"], {"kty": "oct"}) if cell["secret"] else keys
        options = {**wanted, "aud": {"essential": True, "value": cell["audience"]}}
        claims = JsonWebToken([cell["alg"]]).decode(cell["token"], key, claims_options=options)
        claims.validate()
        right(tally, "Authlib", cell, claims, client)


def by_jose(tally, authority, client, made):
    for cell, outcome in zip(made, verified_by_jose(authority, made), strict=True):
        if tally.check(f"jose, {cell['alg']}, {cell['dialect']}", "claims" in outcome, outcome):
            right(tally, "jose", cell, outcome["claims"], client)


def encrypted(tally, authority, client):
    private, public = private_key()
    sdk = authority.sdk(client["client_id"], client_secret=client["client_secret"])
    made = []
    for alg in ENCRYPTIONS:
        identifier, kid = f"urn:{alg}", f"kid of {alg}"
        key = {"name": alg, "alg": alg, "kid": kid, "pem": public}
        api = authority.api(
            identifier, token_encryption={"format": "compact-nested-jwe", "encryption_key": key}
        )
        tally.check("the key is not shown", "pem" not in api["token_encryption"]["encryption_key"])
        authority.grant(client, identifier, "read:items")
        token = sdk.client_credentials(identifier)["access_token"]
        made.append({
            "alg": "RS256", "typ": "JWT", "audience": identifier, "token": token,
            "decryption": {"alg": alg, "pem": private},
        })
    for alg, outcome in zip(ENCRYPTIONS, verified_by_jose(authority, made), strict=True):
        if tally.check(f"jose, {alg}", "claims" in outcome, outcome):
            tally.equal(f"jose, {alg}: scope", outcome["claims"].get("scope"), "read:items")
            header = {"alg": alg, "enc": "A256GCM", "cty": "JWT", "kid": f"kid of {alg}"}
            tally.equal(f"jose, {alg}: header", outcome["outer"], header)
    opened = jwe.JWE()
    opened.deserialize(made[0]["token"], key=jwk.JWK.from_pem(private.encode()))
    tally.equal("jwcrypto opens it", opened.payload.count(b"."), 2)


def assertions(tally, authority):
    private, public = private_key()
    client = authority.client("signer", "client_credentials")
    path = f"/clients/{client['client_id']}"
    credential = authority.call(
        "POST", f"{path}/credentials", {"name": "key", "credential_type": "public_key", "pem": public, "alg": "RS256"}
    )
    authority.call("PATCH", path, {
        "token_endpoint_auth_method": None,
        "client_authentication_methods": {"private_key_jwt": {"credentials": [{"id": credential["id"]}]}},
    })
    identifier = "urn:assertions"
    authority.api(identifier)
    authority.grant(client, identifier, "read:items")
    sdk = authority.sdk(client["client_id"], client_assertion_signing_key=private)
    for _ in range(3):
        tally.equal("an assertion of the SDK", sdk.client_credentials(identifier)["scope"], "read:items")
    other = authority.sdk(client["client_id"], client_assertion_signing_key=private_key()[0])
    tally.equal("another key", refused(other.client_credentials, identifier), (401, "invalid_client"))
    by_secret = authority.sdk(client["client_id"], client_secret=client["client_secret"])
    tally.equal("its secret", refused(by_secret.client_credentials, identifier), (401, "access_denied"))


def users(tally, authority):
    password = "correct horse battery staple 1!"
    authority.call("POST", "/users", {"connection": CONNECTION, "email": "ada@example.com", "password": password})
    identifier = "urn:people"
    authority.api(identifier, allow_offline_access=True)
    realm = "http://auth0.com/oauth/grant-type/password-realm"
    app = authority.client(
        "app", "password", realm, "refresh_token",
        refresh_token={"rotation_type": "rotating", "expiration_type": "expiring", "leeway": 0},
    )
    sdk = authority.sdk(app["client_id"], client_secret=app["client_secret"])
    asked = {"scope": "offline_access read:items", "realm": CONNECTION, "audience": identifier}
    first = sdk.login("ada@example.com", password, **asked)
    tally.equal("a login", first["scope"], "offline_access read:items")
    tally.equal("a wrong password", refused(sdk.login, "ada@example.com", "wrong", **asked), (403, "invalid_grant"))
    second = sdk.refresh_token(first["refresh_token"])
    tally.check("rotation", second["refresh_token"] != first["refresh_token"])
    tally.equal("used again", refused(sdk.refresh_token, first["refresh_token"]), (403, "invalid_grant"))
    tally.equal("its successor", refused(sdk.refresh_token, second["refresh_token"]), (403, "invalid_grant"))
    third = sdk.login("ada@example.com", password, **asked)
    revoke = RevokeToken(authority.address, app["client_id"], client_secret=app["client_secret"], protocol="http")
    revoke.revoke_refresh_token(third["refresh_token"])
    tally.equal("given up", refused(sdk.refresh_token, third["refresh_token"]), (403, "invalid_grant"))


def refusals(tally, authority, client):
    right_one = authority.sdk(client["client_id"], client_secret=client["client_secret"])
    wrong = authority.sdk(client["client_id"], client_secret="wrong")
    tally.equal("a wrong secret", refused(wrong.client_credentials, "urn:people"), (401, "access_denied"))
    tally.equal("no such API", refused(right_one.client_credentials, "urn:none"), (403, "access_denied"))
    tally.equal("no grant", refused(right_one.client_credentials, "urn:people"), (403, "access_denied"))
    for _ in range(10):
        refused(wrong.client_credentials, "urn:people")
    tally.equal("too often", refused(wrong.client_credentials, "urn:people")[0], 429)


def main():
    tally = Tally("authority_tokens")
    with Upstream() as upstream, Authority(upstream) as authority:
        client = authority.client("service", "client_credentials")
        made = list(cells(authority, client))
        tally.equal("cells", len(made), 12)
        by_gateway(tally, authority, upstream, made)
        by_authlib(tally, authority, client, made)
        by_jose(tally, authority, client, made)
        encrypted(tally, authority, client)
        assertions(tally, authority)
        users(tally, authority)
        refusals(tally, authority, client)
    log = "".join(authority.log)
    secrets = [authority.client_secret, client["client_secret"], SECRET, authority.token]
    tally.check("no secret in the log", not any(secret in log for secret in secrets))
    tally.finish()


if __name__ == "__main__":
    main()
