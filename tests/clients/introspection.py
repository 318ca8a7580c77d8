"""Opaque tokens of a real authorization server: Authlib's introspection endpoint (RFC 7662), which authenticates the
gateway by itself, in every way that the gateway knows.
"""

import json
import os
import secrets
import time
import urllib.parse

from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, InvalidClientError, OAuth2Request, TokenMixin
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc7523 import JWTBearerClientAssertion
from authlib.oauth2.rfc7662 import IntrospectionEndpoint
from common import Gateway, Server, Tally, Upstream, definition, request
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

# The server is on loopback, where the gateway speaks plain http.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

AUDIENCE, SECRET = "urn:items", "the-secret-of-the-gateway-01"
BASIC, POST, ASSERTION = "client_secret_basic", "client_secret_post", "client_assertion_jwt"


class Token(TokenMixin):
    def __init__(self, scope, lifetime=600, **said):
        self.expires, self.said, self.revoked = int(time.time()) + lifetime, {"scope": scope, **said}, False

    def is_expired(self):
        return self.expires <= time.time()

    def is_revoked(self):
        return self.revoked


class Client(ClientMixin):
    """The gateway, as the server knows it: with one way to authenticate."""

    def __init__(self, method, key=None, alg=None):
        self.method, self.key, self.alg = method, key, alg

    def check_client_secret(self, client_secret):
        return secrets.compare_digest(client_secret, SECRET)

    def check_endpoint_auth_method(self, method, _endpoint):
        return method == self.method


class Request(OAuth2Request):
    def __init__(self, handler, body):
        super().__init__(handler.command, f"http://{handler.headers['host']}{handler.path}", headers=handler.headers)
        self.fields = dict(urllib.parse.parse_qsl(body.decode(), strict_parsing=True))
        self.payload = BasicOAuth2Payload(self.fields)

    form = property(lambda self: self.fields)


class Introspection(IntrospectionEndpoint):
    CLIENT_AUTH_METHODS = [BASIC, POST, ASSERTION]

    def check_permission(self, _token, client, _request):
        return client is self.server.client

    def query_token(self, token_string, token_type_hint):
        assert token_type_hint == "access_token"
        return self.server.tokens.get(token_string)

    def introspect_token(self, token):
        issued = {"iss": self.server.issuer, "aud": AUDIENCE, "sub": "user", "client_id": "app", "exp": token.expires}
        return {"active": True, "token_type": "Bearer", **issued, **token.said}


class Assertion(JWTBearerClientAssertion):
    def __init__(self, server):
        super().__init__()
        self.server, self.used, self.algorithms = server, set(), set()

    def get_audiences(self):
        return [self.server.issuer]

    def validate_jti(self, claims, jti):
        is_new, lives = jti not in self.used, claims["exp"] - claims["iat"] <= 60
        self.used.add(jti)
        return is_new and lives

    def resolve_client_public_key(self, client):
        return client.key

    def process_assertion_claims(self, assertion, resolve_key):
        # Authlib takes what joserfc recommends, which PS256 is not part of; this client has one algorithm and no other.
        try:
            token = jwt.decode(assertion, resolve_key, algorithms=[self.server.client.alg])
        except JoseError as error:
            raise InvalidClientError(description=error.description) from error
        self.verify_claims(token.claims)
        self.algorithms.add(token.header["alg"])
        return token.claims


class Authority(AuthorizationServer):
    """Authlib's server, with a socket."""

    def __init__(self, client):
        super().__init__()
        self.client, self.tokens, self.asked, self.refused = client, {}, 0, 0
        self.socket = Server(self._answer)
        self.issuer = self.socket.url + "/"
        self.register_endpoint(Introspection)
        self.assertion = Assertion(self)
        self.register_client_auth_method(ASSERTION, self.assertion)

    def _answer(self, handler, body):
        if handler.path == "/.well-known/oauth-authorization-server":
            return 200, {"issuer": self.issuer, "introspection_endpoint": self.issuer + "introspect"}
        if handler.path != "/introspect":
            return 404, {"error": "not found"}
        self.asked += 1
        status, document = self.create_endpoint_response("introspection", Request(handler, body))
        self.refused += status != 200
        return status, document

    def query_client(self, client_id):
        return self.client if client_id == "gateway" else None

    def create_oauth2_request(self, request):
        return request

    def handle_response(self, status, body, _headers):
        return status, json.loads(body) if isinstance(body, str) else body

    def send_signal(self, *_, **__):
        pass

    def issue(self, *arguments, **said):
        token = secrets.token_urlsafe(24)
        self.tokens[token] = Token(*arguments, **said)
        return token


def configuration(authority, upstream, credentials):
    times = {"ttl": "1s", "negative_ttl": "0s"}
    return {
        "issuers": [
            {
                "issuer": authority.issuer,
                "introspection": {"client_id": "gateway", **credentials, **times},
            }
        ],
        "apis": [
            {
                "definition": definition(AUDIENCE, "RS256"),
                "introspection": {"tokens": "all"},
                "upstream": upstream.url,
                "routes": [{"path": "/items", "require": "read:items"}],
            }
        ],
    }


def ask(gateway, token):
    return request(gateway.address, "GET", "/items", {"Authorization": f"Bearer {token}"})


def tokens(tally, name, gateway, authority, upstream):
    cases = [
        ("a good token", authority.issue("read:items"), 200, None),
        ("an unknown token", secrets.token_urlsafe(24), 401, "inactive"),
        ("an expired token", authority.issue("read:items", -60), 401, "inactive"),
        ("for another API", authority.issue("read:items", aud="urn:other"), 401, "audience_mismatch"),
        ("of another issuer", authority.issue("read:items", iss="https://evil.test/"), 401, "issuer_mismatch"),
        ("a refresh token", authority.issue("read:items", token_type="refresh_token"), 401, "wrong_type"),
        ("bound to a key", authority.issue("read:items", cnf={"jkt": "x"}), 401, "dpop_missing"),
        ("with another scope", authority.issue("write:items"), 403, "insufficient_scope"),
    ]
    for what, token, status, reason in cases:
        before = upstream.count
        answer = ask(gateway, token)
        tally.equal(f"{name}: {what}", (answer.status, answer.reason), (status, reason))
        tally.equal(f"{name}: {what}: at the upstream", upstream.count - before, int(status == 200))
    tally.equal(f"{name}: refused by the server", authority.refused, 0)

    token = authority.issue("read:items")
    before = authority.asked
    for _ in range(5):
        tally.equal(f"{name}: again", ask(gateway, token).status, 200)
    tally.check(f"{name}: it is not asked for each", authority.asked - before < 5)
    authority.tokens[token].revoked = True
    end = time.monotonic() + 20
    while ask(gateway, token).status == 200 and time.monotonic() < end:
        time.sleep(0.1)
    tally.equal(f"{name}: revoked", ask(gateway, token).reason, "inactive")


def pem_of(key):
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def public(key):
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return import_key(pem, "EC" if isinstance(key, ec.EllipticCurvePrivateKey) else "RSA")


def main():
    tally = Tally("introspection")
    p256, rsa2048 = ec.generate_private_key(ec.SECP256R1()), rsa.generate_private_key(65537, 2048)
    secret, key = {"client_secret": "file:secret"}, {"private_key": "file:key.pem"}
    p256_file, rsa_file = {"key.pem": pem_of(p256)}, {"key.pem": pem_of(rsa2048)}
    ways = [
        ("basic", Client(BASIC), {**secret, "authentication": BASIC}, {"secret": SECRET}),
        ("post", Client(POST), {**secret, "authentication": POST}, {"secret": SECRET}),
        ("ES256", Client(ASSERTION, public(p256), "ES256"), key, p256_file),
        ("RS256", Client(ASSERTION, public(rsa2048), "RS256"), key, rsa_file),
        ("PS256", Client(ASSERTION, public(rsa2048), "PS256"), {**key, "signing_alg": "PS256"}, rsa_file),
    ]
    for name, client, credentials, files in ways:
        authority = Authority(client)
        with authority.socket, Upstream() as upstream:
            with Gateway(configuration(authority, upstream, credentials), files) as gateway:
                tokens(tally, name, gateway, authority, upstream)
        tally.equal(f"{name}: the assertions' algorithms", authority.assertion.algorithms, {client.alg} - {None})

    # What the server does not accept says nothing about a token.
    for name, client, credentials, files in [
        ("a wrong secret", Client(BASIC), {**secret, "authentication": BASIC}, {"secret": "another secret"}),
        ("another way", Client(POST), {**secret, "authentication": BASIC}, {"secret": SECRET}),
        ("a wrong key", Client(ASSERTION, public(p256), "ES256"), key, rsa_file),
        ("another algorithm", Client(ASSERTION, public(rsa2048), "PS256"), key, rsa_file),
    ]:
        authority = Authority(client)
        with authority.socket, Upstream() as upstream:
            with Gateway(configuration(authority, upstream, credentials), files) as gateway:
                answer = ask(gateway, authority.issue("read:items"))
                found = (answer.status, answer.reason, upstream.count)
                tally.equal(name, found, (503, "introspection_unavailable", 0))
                tally.equal(f"{name}: at the server", (authority.asked, authority.refused), (1, 1))
    tally.finish()


main()
