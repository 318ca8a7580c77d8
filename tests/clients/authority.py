"""`scopegate run` with nothing but an authority, behind TLS of a private CA: what SDKs of Auth0 ask for.

Its credentials are read where a person reads them, from the output of the first start.
"""

import datetime
import ipaddress
import json
import os
import pathlib
import socket
import ssl
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

from common import DEADLINE, Process
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID


def certificates(folder):
    """`ca.pem`, `tls.pem` and `tls.key` for 127.0.0.1."""
    now = datetime.datetime.now(datetime.timezone.utc)

    def signed(subject, issuer, key, signer, extensions):
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=2))
        )
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(signer, hashes.SHA256())

    def name(text):
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_id = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
    usage = x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=True, crl_sign=True, encipher_only=False, decipher_only=False,
    )
    ca = signed(name("scopegate test CA"), name("scopegate test CA"), ca_key, ca_key, [
        (x509.BasicConstraints(ca=True, path_length=0), True), (usage, True), (ca_id, False),
    ])
    leaf = signed(name("127.0.0.1"), ca.subject, key, ca_key, [
        (x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ca_id), False),
    ])
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(ca.public_bytes(pem))
    (folder / "tls.pem").write_bytes(leaf.public_bytes(pem))
    (folder / "tls.key").write_bytes(
        key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


class Authority(Process):
    """Ends with the `with` block, and its folder with it."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="scopegate-authority-")
        self.folder = pathlib.Path(self._folder.name)
        certificates(self.folder)
        self.ca = str(self.folder / "ca.pem")
        # Its address is part of its name, so it must be known before.
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.domain = f"127.0.0.1:{probe.getsockname()[1]}"
        self.issuer = f"https://{self.domain}/"
        configuration = {
            "admin": {"address": "127.0.0.1:0"},
            "authority": {
                "address": self.domain,
                "issuer": self.issuer,
                "store": f"sqlite:{self.folder / 'authority.db'}",
                "tls": {
                    "certificate": str(self.folder / "tls.pem"),
                    "private_key": str(self.folder / "tls.key"),
                },
            },
        }
        path = self.folder / "scopegate.yaml"
        path.write_text(json.dumps(configuration, indent=1))
        super().__init__(["run", "--log-format", "json", "--config", str(path)])
        self.client_id = self._credential("SCOPEGATE_CLIENT_ID")
        self.client_secret = self._credential("SCOPEGATE_CLIENT_SECRET")
        self._wait()

    def _credential(self, name):
        def value(line):
            key, _, text = line.strip().partition("=")
            return text if key == name else None

        return self.wait_for_line(value, from_stdout=True)

    def _wait(self):
        end = time.monotonic() + DEADLINE
        while True:
            try:
                return self.ask("/.well-known/openid-configuration")
            except (urllib.error.URLError, ConnectionError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def ask(self, path, token=None, method="GET", body=None):
        """Status and JSON of an answer."""
        headers = {"content-type": "application/json"}
        if token:
            headers["authorization"] = f"Bearer {token}"
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.issuer + path.lstrip("/"), data, headers, method=method)
        context = ssl.create_default_context(cafile=self.ca)
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context)
        )
        try:
            with opener.open(request, timeout=DEADLINE) as answer:
                text = answer.read()
                return answer.status, json.loads(text) if text else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read() or b"null")

    def token(self):
        """A token of the administrator."""
        _, body = self.ask("/oauth/token", method="POST", body={
            "grant_type": "client_credentials", "client_id": self.client_id,
            "client_secret": self.client_secret, "audience": self.issuer + "api/v2/",
        })
        return body["access_token"]

    def environment(self):
        """For clients: whom they trust, and no proxy on the way."""
        return {
            **{name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")},
            "NODE_EXTRA_CA_CERTS": self.ca,
            "SSL_CERT_FILE": self.ca,
            "REQUESTS_CA_BUNDLE": self.ca,
            "NO_PROXY": "*",
        }

    def __exit__(self, *_):
        self.stop()
        self._folder.cleanup()


def node(authority, folder, script, facts=None):
    """Runs a module of Node in a folder with packages; what it printed as JSON."""
    environment = {**authority.environment(), "FACTS": json.dumps(facts or {})}
    done = subprocess.run(
        ["node", "--input-type=module", "-"], cwd=folder, input=script, env=environment,
        capture_output=True, timeout=4 * DEADLINE, check=False, text=True,
    )
    if done.returncode:
        raise RuntimeError(f"node ended with {done.returncode}: {done.stderr}")
    return json.loads(done.stdout)
