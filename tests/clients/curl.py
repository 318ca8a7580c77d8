"""Real curl: HTTP/1.1 and HTTP/2 by prior knowledge, methods, limits, paths, headers, bodies, gRPC, CORS, reload."""

import json
import pathlib
import signal
import time

import jwt as pyjwt
from common import Gateway, Tally, Upstream, curl, definition
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER, AUDIENCE = "https://issuer.test/", "https://items.test/"
HTTP2 = "--http2-prior-knowledge"
KEY = ec.generate_private_key(ec.SECP256R1())


def key_set():
    key = json.loads(pyjwt.algorithms.ECAlgorithm.to_jwk(KEY.public_key()))
    return json.dumps({"keys": [{**key, "kid": "k", "use": "sig", "alg": "ES256"}]})


def token(scope):
    now = int(time.time())
    claims = {"iss": ISSUER, "aud": AUDIENCE, "sub": "7", "azp": "c", "iat": now, "exp": now + 600, "scope": scope}
    return f"Authorization: Bearer {pyjwt.encode(claims, KEY, 'ES256', {'kid': 'k'})}"


def configuration(upstream):
    return {
        "access_log": {"output": "stdout"},
        "issuers": [{"issuer": ISSUER, "jwks_file": "jwks.json"}],
        "limits": {"body_bytes": "64KiB", "uri_bytes": "1KiB", "header_bytes": "8KiB", "token_bytes": "4KiB"},
        "apis": [
            {
                "definition": definition(AUDIENCE, "ES256"),
                "upstream": upstream.url,
                "forward": {"token": "strip", "identity_headers": {"X-Auth-Subject": "sub"}},
                "cors_preflight": "forward",
                "routes": [
                    {"path": "/healthz", "methods": ["GET"], "require": "public"},
                    {"path": "/items", "methods": ["GET", "HEAD"], "require": "read:items"},
                    {"path": "/items", "methods": ["POST"], "require": "write:items"},
                    {"path": "/items/{id}", "methods": ["GET", "DELETE"], "require": "write:items"},
                    {"path": "/files/{*rest}", "require": "public", "allow": ["encoded_slash"]},
                    {"path": "/grpc.Items/Get", "methods": ["POST"], "require": "write:items"},
                    {"path": "/try", "require": "write:items", "mode": "report"},
                ],
            }
        ],
    }


class Suite:
    def __init__(self, tally, gateway, upstream):
        self.tally, self.gateway, self.upstream = tally, gateway, upstream

    def ask(self, what, path, *arguments, status, reason=None, reaches=None):
        """One request; whether it reaches the upstream follows from the status unless `reaches` says otherwise."""
        before = self.upstream.count
        answer = curl(*arguments, f"http://{self.gateway.address}{path}")
        self.tally.equal(what, (answer.status, answer.reason), (status, reason))
        reaches = status == 200 if reaches is None else reaches
        self.tally.equal(f"{what}: requests at the upstream", self.upstream.count - before, int(reaches))
        return answer

    def equal(self, *arguments):
        self.tally.equal(*arguments)

    def both_versions(self):
        for version, flag in [("HTTP/1.1", "--http1.1"), ("HTTP/2", HTTP2)]:
            allowed = self.ask(f"{version} allowed", "/items", flag, "-H", token("read:items"), status=200)
            self.equal(f"{version} version", allowed.version, version)
            seen = json.loads(allowed.body)["headers"]
            self.equal(f"{version} subject", seen.get("x-auth-subject"), "7")
            self.equal(f"{version} host", seen.get("host"), self.gateway.address)
            self.equal(f"{version} via", seen.get("via"), "1.1 scopegate" if version == "HTTP/1.1" else "2.0 scopegate")
            missing = self.ask(f"{version} no token", "/items", flag, status=401, reason="missing_token")
            self.equal(f"{version} challenge", missing.headers["www-authenticate"], f'Bearer realm="{AUDIENCE}"')
            lacking = self.ask(
                f"{version} no scope", "/items/7", flag, "-H", token("read:items"), status=403, reason="insufficient_scope"
            )
            self.tally.check(f"{version} scope", 'scope="write:items"' in lacking.headers["www-authenticate"])
            self.equal(f"{version} no store", lacking.headers["cache-control"], "no-store")
            self.ask(f"{version} public", "/healthz", flag, status=200)
            public = self.ask(f"{version} public ignores tokens", "/healthz", flag, "-H", "Authorization: Bearer x", status=200)
            self.tally.check(f"{version} public strips the token", "authorization" not in json.loads(public.body)["headers"])

    def methods(self):
        allowed = self.ask("HEAD allowed", "/items", "--head", "-H", token("read:items"), status=200)
        self.equal("HEAD has no body", allowed.body, b"")
        refused = self.ask("HEAD refused", "/items", "--head", status=401)
        self.equal("HEAD refused has no body", refused.body, b"")
        self.tally.check("HEAD refused has a challenge", refused.headers["www-authenticate"])
        for flag in ["--http1.1", HTTP2]:
            refused = self.ask(f"405 {flag}", "/items", flag, "-X", "DELETE", status=405, reason="method_not_allowed")
            self.equal(f"405 {flag} Allow", refused.headers["allow"], "GET, HEAD, POST")
            self.equal(f"405 {flag} no challenge", refused.headers["www-authenticate"], None)
        self.ask("a method in lower case", "/items", "-X", "get", status=405, reason="method_not_allowed")
        self.ask("no route", "/nothing", status=404, reason="no_route")
        self.ask("no route, with a token", "/nothing", "-H", token("read:items"), status=404, reason="no_route")

    def limits(self):
        long = "/items?" + "a" * 2000
        for flag in ["--http1.1", HTTP2]:
            self.ask(f"414 {flag}", long, flag, status=414, reason="uri_too_long")
            large = "X-Large: " + "a" * 9000
            self.ask(f"431 {flag}", "/items", flag, "-H", large, status=431, reason="headers_too_large")
            post = [flag, "-X", "POST", "-H", token("write:items"), "-H", "Content-Type: application/octet-stream"]
            accepted = self.ask(f"a body {flag}", "/items", *post, "--data-binary", "x" * 60_000, status=200)
            self.equal(f"a body {flag}: bytes", json.loads(accepted.body)["body_bytes"], 60_000)
        # Not over HTTP/2: older versions of curl lose an answer that comes before they have sent everything.
        post = ["--http1.1", "-X", "POST", "-H", token("write:items")]
        self.ask("413", "/items", *post, "--data-binary", "x" * 70_000, status=413, reason="body_too_large")
        chunked = ["-X", "POST", "-H", token("write:items"), "-H", "Transfer-Encoding: chunked", "-H", "Expect:"]
        accepted = self.ask("a chunked body", "/items", *chunked, "--data-binary", "x" * 60_000, status=200)
        self.equal("a chunked body: bytes", json.loads(accepted.body)["body_bytes"], 60_000)
        waiting = ["-X", "POST", "-H", token("write:items"), "-H", "Expect: 100-continue", "--data-binary", "x" * 6_000]
        self.ask("100-continue", "/items", *waiting, status=200)
        self.ask("too large a token", "/items", "-H", "Authorization: Bearer " + "a" * 5000, status=401, reason="token_too_large")

    def paths(self):
        for path in ["/items/../healthz", "/items/%2e%2e/healthz", "/items/..%2fhealthz", "//healthz", "/healthz;x=1", "/items%5c7", "/%zz"]:
            self.ask(f"path {path}", path, "--path-as-is", status=400, reason="bad_path")
        kept = self.ask("an encoded slash where it is allowed", "/files/a%2Fb?q=%2F", "--path-as-is", status=200)
        self.equal("is forwarded as it came", json.loads(kept.body)["path"], "/files/a%2Fb?q=%2F")
        self.ask("dots even there", "/files/..%2fhealthz", "--path-as-is", status=400, reason="bad_path")

    def headers(self):
        good = token("read:items")
        self.ask("two tokens", "/items", "-H", good, "-H", good, status=400, reason="multiple_tokens")
        self.ask("no token after Bearer", "/items", "-H", "Authorization: Bearer", status=400, reason="malformed_authorization")
        self.ask("another scheme", "/items", "-H", "Authorization: Basic YTpi", status=401, reason="missing_token")
        self.ask("a token in the query", "/items?access_token=" + good[22:], status=401, reason="missing_token")
        self.ask("an underscore", "/items", "-H", good, "-H", "X_Auth_Subject: root", status=400, reason="bad_request")
        forged = ["X-Auth-Subject: root", "x-forwarded-for: 1.2.3.4", "X-Original-URL: /admin", "X-HTTP-Method-Override: DELETE"]
        arguments = [word for header in forged for word in ("-H", header)]
        seen = json.loads(self.ask("forged headers", "/items", "-H", good, *arguments, status=200).body)["headers"]
        self.equal("forged subject", seen.get("x-auth-subject"), "7")
        self.equal("forged address", seen.get("x-forwarded-for"), "127.0.0.1")
        self.tally.check("steering headers", not {"x-original-url", "x-http-method-override"} & set(seen))
        seen = json.loads(self.ask("forged, public", "/healthz", *arguments, status=200).body)["headers"]
        self.tally.check("an anonymous request has no subject", "x-auth-subject" not in seen)
        steered = ["-H", good, "-H", "Connection: close, X-Auth-Subject, X-Other", "-H", "X-Other: 1"]
        seen = json.loads(self.ask("Connection names headers", "/items", *steered, status=200).body)["headers"]
        self.equal("ours stay", seen.get("x-auth-subject"), "7")
        self.tally.check("the client's go", "x-other" not in seen)
        self.ask("Connection: Authorization", "/items", "-H", good, "-H", "Connection: authorization", status=400, reason="bad_request")
        self.ask("HTTP/1.0", "/healthz", "--http1.0", status=400, reason="bad_request")

    def dialects(self):
        grpc = [HTTP2, "-X", "POST", "-H", "Content-Type: application/grpc", "-H", "TE: trailers"]
        for what, arguments, code in [("no token", [], "16"), ("no scope", ["-H", token("read:items")], "7")]:
            refused = self.ask(f"gRPC, {what}", "/grpc.Items/Get", *grpc, *arguments, status=200, reaches=False)
            self.equal(f"gRPC, {what}: grpc-status", refused.headers["grpc-status"], code)
        preflight = ["-X", "OPTIONS", "-H", "Origin: https://app.test", "-H", "Access-Control-Request-Method: POST"]
        self.ask("a preflight is forwarded", "/items", *preflight, status=200)
        self.ask("a preflight for no route", "/items/7", *preflight, status=405, reason="method_not_allowed")
        self.ask("OPTIONS that is no preflight", "/items", "-X", "OPTIONS", status=405, reason="method_not_allowed")
        self.ask("report mode lets pass", "/try", status=200)
        shadow = self.gateway.metric("scopegate_auth_decisions_total", decision="shadow_deny", reason="missing_token")
        self.equal("report mode counts", shadow, 1.0)

    def reload(self):
        path = pathlib.Path(self.gateway.path)
        good = path.read_text()
        path.write_text(good.replace('"/healthz"', '"/alive"'))
        self.eventually("a changed file takes effect", lambda: self.status("/alive") == 200)
        self.ask("what was removed is gone", "/healthz", status=404, reason="no_route")
        path.write_text(good.replace('"routes"', '"roads"'))
        self.gateway.child.send_signal(signal.SIGHUP)
        failed = lambda: self.gateway.metric("scopegate_config_last_reload_successful") == 0
        self.eventually("a fault is told", failed)
        self.ask("the last good one stays", "/alive", status=200)
        path.write_text(good)
        self.eventually("a repaired file takes effect", lambda: self.status("/healthz") == 200)

    def status(self, path):
        return curl(f"http://{self.gateway.address}{path}").status

    def access_log(self):
        """The default output: each request is there while the gateway runs, as one line of JSON."""
        counted = self.gateway.metric("scopegate_auth_decisions_total")
        self.eventually("one line per decision", lambda: len(self.gateway.out) == counted)
        lines = [json.loads(line) for line in self.gateway.out]
        self.tally.check("subjects are hashed", {"7"}.isdisjoint(line.get("subject") for line in lines))
        self.tally.check("there are subjects", any("subject" in line for line in lines))
        self.tally.check("no token", not any("eyJ" in line for line in self.gateway.out))

    def eventually(self, what, condition):
        end = time.monotonic() + 15
        while not (held := condition()) and time.monotonic() < end:
            time.sleep(0.05)
        self.tally.check(what, held)


def main():
    tally = Tally("curl")
    with Upstream() as upstream, Gateway(configuration(upstream), {"jwks.json": key_set()}) as gateway:
        suite = Suite(tally, gateway, upstream)
        suite.both_versions()
        suite.methods()
        suite.limits()
        suite.paths()
        suite.headers()
        suite.dialects()
        suite.access_log()
        suite.reload()
        tally.equal("SIGTERM ends it with", gateway.stop(), 0)
    tally.finish()


main()
