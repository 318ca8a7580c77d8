"""What the README shows of the authority, as it stands there: the five commands, and five calls of an SDK in Python and in
JavaScript. Each begins with nothing and ends with the API having been called."""

import os
import pathlib
import re
import socket
import subprocess
import sys
import tempfile

from authority import certificates
from common import DEADLINE, PROJECT, Process, Tally, Upstream, binary

API = "https://items.example.com"


def free_ports(count):
    listeners = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in listeners]
    for listener in listeners:
        listener.close()
    return ports


def block(readme, language, holds):
    """The one block of a language that holds these words."""
    found = [text for text in re.findall(rf"^```{language}\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL) if holds in text]
    if len(found) != 1:
        raise RuntimeError(f"{len(found)} blocks of {language} with {holds}")
    return found[0]


class Running(Process):
    """config/authority.yaml with addresses of its own, and TLS for the authority, as SDKs want it."""

    def __init__(self, folder, upstream):
        certificates(folder)
        self.ca = str(folder / "ca.pem")
        gateway, authority, admin = free_ports(3)
        self.gateway, self.domain = f"http://127.0.0.1:{gateway}", f"127.0.0.1:{authority}"
        text = (PROJECT / "config/authority.yaml").read_text()
        for old, new in [
            ("http://127.0.0.1:9000/", f"https://{self.domain}/"),
            ("127.0.0.1:9000", self.domain + "\n  tls: { certificate: tls.pem, private_key: tls.key }"),
            ("127.0.0.1:8080", f"127.0.0.1:{gateway}"),
            ("127.0.0.1:3000", upstream.address),
        ]:
            if old not in text:
                raise RuntimeError(f"{old} is not in config/authority.yaml")
            text = text.replace(old, new)
        text += f"\nadmin: {{ address: 127.0.0.1:{admin} }}\n"
        text += f"issuers: [{{ issuer: 'https://{self.domain}/', jwks: {{ ca: ca.pem }} }}]\n"
        path = folder / "authority.yaml"
        path.write_text(text)
        super().__init__(["run", "--config", str(path)])
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "DOMAIN": self.domain,
            "GATEWAY": self.gateway,
            "NO_PROXY": "*",
            "SCOPEGATE_CA": self.ca,
            **{name: self.ca for name in ("NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")},
            "PATH": f"{pathlib.Path(binary()).parent}:{os.environ['PATH']}",
        }
        for name in ("SCOPEGATE_ISSUER", "SCOPEGATE_CLIENT_ID", "SCOPEGATE_CLIENT_SECRET"):
            self.environment[name] = self.wait_for_line(lambda line, name=name: value(line, name), from_stdout=True)

    def run(self, *command, **more):
        """What a command prints."""
        done = subprocess.run(
            command, env={**self.environment, **more}, capture_output=True, timeout=4 * DEADLINE, check=False, text=True
        )
        if done.returncode:
            raise RuntimeError(f"{command[:3]} ended with {done.returncode}: {done.stdout} {done.stderr}")
        return done.stdout


def value(line, name):
    key, _, text = line.strip().partition("=")
    return text if key == name else None


def commands(tally, readme, upstream, running):
    """The block of the README, line by line; what a person copies from one to the next is copied."""
    first, *lines = block(readme, "sh", "scopegate api create").strip().splitlines()
    tally.check("the first runs what is running", first.startswith("scopegate run --config config/authority.yaml"), first)
    tally.equal("five commands", len(lines), 4)
    copied, token = {}, ""
    for line in lines:
        token = running.run("sh", "-c", line, **copied)
        if line.startswith("scopegate app create"):
            shown = dict(row.split(None, 1) for row in token.splitlines() if len(row.split(None, 1)) == 2)
            copied = {"APP": shown["client_id"].strip(), "APP_SECRET": shown["client_secret"].strip()}
    before = upstream.count
    called = running.run(
        "curl", "-s", "-o", os.devnull, "-w", "%{http_code}", "-H", f"Authorization: Bearer {token.strip()}",
        f"{running.gateway}/items",
    )
    tally.equal("commands: the API is called", (called, upstream.count - before), ("200", 1))


def sdk(tally, what, upstream, running, *command):
    before = upstream.count
    printed = running.run(*command)
    tally.equal(f"{what}: the API is called", (printed.strip(), upstream.count - before), ("200", 1))


def main():
    tally = Tally("readme")
    readme = (PROJECT / "README.md").read_text()
    with tempfile.TemporaryDirectory(prefix="scopegate-") as temporary, Upstream() as upstream:
        folder = pathlib.Path(temporary)
        with Running(folder, upstream) as running:
            commands(tally, readme, upstream, running)
            running.run("scopegate", "api", "delete", API)
            sdk(tally, "Python", upstream, running, sys.executable, "-c", block(readme, "python", "ManagementClient"))
            running.run("scopegate", "api", "delete", API)
            # A module finds its packages beside itself.
            packages = pathlib.Path(os.environ["SCOPEGATE_AUTH0_NODE"])
            script = packages / f"readme-{os.getpid()}.mjs"
            script.write_text(block(readme, "js", "ManagementClient"))
            try:
                sdk(tally, "JavaScript", upstream, running, "node", str(script))
            finally:
                script.unlink()
    tally.finish()


main()
