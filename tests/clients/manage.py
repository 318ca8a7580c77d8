"""From nothing to a protected API with the commands that the README shows, each as a process of its own.

Also what they say when they are refused, and that no secret is said where it should not be.
"""

import http.server
import json
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

from common import Tally, binary

API = "https://items.example.com"


class Api(http.server.BaseHTTPRequestHandler):
    seen = 0

    def do_GET(self):
        Api.seen += 1
        body = json.dumps({"client": self.headers.get("X-Auth-Client")}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def status(url, token=None):
    request = urllib.request.Request(url)
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def until(condition):
    end = time.monotonic() + 30
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def main():
    checks = Tally("manage")
    upstream = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=upstream.serve_forever, daemon=True).start()
    gateway, authority, admin = free_port(), free_port(), free_port()
    folder = tempfile.TemporaryDirectory()
    here = os.path.dirname(os.path.abspath(__file__))
    text = open(os.path.join(here, "../../config/authority.yaml"), encoding="utf-8").read()
    text = text.replace("127.0.0.1:9000", f"127.0.0.1:{authority}").replace("127.0.0.1:8080", f"127.0.0.1:{gateway}")
    text = text.replace("127.0.0.1:3000", f"127.0.0.1:{upstream.server_port}")
    text += f"\nadmin: {{ address: 127.0.0.1:{admin} }}\n"
    config = os.path.join(folder.name, "authority.yaml")
    open(config, "w", encoding="utf-8").write(text)
    errors = open(os.path.join(folder.name, "log"), "w+", encoding="utf-8")
    running = subprocess.Popen([binary(), "run", "--config", config], stdout=subprocess.PIPE, stderr=errors, text=True)
    try:
        credentials = {}
        while len(credentials) < 3:
            line = running.stdout.readline()
            assert line, "it ended: " + open(errors.name, encoding="utf-8").read()
            found = re.match(r"\s*(SCOPEGATE_\w+)=(\S+)", line)
            if found:
                credentials[found[1]] = found[2]
        environment = {**os.environ, **credentials}

        def command(*arguments, code=0):
            done = subprocess.run(
                [binary(), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            checks.check(f"{' '.join(arguments[:2])} ends with {code}", done.returncode == code, done.stderr)
            return done

        url = f"http://127.0.0.1:{gateway}/items"
        checks.check("nobody can be judged before the API is there", status(f"http://127.0.0.1:{admin}/readyz")[0] == 503)
        command("api", "create", API, "--name", "Items", "-p", "read:items=Read items", "-p", "write:items")
        app = json.loads(command("app", "create", "svc", "--output", "json").stdout)
        command("grant", "create", app["client_id"], API, "read:items")
        asked = ("token", "--app", app["client_id"], "--secret", app["client_secret"], "--api", API)
        token = command(*asked).stdout.strip()
        checks.check("the gateway is ready", until(lambda: status(f"http://127.0.0.1:{admin}/readyz")[0] == 200))
        code, body = status(url, token)
        checks.check("the token opens the API", code == 200, body)
        checks.check("as its application", json.loads(body)["client"] == app["client_id"], body)
        claims = json.loads(command(*asked, "--decode").stdout)["claims"]
        checks.check("decoded claims", claims["scope"] == "read:items" and claims["aud"] == API, claims)

        listed = command("api", "list").stdout
        checks.check("a table of APIs", "IDENTIFIER" in listed and API in listed and "read:items write:items" in listed, listed)
        shown = command("api", "show", API).stdout
        checks.check("an API by its identifier", "token_lifetime" in shown, shown)
        apps = command("app", "list").stdout
        checks.check("a table of applications without secrets", "svc" in apps and app["client_secret"] not in apps, apps)
        grants = json.loads(command("grant", "list", "--app", app["client_id"], "--output", "json").stdout)
        checks.check("the grant", len(grants) == 1 and grants[0]["scope"] == ["read:items"], grants)

        command("permission", "delete", API, "read:items")
        checks.check("a permission that is gone opens nothing", until(lambda: status(url, token)[0] == 403))
        # Until it was in force, requests still went on.
        before = Api.seen
        checks.check("also the next time", status(url, token)[0] == 403)
        checks.check("and nothing reached the API", Api.seen == before)
        grants = json.loads(command("grant", "list", "--app", app["client_id"], "--output", "json").stdout)
        checks.check("it is gone from the grant", grants[0]["scope"] == [], grants)
        command("permission", "create", API, "read:items=Read items again")
        command("grant", "update", grants[0]["id"], "read:items")
        again = command(*asked).stdout.strip()
        checks.check("it is back", until(lambda: status(url, again)[0] == 200))

        command("keys", "rotate")
        rotated = command(*asked).stdout.strip()
        checks.check("a token of the next key", until(lambda: status(url, rotated)[0] == 200))
        checks.check("one of the previous key goes on", status(url, again)[0] == 200)
        secret = json.loads(command("app", "rotate-secret", app["client_id"], "--output", "json").stdout)["client_secret"]
        refused = command(*asked, code=1)
        checks.check("the old secret is refused in words", "401" in refused.stderr, refused.stderr)
        checks.check("and not repeated", app["client_secret"] not in refused.stderr)

        refused = command("api", "create", API, code=1)
        checks.check("twice is a conflict", "already exists" in refused.stderr, refused.stderr)
        refused = command("api", "create", "urn:x", "-p", "openid", code=1)
        checks.check("a reserved permission is refused in words", "400" in refused.stderr, refused.stderr)
        refused = command("api", "show", "urn:none", code=1)
        checks.check("what is not there", "404" in refused.stderr, refused.stderr)
        command("api", "create", "urn:x", "--json", "[]", code=1)
        environment["SCOPEGATE_CLIENT_SECRET"] = "wrong"
        refused = command("api", "list", code=1)
        checks.check("a wrong secret", "401" in refused.stderr and "wrong" not in refused.stderr, refused.stderr)
        environment["SCOPEGATE_CLIENT_SECRET"] = credentials["SCOPEGATE_CLIENT_SECRET"]
        command("app", "delete", app["client_id"])
        command("api", "delete", API)
        checks.check("a deleted API lets nobody in", until(lambda: status(url, rotated)[0] == 503))

        running.terminate()
        running.wait(timeout=30)
        errors.seek(0)
        log = errors.read()
        for name in (credentials["SCOPEGATE_CLIENT_SECRET"], app["client_secret"], secret, token):
            checks.check("no secret in the log", name not in log)
        stored = b"".join(
            open(os.path.join(folder.name, name), "rb").read() for name in os.listdir(folder.name) if name.startswith("scopegate.db")
        )
        checks.check("no secret lies open in the store", secret.encode() not in stored)
    finally:
        running.kill()
        upstream.shutdown()
    checks.finish()


main()
