"""The first command of the README, and every request that it prints, as it stands, with a real shell and a real curl.

With TLS as well: curl and Auth0's Python SDK trust the certificate that the demo prints, and no key is on the disk.
"""

import os
import pathlib
import re
import shlex
import signal
import subprocess
import tempfile
import time

from common import DEADLINE, Process, Tally, binary, read_curl

REALM = 'Bearer realm="https://items.example.com"'
LACKS = REALM + ', error="insufficient_scope", error_description="the token lacks a permission that the route asks for"'
CHALLENGES = {
    "there is no token": REALM,
    "the token has expired": REALM + ', error="invalid_token", error_description="the token has expired"',
    "the token is for another API": REALM
    + ', error="invalid_token", error_description="the token is for another audience"',
    "the token lacks delete:items": LACKS + ', scope="delete:items"',
    "now nobody has it, whatever the token says": LACKS + ', scope="delete:items"',
}
AUDIENCE = "https://items.example.com"


def paste(command):
    done = subprocess.run(command, shell=True, capture_output=True, timeout=DEADLINE, check=False)
    return read_curl(done.stdout, done.returncode)


def requests(tally, what, printed):
    """Every line that is printed, in its order."""
    found = re.findall(r"^# (\d{3}): (.*)\n(curl .*)$", printed, re.MULTILINE)
    tally.check(f"{what} prints requests", len(found) >= 12, str(found))
    for status, why, command in found:
        answer, end = paste(command), time.monotonic() + DEADLINE
        # A change is in force some milliseconds after its answer.
        while answer.status != int(status) and time.monotonic() < end and "/items/7" in command:
            answer = paste(command)
        tally.equal(f"{what}, {why}: status", answer.status, int(status))
        tally.equal(f"{what}, {why}: challenge", answer.headers["www-authenticate"], CHALLENGES.get(why))
        if "/oauth/token" in command:
            tally.check(f"{what}, {why}: a token", b'"access_token"' in answer.body, answer)
    tally.equal(f"{what}: every challenge was met", set(CHALLENGES) - {why for _, why, _ in found}, set())


def credentials(printed):
    """What is to be exported, read by a shell."""
    return dict(pair.split("=", 1) for line in re.findall(r"export (\S+)", printed) for pair in shlex.split(line))


def commands(tally, what, exported):
    environment = {**os.environ, **exported}
    listed = subprocess.run(
        [binary(), "api", "list"], env=environment, capture_output=True, timeout=DEADLINE, check=False, text=True
    )
    tally.check(f"{what}: `api list` with what is exported", AUDIENCE in listed.stdout, listed)


def sdk(tally, exported, base):
    """From an application to the API, each step over https."""
    os.environ.update(
        REQUESTS_CA_BUNDLE=exported["SCOPEGATE_CA"], SSL_CERT_FILE=exported["SCOPEGATE_CA"], NO_PROXY="*"
    )
    import requests as http
    from auth0.authentication import GetToken
    from auth0.management import ManagementClient

    domain = exported["SCOPEGATE_ISSUER"].removeprefix("https://").rstrip("/")
    management = ManagementClient(
        domain=domain, client_id=exported["SCOPEGATE_CLIENT_ID"], client_secret=exported["SCOPEGATE_CLIENT_SECRET"]
    )
    app = management.clients.create(name="sdk", app_type="non_interactive", grant_types=["client_credentials"])
    management.client_grants.create(client_id=app.client_id, audience=AUDIENCE, scope=["read:items"])
    token = GetToken(domain, app.client_id, client_secret=app.client_secret).client_credentials(AUDIENCE)
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    tally.equal("SDK: allowed", http.get(f"{base}/items", headers=headers, timeout=DEADLINE).status_code, 200)
    refused = http.delete(f"{base}/items/7", headers=headers, timeout=DEADLINE)
    tally.equal("SDK: refused", (refused.status_code, refused.json()["reason"]), (403, "insufficient_permission"))
    del os.environ["REQUESTS_CA_BUNDLE"], os.environ["SSL_CERT_FILE"]


def certificates(tally, folder, exported):
    """On the disk is one certificate, and no key."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    tally.equal("one file", [str(path) for path in files], [exported["SCOPEGATE_CA"]])
    text = files[0].read_text()
    tally.check("no key", text.count("BEGIN CERTIFICATE") == 1 and "PRIVATE" not in text, text)
    strict = "import ssl; c = ssl.create_default_context(cafile={!r}); c.verify_flags |= ssl.VERIFY_X509_STRICT; " \
        "import socket; c.wrap_socket(socket.create_connection(({!r}, {})), server_hostname='localhost')"
    host, _, port = exported["SCOPEGATE_ISSUER"].removeprefix("https://").rstrip("/").rpartition(":")
    code = strict.format(exported["SCOPEGATE_CA"], host, port)
    done = subprocess.run(["python3", "-c", code], capture_output=True, timeout=DEADLINE, check=False)
    tally.equal("good in the strictest sense", (done.returncode, done.stderr), (0, b""))


def demo(tally, what, *arguments):
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(temporary)
        started = ["demo", "--address", "127.0.0.1:0", *arguments]
        with Process(started, {"TMPDIR": temporary}) as running:
            running.wait_for_line(lambda line: line.startswith("Ctrl-C ends it"), from_stdout=True)
            printed = "".join(running.out)
            requests(tally, what, printed)
            exported = credentials(printed)
            commands(tally, what, exported)
            if "--tls" in arguments:
                base = re.search(r"listens on (https://[^,]+),", printed)[1]
                sdk(tally, exported, base)
                certificates(tally, folder, exported)
            tally.equal(f"{what}: SIGTERM ends it with", running.stop(signal.SIGTERM), 0)
            log = "".join(running.log)
            secrets = [exported["SCOPEGATE_CLIENT_SECRET"], *re.findall(r"client_secret (\S+)", printed)]
            secrets += re.findall(r"eyJ\S+\.\S+\.[^\s']+", printed)
            tally.check(f"{what}: nothing of it in the log", not any(secret in log for secret in secrets))
        tally.equal(f"{what}: nothing is left", list(folder.rglob("*")), [])


def main():
    tally = Tally("demo")
    demo(tally, "cleartext")
    demo(tally, "TLS", "--tls")
    tally.finish()


main()
