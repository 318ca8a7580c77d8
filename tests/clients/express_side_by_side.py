"""The same requests to the gateway and to an Express service with npm express-oauth2-jwt-bearer, side by side.

Both serve the same APIs with the keys of one issuer. They must answer alike: the same status, and in `WWW-Authenticate`
the same schemes, each with the same error code and scope. Where they do not, the request stands in one of DIFFERENCES,
both answers are held against what stands there, and the README must have the same table.
"""

import base64
import hashlib
import hmac
import http.client
import itertools
import json
import os
import re
import subprocess
import time
import typing
import urllib.parse

import jwt as pyjwt
from common import DEADLINE, PROJECT, Answer, Gateway, Issuer, Tally, Upstream, definition
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwcrypto import jwk

HEADING = "### Beside express-oauth2-jwt-bearer"
KEYS = {
    "RS256": ("one", rsa.generate_private_key(65537, 2048)),
    "PS256": ("two", rsa.generate_private_key(65537, 2048)),
    "ES256": ("three", ec.generate_private_key(ec.SECP256R1())),
}
OWN, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
AUTH0, RFC9068, PERMITTED = "auth0.test", "rfc9068.test", "permitted.test"
HOSTS = [AUTH0, RFC9068, PERMITTED]


class Difference(typing.NamedTuple):
    """A row of the table: what is sent, both answers as `outcome` tells them, why; and the requests that are meant, of
    one host where it stands before the colon."""

    what: str
    express: str
    gateway: str
    why: str
    requests: list


NOTHING, REFUSED, PROOF = "Bearer; DPoP", "401; Bearer invalid_token; DPoP", "401; DPoP invalid_dpop_proof"
LACKING = "Bearer insufficient_scope read:items"
DIFFERENCES = [
    Difference(
        "another scheme, no scheme, or a proof without a token", f"400; {NOTHING}", f"401; {NOTHING}",
        "no credentials of ours came: RFC 9110 §11.6.1",
        ["an empty header", "another scheme", "the token without a scheme", "no scheme that there is", "a proof alone"],
    ),
    Difference(
        "`Bearer` alone, or two words behind it", f"400; {NOTHING}", "400; Bearer invalid_request; DPoP",
        "RFC 6750 §3.1 has an error code for a malformed request", ["a scheme alone", "two words"],
    ),
    Difference(
        "two spaces behind `Bearer`", f"400; {NOTHING}", "200", "RFC 9110 §11.4: one or more spaces", ["two spaces"]
    ),
    Difference(
        "two `Authorization` headers", "200", "400; Bearer invalid_request; DPoP",
        "Node takes the first; what stands behind the gateway may take the other", ["two headers"],
    ),
    Difference(
        "a token in the query", "200", f"401; {NOTHING}", "looked at only where `tokens.from` says so",
        ["rfc9068: in the query"],
    ),
    Difference(
        "a token in the header and another in the query", "400; Bearer invalid_request; DPoP", "200",
        "as above; with `query` in `tokens.from` the answer is that of Express",
        ["rfc9068: in the header and the query"],
    ),
    Difference("a token in the body", "200", f"401; {NOTHING}", "bodies are forwarded, not read", ["in the body"]),
    Difference(
        "a token in the header and another in the body", "400; Bearer invalid_request; DPoP", "200", "as above",
        ["in the header and the body"],
    ),
    Difference("`iat` in the future", "200", REFUSED, "the clock of one of us is wrong", ["issued in the future"]),
    Difference(
        "Auth0 profile: an ID token, a logout token, a token of the RFC 9068 profile", "200", REFUSED,
        "the profile of the definition says what an access token is",
        [f"auth0: {what}" for what in ("an ID token", "a logout token", "the short type", "the long type")],
    ),
    Difference(
        "a token that is bound to a certificate, or in a way that nobody knows", "200", REFUSED,
        "what is bound never passes as a bearer token", ["bound to a certificate", "bound to what nobody knows"],
    ),
    Difference(
        "a token that is signed with another algorithm than the definition's, by a good key", "200", REFUSED,
        "`signing_alg` decides; Express takes what the keys allow unless `tokenSigningAlg` is set",
        ["signed with PS256", "signed with ES256"],
    ),
    Difference("the same claim twice", "200", REFUSED, "two readers could read two tokens", ["a claim twice"]),
    Difference(
        "`scope` is a number", f"403; {LACKING}", REFUSED, "the token is malformed: more rights would not mend it",
        ["a scope of a number"],
    ),
    Difference(
        "scopes in `scp`", f"403; {LACKING}", "200", "some issuers write them there; `scopes_from: scope` forbids it",
        ["scp"],
    ),
    Difference(
        "a permission is lacking (`claimIncludes`)", "401; Bearer invalid_token", f"403; {LACKING}",
        "the token is good, and grants too little", ["another permission", "no permission", "no permissions"],
    ),
    Difference(
        "a scope is lacking, with a good proof", f"403; {LACKING}", "403; DPoP insufficient_scope read:items",
        "the challenge is of the scheme that was tried", ["another scope with a proof"],
    ),
    Difference(
        "`DPoP` without a proof", f"400; {NOTHING}", "401; DPoP invalid_token",
        "RFC 9449 §7.1: a 401 with an error; who tried `DPoP` is not led back to `Bearer`", ["no proof"],
    ),
    Difference(
        "a proof that is wrong, early, stale or not for this request, or two of them",
        "400; Bearer; DPoP invalid_dpop_proof", PROOF, "as above",
        [
            "two proofs", "a proof for another method", "a proof for another address", "a proof for another host",
            "a proof for another token", "a proof with no method", "a proof with no address", "a proof with no token",
            "a proof with no time", "a proof with no number", "a proof an hour old", "a proof an hour early",
            "a proof of another type", "a proof with the private key", "a proof with another signature",
            "no proof that there is",
        ],
    ),
    Difference(
        "a token that is not good, not bound, or bound to another key, with a proof",
        "401; Bearer; DPoP invalid_token", "401; DPoP invalid_token", "as above",
        ["not bound, with a proof", "expired with a proof", "of another key"],
    ),
    Difference(
        "a proof that was used before", "200", PROOF, "RFC 9449 §11.1: proofs are remembered", ["a proof again"]
    ),
    Difference(
        "a proof that is one to five minutes old, or 10 to 30 seconds early", "200", PROOF,
        "`dpop.max_age` is 60 s and `dpop.max_ahead` 10 s unless set otherwise",
        ["a proof two minutes old", "a proof twenty seconds early"],
    ),
    Difference(
        "`htm` in small letters", "200", PROOF, "RFC 9110 §9.1: methods are case-sensitive",
        ["a proof for the method in small letters"],
    ),
    Difference(
        "a proof beside a bearer token that is bound to nothing", "400; Bearer invalid_request; DPoP", "200",
        "nothing says that the proof counts: the token is what it is without it",
        ["not bound, as a bearer token with a proof"],
    ),
]
LISTED = {request: row for row in DIFFERENCES for request in row.requests}


def audience_of(host):
    return f"https://{host}/api"


def public_jwk(key, **more):
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return {**json.loads(jwk.JWK.from_pem(pem).export_public()), **more}


def thumbprint(key):
    return jwk.JWK(**public_jwk(key)).thumbprint()


def encoded(value):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).decode().rstrip("=")


numbers = itertools.count()


class Requests:
    """Makes the requests, and has each sent once it is made: some are about seconds."""

    def __init__(self, issuer, send):
        self.issuer, self.send = issuer, send

    def claims(self, host, **changes):
        now = int(time.time())
        claims = {
            "iss": self.issuer, "aud": audience_of(host), "sub": "auth0|7", "iat": now - 1, "exp": now + 600,
            "scope": "read:items", "permissions": ["read:items"], "azp": "client-1",
            **({"client_id": "client-1", "jti": f"id-{next(numbers)}"} if host == RFC9068 else {}),
            **changes,
        }
        return {name: value for name, value in claims.items() if value is not None}

    def header(self, host, alg="RS256", **changes):
        header = {"alg": alg, "typ": "at+jwt" if host == RFC9068 else "JWT", "kid": KEYS[alg][0], **changes}
        return {name: value for name, value in header.items() if value is not None}

    def token(self, host, header=(), alg="RS256", key=None, **claims):
        header = self.header(host, alg, **dict(header))
        header.setdefault("typ", None)  # Otherwise PyJWT puts one in.
        return pyjwt.encode(self.claims(host, **claims), key or KEYS[alg][1], algorithm=alg, headers=header)

    def bound(self, host, **claims):
        return self.token(host, cnf={"jkt": thumbprint(OWN)}, **claims)

    def proof(self, host, token, key=OWN, header=(), **changes):
        claims = {
            "htm": "GET", "htu": f"https://{host}/items", "iat": int(time.time()), "jti": f"proof-{next(numbers)}",
            "ath": encoded(hashlib.sha256(token.encode()).digest()), **changes,
        }
        claims = {name: value for name, value in claims.items() if value is not None}
        header = {"typ": "dpop+jwt", "jwk": public_jwk(key), **dict(header)}
        return pyjwt.encode(claims, key, algorithm="ES256", headers=header)

    def add(self, what, host, lines=(), method="GET", target="/items", body=None):
        self.send(f"{host.split('.')[0]}: {what}", host, method, target, list(lines), body)

    def bearer(self, what, host, token, **more):
        self.add(what, host, [("Authorization", f"Bearer {token}")], **more)

    def dpop(self, what, host, token, proof, **more):
        self.add(what, host, [("Authorization", f"DPoP {token}"), ("DPoP", proof)], **more)


def of_forms(made, host):
    """How a token comes, or does not."""
    good = made.token(host)
    made.add("no token", host)
    made.add("an empty header", host, [("Authorization", "")])
    made.bearer("good", host, good)
    made.add("the scheme in small letters", host, [("Authorization", f"bearer {good}")])
    made.add("another scheme", host, [("Authorization", "Basic dTpw")])
    made.add("the token without a scheme", host, [("Authorization", good)])
    made.add("no scheme that there is", host, [("Authorization", f"Token {good}")])
    made.add("a scheme alone", host, [("Authorization", "Bearer")])
    made.add("two words", host, [("Authorization", "Bearer a b")])
    made.add("two spaces", host, [("Authorization", f"Bearer  {good}")])
    made.add("no token that there is", host, [("Authorization", "Bearer x")])
    made.add("two headers", host, [("Authorization", f"Bearer {good}"), ("Authorization", f"Bearer {good}")])
    made.add("in the query", host, target=f"/items?access_token={good}")
    made.bearer("in the header and the query", host, good, target=f"/items?access_token={good}")
    form = [("Content-Type", "application/x-www-form-urlencoded")]
    body = urllib.parse.urlencode({"access_token": good}).encode()
    made.add("in the body", host, form, method="POST", body=body)
    both = [*form, ("Authorization", f"Bearer {good}")]
    made.add("in the header and the body", host, both, method="POST", body=body)


def of_tokens(made, host):
    """What a token says."""
    now, audience = int(time.time()), audience_of(host)
    for what, claims in {
        "several audiences": {"aud": ["https://other.test", audience]},
        "another audience": {"aud": "https://other.test"},
        "the audience with a slash more": {"aud": audience + "/"},
        "no audience": {"aud": None},
        "another issuer": {"iss": "https://evil.test/"},
        "the issuer without its slash": {"iss": made.issuer.rstrip("/")},
        "no issuer": {"iss": None},
        "expired": {"exp": now - 600},
        "no expiry": {"exp": None},
        "an expiry of text": {"exp": str(now + 600)},
        "not yet valid": {"nbf": now + 600},
        "issued in the future": {"iat": now + 300},
        "no time of issue": {"iat": None},
        "a time of issue of text": {"iat": str(now)},
        "no subject": {"sub": None},
        "a subject that is a number": {"sub": 7},
        "an ID token": {"nonce": "n"},
        "bound to a certificate": {"cnf": {"x5t#S256": "x"}},
        "bound to what nobody knows": {"cnf": {"jku": "https://evil.test/"}},
    }.items():
        made.bearer(what, host, made.token(host, **claims))
    made.bearer("expired, within the leeway", host, made.token(host, exp=int(time.time()) - 1))
    if host == RFC9068:
        for name in ["client_id", "jti"]:
            made.bearer(f"no {name}", host, made.token(host, **{name: None}))
    for what, header in {
        "no type": {"typ": None}, "the long type": {"typ": "application/at+jwt"}, "the short type": {"typ": "at+jwt"},
        "the type JWT": {"typ": "JWT"}, "a logout token": {"typ": "logout+jwt"}, "no key id": {"kid": None},
        "the key id of another": {"kid": "two"}, "a critical extension": {"crit": ["x"], "x": 1},
    }.items():
        made.bearer(what, host, made.token(host, header))
    made.bearer("an unknown key id", host, made.token(host, {"kid": "nobody"}))
    for alg in ["PS256", "ES256"]:
        made.bearer(f"signed with {alg}", host, made.token(host, alg=alg))


def of_forgeries(made, host):
    """What no library makes."""
    good, claims = made.token(host), made.claims(host)
    head, payload, signature = good.split(".")
    made.bearer("signed by another", host, made.token(host, key=rsa.generate_private_key(65537, 2048)))
    made.bearer("another signature", host, f"{head}.{payload}.{signature[:-8]}AAAAAAAA")
    made.bearer("no signature", host, f"{head}.{payload}.")
    made.bearer("two segments", host, f"{head}.{payload}")
    made.bearer("other claims", host, f"{head}.{encoded({**claims, 'scope': 'admin'})}.{signature}")
    made.bearer("no algorithm", host, f"{encoded({**made.header(host), 'alg': 'none'})}.{payload}.")
    public = KEYS["RS256"][1].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{encoded({**made.header(host), 'alg': 'HS256'})}.{payload}"
    mac = hmac.digest(public, signed.encode(), "sha256")
    made.bearer("the public key as a secret", host, f"{signed}.{encoded(mac)}")
    twice = f'{{"scope":"admin",{json.dumps(claims)[1:]}'.encode()
    for what, payload in [("a claim twice", twice), ("claims that are a list", b"[1]"), ("no claims", b"{}")]:
        key, header = KEYS["RS256"][1], made.header(host)
        made.bearer(what, host, pyjwt.api_jws.encode(payload, key, "RS256", header))


def of_scopes(made, host):
    """What a token may do."""
    for what, claims in {
        "another scope": {"scope": "write:items"}, "part of a scope": {"scope": "read:item read:items2"},
        "no scope": {"scope": None}, "an empty scope": {"scope": ""}, "a scope of a number": {"scope": 7},
        "a scope that is a list": {"scope": ["read:items"]}, "scp": {"scope": None, "scp": ["read:items"]},
    }.items():
        made.bearer(what, host, made.token(host, **claims))
    made.bearer("both of two scopes", host, made.token(host, scope="write:items read:items"), target="/both")
    made.bearer("one of two scopes", host, made.token(host), target="/both")
    bound = made.bound(host, scope="write:items")
    made.dpop("another scope with a proof", host, bound, made.proof(host, bound))


def of_permissions(made):
    for what, permissions in {
        "another permission": ["write:items"], "no permission": [], "no permissions": None,
        "several permissions": ["write:items", "read:items"],
    }.items():
        made.bearer(what, PERMITTED, made.token(PERMITTED, permissions=permissions), target="/permitted")


def of_proofs(made, host):
    """What RFC 9449 asks for."""
    now, token, plain = int(time.time()), made.bound(host), made.token(host)
    once = made.proof(host, token)
    made.dpop("good with a proof", host, token, once)
    made.dpop("a proof again", host, token, once)
    made.dpop("a proof, and a query", host, token, made.proof(host, token), target="/items?page=2")
    made.bearer("bound, as a bearer token", host, token)
    proof = ("DPoP", made.proof(host, token))
    lines = [("Authorization", f"Bearer {token}"), proof]
    made.add("bound, as a bearer token with a proof", host, lines)
    made.add("no proof", host, [("Authorization", f"DPoP {token}")])
    lines = [("Authorization", f"DPoP {token}"), ("DPoP", made.proof(host, token)), ("DPoP", made.proof(host, token))]
    made.add("two proofs", host, lines)
    made.add("a proof alone", host, [proof])
    made.dpop("not bound, with a proof", host, plain, made.proof(host, plain))
    lines = [("Authorization", f"Bearer {plain}"), ("DPoP", made.proof(host, plain))]
    made.add("not bound, as a bearer token with a proof", host, lines)
    expired = made.bound(host, exp=now - 600)
    made.dpop("expired with a proof", host, expired, made.proof(host, expired))
    made.dpop("of another key", host, token, made.proof(host, token, OTHER))
    for what, changes in {
        "for another method": {"htm": "POST"}, "for the method in small letters": {"htm": "get"},
        "for another address": {"htu": f"https://{host}/other"}, "for another host": {"htu": "https://evil.test/items"},
        "for the address with a query": {"htu": f"https://{host}/items?page=2"},
        "for another token": {"ath": encoded(hashlib.sha256(b"x").digest())},
        "with no method": {"htm": None}, "with no address": {"htu": None}, "with no token": {"ath": None},
        "with no time": {"iat": None}, "with no number": {"jti": None},
        "an hour old": {"iat": now - 3600}, "two minutes old": {"iat": now - 120},
        "an hour early": {"iat": now + 3600}, "twenty seconds early": {"iat": now + 20},
    }.items():
        made.dpop(f"a proof {what}", host, token, made.proof(host, token, **changes))
    made.dpop("a proof of another type", host, token, made.proof(host, token, header={"typ": "JWT"}))
    private = {**public_jwk(OWN), "d": encoded(OWN.private_numbers().private_value.to_bytes(32))}
    made.dpop("a proof with the private key", host, token, made.proof(host, token, header={"jwk": private}))
    proof = made.proof(host, token)
    made.dpop("a proof with another signature", host, token, proof[:-8] + "AAAAAAAA")
    made.dpop("no proof that there is", host, token, "x")


def all_requests(made):
    for host in [AUTH0, RFC9068]:
        of_forms(made, host)
        of_tokens(made, host)
        of_forgeries(made, host)
        of_proofs(made, host)
        of_scopes(made, host)
    of_permissions(made)


def configuration(issuer, upstream):
    dialects = {AUTH0: "access_token", RFC9068: "rfc9068_profile", PERMITTED: "access_token_authz"}
    return {
        "issuers": [{"issuer": issuer.issuer, "jwks": {"cooldown": "100ms"}}],
        "apis": [
            {
                "definition": {
                    **definition(audience_of(host), "RS256", dialect, host == PERMITTED),
                    "proof_of_possession": {"mechanism": "dpop", "required": False},
                },
                "hosts": [host],
                "public_url": f"https://{host}",
                "upstream": upstream.url,
                # Express looks into the query too; here it must be asked for.
                **({"tokens": {"from": ["authorization", {"query": "access_token"}]}} if host == AUTH0 else {}),
                "routes": [
                    {"path": "/items", "require": "read:items"},
                    {"path": "/permitted", "require": "read:items"},
                    {"path": "/both", "require": ["read:items", "write:items"]},
                ],
            }
            for host, dialect in dialects.items()
        ],
    }


class Express:
    """The service. It ends with the `with` block."""

    def __init__(self, issuer):
        apis = [{"host": host, "audience": audience_of(host), "strict": host == RFC9068} for host in HOSTS]
        folder, script = os.environ["SCOPEGATE_EXPRESS"], PROJECT / "tests/clients/express/server.mjs"
        # A script finds its packages beside itself, so it runs where they are installed.
        copy = os.path.join(folder, "server.mjs")
        with open(copy, "w", encoding="utf-8") as file:
            file.write(script.read_text())
        facts = json.dumps({"issuer": issuer, "apis": apis})
        self.child = subprocess.Popen(
            ["node", copy, facts], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.address = f"127.0.0.1:{int(self.child.stdout.readline())}"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.child.stdin.close()
        try:
            self.child.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait(DEADLINE)


def ask(address, host, method, target, lines, body):
    connection = http.client.HTTPConnection(address, timeout=DEADLINE)
    try:
        connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
        for name, value in [("Host", host), ("X-Forwarded-Proto", "https"), *lines]:
            connection.putheader(name, value)
        if body is not None:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer(answer.status, answer.headers, answer.read())
    finally:
        connection.close()


PARAMETER = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
SCHEME = re.compile(r"(?:^|, )(Bearer|DPoP) ")


def outcome(answer):
    """An answer in a line: the status, and each scheme with its error code and scope."""
    challenges = answer.headers.get_all("www-authenticate") or []
    told = []
    for challenge in challenges:
        starts = [*SCHEME.finditer(challenge)]
        ends = [start.start() for start in starts[1:]] + [len(challenge)]
        for start, end in zip(starts, ends):
            parameters = dict(PARAMETER.findall(challenge[start.end():end]))
            kept = [parameters[name] for name in ("error", "scope") if name in parameters]
            told.append(" ".join([start.group(1), *kept]))
    return "; ".join([str(answer.status), *told])


def main():
    tally = Tally("express_side_by_side")
    with Issuer() as issuer, Upstream() as upstream:
        issuer.keys = [public_jwk(key, kid=kid, use="sig") for kid, key in KEYS.values()]
        with Express(issuer.issuer) as express, Gateway(configuration(issuer, upstream)) as gateway:
            side_by_side(tally, issuer, express, gateway, upstream)
    the_readme(tally)
    tally.finish()


def side_by_side(tally, issuer, express, gateway, upstream):
    occurred, asked = set(), []

    def send(what, host, *request):
        before = upstream.count
        theirs, answer = ask(express.address, host, *request), ask(gateway.address, host, *request)
        ours = outcome(answer)
        tally.equal(f"{what}: requests at the upstream", upstream.count - before, int(answer.status == 200))
        listed = what if what in LISTED else what.partition(": ")[2]
        asked.append(what)
        if row := LISTED.get(listed):
            occurred.add(listed)
            tally.equal(f"{what}, a known difference", (outcome(theirs), ours), (row.express, row.gateway))
        else:
            tally.equal(f"{what}, the gateway ({answer.reason}) and Express", ours, outcome(theirs))

    all_requests(Requests(issuer.issuer, send))
    tally.check("many requests", len(asked) >= 200, str(len(asked)))
    tally.equal("each with a name of its own", len(set(asked)), len(asked))
    tally.equal("every listed difference occurs", sorted(LISTED), sorted(occurred))


def the_readme(tally):
    """The table that users read is this list."""
    section = (PROJECT / "README.md").read_text().partition(f"\n{HEADING}\n")[2].partition("\n#")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    expected = [f"| {row.what} | `{row.express}` | `{row.gateway}` | {row.why} |" for row in DIFFERENCES]
    for found, wanted in itertools.zip_longest(rows, expected):
        tally.equal("a row of the README", found, wanted)
    for row in DIFFERENCES:
        tally.check(f"{row.what}: a difference, of some request", row.express != row.gateway and row.requests)


if __name__ == "__main__":
    main()
