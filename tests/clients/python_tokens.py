"""Tokens by the libraries that Python services use (PyJWT, Authlib, jwcrypto), for five APIs behind one gateway.

The APIs differ in algorithm, profile and dialect. What a token may do is told by what comes back, by a word of the
closed list, and by the upstream, which must never see a refused request.
"""

import base64
import hashlib
import hmac
import itertools
import json
import time
import warnings

import jwt as pyjwt
from common import Gateway, Issuer, Tally, Upstream, definition, request
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from jwcrypto import jwk, jws

# `authlib.jose` is on its way out, and still what many services use; it insists on telling so.
warnings.showwarning = lambda *_, **__: None
from authlib.jose import JsonWebKey, JsonWebToken  # noqa: E402

SECRET = "a secret of the API that is quite long enough"
PERMISSIONS, SCOPE = "permissions", "scope"


class Api:
    """An API, the key of its issuer, and what its definition makes of a token."""

    def __init__(self, alg, key, dialect, enforce, decides, issuer="issuer"):
        self.alg, self.key, self.dialect, self.enforce = alg, key, dialect, enforce
        self.decides, self.issuer = decides, issuer
        self.name = alg.lower()
        self.host, self.identifier = f"{self.name}.test", f"https://{self.name}.test/api"
        self.rfc9068 = dialect.startswith("rfc9068")

    def pem(self):
        if isinstance(self.key, str):
            return self.key
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()

    def public_jwk(self, kid):
        pem = self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        public = json.loads(jwk.JWK.from_pem(pem).export_public())
        return {**public, "kid": kid, "use": "sig", "alg": self.alg}


APIS = [
    Api("RS256", rsa.generate_private_key(65537, 2048), "access_token", False, SCOPE),
    Api("PS256", rsa.generate_private_key(65537, 2048), "rfc9068_profile", False, SCOPE, issuer="tenant"),
    Api("ES256", ec.generate_private_key(ec.SECP256R1()), "access_token_authz", True, PERMISSIONS),
    Api("EdDSA", ed25519.Ed25519PrivateKey.generate(), "rfc9068_profile_authz", True, PERMISSIONS),
    # The dialect promises permissions, but RBAC is off: `scope` decides.
    Api("HS256", SECRET, "access_token_authz", False, SCOPE),
]


def by_pyjwt(api, header, claims):
    return pyjwt.encode(claims, api.pem(), algorithm=api.alg, headers=header)


def by_authlib(api, header, claims):
    key = JsonWebKey.import_key(api.pem(), {"kty": "oct"} if api.alg == "HS256" else None)
    return JsonWebToken([api.alg]).encode({"alg": api.alg, **header}, claims, key).decode()


def by_jwcrypto(api, header, claims):
    if api.alg == "HS256":
        key = jwk.JWK(kty="oct", k=base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="))
    else:
        key = jwk.JWK.from_pem(api.pem().encode())
    token = jws.JWS(json.dumps(claims))
    token.add_signature(key, api.alg, json.dumps({"alg": api.alg, **header}))
    return token.serialize(compact=True)


LIBRARIES = {"PyJWT": by_pyjwt, "Authlib": by_authlib, "jwcrypto": by_jwcrypto}
numbers = itertools.count()


def header_of(api):
    typ = "at+jwt" if api.rfc9068 else "JWT"
    return {"typ": typ} if api.alg == "HS256" else {"typ": typ, "kid": api.name}


def claims_of(api, issuers, **changes):
    now = int(time.time())
    claims = {
        "iss": issuers[api.issuer],
        "aud": api.identifier,
        "sub": "auth0|7",
        "client_id" if api.rfc9068 else "azp": "client-1",
        "iat": now,
        "exp": now + 600,
        "jti": f"id-{next(numbers)}",
        api.decides: "read:items" if api.decides == SCOPE else ["read:items"],
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def cases(api):
    """What is changed in a good token, and the status and the reason of the answer."""
    now = int(time.time())
    other = PERMISSIONS if api.decides == SCOPE else SCOPE
    only_other = {api.decides: None, other: ["read:items"] if other == PERMISSIONS else "read:items"}
    lacks = "insufficient_scope" if api.decides == SCOPE else "insufficient_permission"
    yield "a good token", {}, {}, 200, None
    yield "several audiences", {}, {"aud": ["https://other.test", api.identifier]}, 200, None
    yield "within the leeway", {}, {"exp": now - 2}, 200, None
    yield "another audience", {}, {"aud": "https://other.test"}, 401, "audience_mismatch"
    yield "the audience with a slash more", {}, {"aud": api.identifier + "/"}, 401, "audience_mismatch"
    yield "another issuer", {}, {"iss": "https://evil.test/"}, 401, "issuer_mismatch"
    yield "expired", {}, {"exp": now - 60}, 401, "expired"
    yield "no expiry", {}, {"exp": None}, 401, "missing_claim"
    yield "not yet valid", {}, {"nbf": now + 600}, 401, "not_yet_valid"
    yield "issued in the future", {}, {"iat": now + 600}, 401, "issued_in_future"
    yield "the claim that does not decide", {}, only_other, 403, lacks
    yield "another scope", {}, {api.decides: ["write:items"]}, 403, lacks
    yield "part of a scope", {}, {api.decides: ["read:item", "read:items2"]}, 403, lacks
    yield "bound to a key", {}, {"cnf": {"jkt": "x"}}, 401, "dpop_missing"
    yield "bound to a certificate", {}, {"cnf": {"x5t#S256": "x"}}, 401, "certificate_missing"
    if api.decides == SCOPE:
        yield "scope as an array", {}, {"scope": ["write:items", "read:items"]}, 200, None
        yield "scp", {}, {"scope": None, "scp": ["read:items"]}, 200, None
    if api.rfc9068:
        yield "the long type", {"typ": "application/at+jwt"}, {}, 200, None
        yield "an ID token", {"typ": "JWT"}, {"nonce": "n"}, 401, "wrong_type"
        yield "no type", {"typ": None}, {}, 401, "wrong_type"
        yield "no client", {}, {"client_id": None}, 401, "missing_claim"
        yield "no subject", {}, {"sub": None}, 401, "missing_claim"
        yield "no token id", {}, {"jti": None}, 401, "missing_claim"
    else:
        yield "no type", {"typ": None}, {}, 200, None
        yield "an ID token", {}, {"nonce": "n"}, 401, "wrong_type"
        yield "a logout token", {"typ": "logout+jwt"}, {}, 401, "wrong_type"
        yield "a token of the other profile", {"typ": "at+jwt"}, {}, 401, "wrong_type"
    if api.alg != "HS256":
        yield "no key id", {"kid": None}, {}, 200, None


def encoded(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def forgeries(api, claims):
    """What no library makes."""
    good = by_pyjwt(api, header_of(api), claims)
    head, payload, signature = good.split(".")
    header = {"alg": api.alg, **header_of(api)}
    yield "alg none", f"{encoded({**header, 'alg': 'none'})}.{payload}.", "unsupported_alg"
    yield "no signature", f"{head}.{payload}.", "bad_signature"
    more = encoded({**claims, api.decides: ["read:items", "write:items"]})
    yield "other claims", f"{head}.{more}.{signature}", "bad_signature"
    yield "critical extension", f"{encoded({**header, 'crit': ['x'], 'x': 1})}.{payload}.{signature}", "malformed_token"
    yield "two segments", f"{head}.{payload}", "malformed_token"
    if api.alg != "HS256":
        # The public key as the secret of an HMAC.
        public = api.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        signed = f"{encoded({**header, 'alg': 'HS256'})}.{payload}"
        mac = hmac.new(public, signed.encode(), hashlib.sha256).digest()
        forged = f"{signed}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"
        yield "the public key as a secret", forged, "alg_mismatch"
        own = jwk.JWK.generate(kty="RSA", size=2048) if api.alg in ("RS256", "PS256") else None
        if own:
            token = jws.JWS(json.dumps(claims))
            token.add_signature(own, api.alg, json.dumps({**header, "jwk": json.loads(own.export_public())}))
            yield "a key of its own", token.serialize(compact=True), "bad_signature"


def bearer(api, token):
    return {"Host": api.host, "Authorization": f"Bearer {token}"}


def configuration(issuer, upstream):
    return {
        "issuers": [{"issuer": issuer.issuer, "jwks": {"cooldown": "30s"}}, {"issuer": issuer.tenant}],
        "apis": [
            {
                "definition": definition(api.identifier, api.alg, api.dialect, api.enforce),
                **({"signing_secret": "env:API_SECRET"} if api.alg == "HS256" else {}),
                "issuers": [issuer.tenant if api.issuer == "tenant" else issuer.issuer],
                "hosts": [api.host],
                "upstream": upstream.url,
                "forward": {
                    "token": "strip",
                    "identity_headers": {"X-Auth-Subject": "sub", "X-Auth-Permissions": "permissions"},
                },
                "routes": [
                    {"path": "/items", "methods": ["GET"], "require": "read:items"},
                    {"path": "/items", "methods": ["POST"], "require": ["read:items", "write:items"]},
                    {"path": "/me", "require": "authenticated"},
                ],
            }
            for api in APIS
        ],
    }


def accepted_and_refused(tally, gateway, upstream, issuers):
    asked = 0
    for (library, sign), api in itertools.product(LIBRARIES.items(), APIS):
        for what, header, claims, status, reason in cases(api):
            header = {name: value for name, value in {**header_of(api), **header}.items() if value is not None}
            if library == "PyJWT" and "typ" not in header:
                header["typ"] = None  # Otherwise it puts one in.
            token = sign(api, header, claims_of(api, issuers, **claims))
            before, asked = upstream.count, asked + 1
            answer = request(gateway.address, "GET", "/items", bearer(api, token))
            name = f"{library} {api.alg}, {what}"
            tally.equal(name, (answer.status, answer.reason), (status, reason))
            tally.equal(f"{name}: requests at the upstream", upstream.count - before, int(status == 200))
            check_challenge(tally, name, answer, api)
            if status == 200:
                seen = json.loads(answer.body)["headers"]
                tally.equal(f"{name}: subject", seen.get("x-auth-subject"), "auth0|7")
                tally.check(f"{name}: the token stays here", "authorization" not in seen)
    return asked


def check_challenge(tally, name, answer, api):
    challenge = answer.headers["www-authenticate"]
    if answer.status == 200:
        tally.equal(f"{name}: challenge", challenge, None)
        return
    error = "insufficient_scope" if answer.status == 403 else "invalid_token"
    start = f'Bearer realm="{api.identifier}", error="{error}", error_description="'
    tally.check(f"{name}: challenge", challenge.startswith(start), challenge)
    if answer.status == 403:
        tally.check(f"{name}: scope of the challenge", challenge.endswith('scope="read:items"'), challenge)


def forged(tally, gateway, upstream, issuers):
    before = upstream.count
    for api in APIS:
        for what, token, reason in forgeries(api, claims_of(api, issuers)):
            answer = request(gateway.address, "GET", "/items", bearer(api, token))
            tally.equal(f"{api.alg}, {what}", (answer.status, answer.reason), (401, reason))
        for other in APIS:
            if other is not api and other.issuer == api.issuer:
                token = by_pyjwt(other, header_of(other), claims_of(other, issuers))
                answer = request(gateway.address, "GET", "/items", bearer(api, token))
                tally.equal(f"a token for {other.alg} at {api.alg}", answer.status, 401)
        answer = request(gateway.address, "GET", "/items", {"Host": api.host})
        found = (answer.status, answer.reason, answer.headers["www-authenticate"])
        tally.equal(f"{api.alg}, no token", found, (401, "missing_token", f'Bearer realm="{api.identifier}"'))
    tally.equal("no forgery reached the upstream", upstream.count - before, 0)


def requirements(tally, gateway, upstream, issuers):
    for api in APIS:
        both = claims_of(api, issuers, **{api.decides: ["write:items", "read:items"]})
        token = by_jwcrypto(api, header_of(api), both)
        answer = request(gateway.address, "POST", "/items", bearer(api, token), body=b"x" * 5000)
        tally.equal(f"{api.alg}, both scopes", answer.status, 200)
        tally.equal(f"{api.alg}, the body", json.loads(answer.body)["body_bytes"], 5000)
        nothing = by_jwcrypto(api, header_of(api), claims_of(api, issuers, **{api.decides: None}))
        answer = request(gateway.address, "GET", "/me", bearer(api, nothing))
        tally.equal(f"{api.alg}, any valid token", answer.status, 200)
        answer = request(gateway.address, "POST", "/items", bearer(api, nothing))
        tally.equal(f"{api.alg}, no scope", answer.status, 403)
        asked = 'scope="read:items write:items"'
        tally.check(f"{api.alg}, what is asked", answer.headers["www-authenticate"].endswith(asked))
        forging = {**bearer(api, token), "X-Auth-Subject": "root", "X-Auth-Permissions": "admin"}
        seen = json.loads(request(gateway.address, "GET", "/items", forging).body)["headers"]
        expected = "write:items read:items" if api.decides == PERMISSIONS else None
        tally.equal(f"{api.alg}, forged subject", seen.get("x-auth-subject"), "auth0|7")
        tally.equal(f"{api.alg}, forged permissions", seen.get("x-auth-permissions"), expected)


def rotation(tally, gateway, issuer, issuers):
    """A new key is good at once; an unknown one costs one fetch, and then patience rather than a wrong 401."""
    api = APIS[0]
    old = by_pyjwt(api, header_of(api), claims_of(api, issuers))
    api.key = rsa.generate_private_key(65537, 2048)
    issuer.keys = [key for key in issuer.keys if key["kid"] != api.name] + [api.public_jwk("rotated")]
    before = issuer.fetches
    rotated = by_pyjwt(api, {"typ": "JWT", "kid": "rotated"}, claims_of(api, issuers))
    answer = request(gateway.address, "GET", "/items", bearer(api, rotated))
    tally.equal("a new key is good at once", (answer.status, answer.reason), (200, None))
    tally.equal("which takes one fetch", issuer.fetches - before, 1)
    answer = request(gateway.address, "GET", "/items", bearer(api, old))
    tally.check("the old key is not good any more", answer.status in (401, 503), str(answer))
    unknown = by_pyjwt(api, {"typ": "JWT", "kid": "nobody-1"}, claims_of(api, issuers))
    answer = request(gateway.address, "GET", "/items", bearer(api, unknown))
    tally.equal("nobody knows yet", (answer.status, answer.reason), (503, "keys_unavailable"))
    tally.check("when to ask again", 1 <= int(answer.headers["retry-after"]) <= 31, str(answer))
    tally.equal("and no challenge", answer.headers["www-authenticate"], None)
    tally.equal("no further fetch", issuer.fetches - before, 1)


def unknown_key(tally, upstream):
    """With a short cooldown: the fetched set does not have the key, so that the answer is 401."""
    api = APIS[0]
    with Issuer() as issuer:
        issuer.keys = [api.public_jwk(api.name)]
        issuers = {"issuer": issuer.issuer}
        settings = configuration(issuer, upstream)
        settings["issuers"] = [{"issuer": issuer.issuer, "jwks": {"cooldown": "100ms"}}]
        settings["apis"] = settings["apis"][:1]
        with Gateway(settings) as gateway:
            token = by_pyjwt(api, {"typ": "JWT", "kid": "nobody"}, claims_of(api, issuers))
            answers = [request(gateway.address, "GET", "/items", bearer(api, token)) for _ in range(50)]
            told = {(answer.status, answer.reason) for answer in answers}
            tally.equal("a key that nobody has", told, {(401, "unknown_kid")})
            tally.check("costs few fetches", issuer.fetches <= 3, str(issuer.fetches))


def recorded(tally, gateway, asked):
    counted = gateway.metric("scopegate_auth_decisions_total")
    tally.check("every decision is counted", counted >= asked, f"{counted} < {asked}")
    answered = gateway.metric("scopegate_http_requests_total", source="gateway")
    denied = gateway.metric("scopegate_auth_decisions_total", decision="deny")
    tally.equal("refusals are answered here", answered, denied)
    gateway.stop()
    log = gateway.access_log()
    tally.equal("one line per request", len(log), counted)
    reasons = {line["reason"] for line in log if line["decision"] == "allow"}
    tally.equal("what is allowed is ok", reasons, {"ok"})
    text = json.dumps(log)
    tally.check("no token and no secret in the log", "eyJ" not in text and SECRET not in text)


def main():
    tally = Tally("python_tokens")
    with Issuer() as issuer, Upstream() as upstream:
        issuer.keys = [api.public_jwk(api.name) for api in APIS if api.alg != "HS256"]
        issuers = {"issuer": issuer.issuer, "tenant": issuer.tenant}
        with Gateway(configuration(issuer, upstream), environment={"API_SECRET": SECRET}) as gateway:
            asked = accepted_and_refused(tally, gateway, upstream, issuers)
            forged(tally, gateway, upstream, issuers)
            requirements(tally, gateway, upstream, issuers)
            rotation(tally, gateway, issuer, issuers)
            recorded(tally, gateway, asked)
        unknown_key(tally, upstream)
    tally.finish()


main()
