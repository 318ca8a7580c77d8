"""Real TLS clients: openssl s_client says what is configured, curl speaks HTTP/1.1 and HTTP/2 with and without a
certificate, and h2load goes on while certificates change."""

import datetime
import ipaddress
import pathlib
import re
import subprocess
import tempfile
import threading
import time

from common import DEADLINE, Gateway, Tally, Upstream, curl, definition
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

ISSUER = "https://issuer.test/"
SECRET = {"SECRET": "kR9v-Zt3mQ_x7Lw2Pn5Yb8Hc4Jd6Fg1S"}


def named(name):
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


class Authority:
    def __init__(self, name):
        self.name, self.key = named(name), ec.generate_private_key(ec.SECP256R1())
        builder = self._builder(self.name, self.key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self.pem = builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()

    def _builder(self, subject, public_key):
        now = datetime.datetime.now(datetime.timezone.utc)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(self.name).public_key(public_key)
        builder = builder.serial_number(x509.random_serial_number())
        return builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=30))

    def issue(self, *names, key=None):
        """Certificate and key as PEM."""
        key = key or ec.generate_private_key(ec.SECP256R1())
        alternatives = [x509.DNSName(name) for name in names] + [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = self._builder(named(names[0]), key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        certificate = builder.sign(self.key, hashes.SHA256())
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return certificate.public_bytes(serialization.Encoding.PEM).decode(), key.private_bytes(*form).decode()


def configuration(listeners, upstream):
    return {
        "listeners": listeners,
        "limits": {"connections": 2000},
        "issuers": [{"issuer": ISSUER}],
        "apis": [
            {
                "definition": definition("urn:items", "HS256"),
                "signing_secret": "env:SECRET",
                "upstream": upstream.url,
                "routes": [{"path": "/p", "require": "public"}, {"path": "/items", "require": "read:items"}],
            }
        ],
    }


def replace(gateway, name, text):
    """At once, as deployments do it."""
    path = gateway.path.parent / name
    new = path.with_suffix(".new")
    new.write_text(text)
    new.rename(path)


def s_client(address, *arguments):
    """What openssl says of a connection that ends at once."""
    command = ["openssl", "s_client", "-connect", address, *arguments]
    done = subprocess.run(command, input=b"", capture_output=True, timeout=DEADLINE, check=False)
    return (done.stdout + done.stderr).decode(errors="replace")


def serial(pem):
    return x509.load_pem_x509_certificate(pem.encode()).serial_number


def shown(gateway, name="localhost"):
    text = s_client(gateway.address, "-servername", name)
    found = re.search(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", text, re.S)
    return serial(found.group()) if found else text[-400:]


class Suite:
    def __init__(self, tally, folder):
        self.tally, self.folder = tally, pathlib.Path(folder)
        self.servers, self.clients = Authority("servers"), Authority("clients")
        self.first = self.servers.issue("localhost", "a.test")
        self.second = self.servers.issue("b.test", key=rsa.generate_private_key(65537, 2048))
        self.ca = self.write("servers.pem", self.servers.pem)

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def files(self):
        return {
            "a.crt": self.first[0],
            "a.key": self.first[1],
            "b.crt": self.second[0],
            "b.key": self.second[1],
            "clients.crt": self.clients.pem,
        }

    def gateway(self, upstream, **tls):
        listener = {
            "address": "127.0.0.1:0",
            "tls": {
                "certificate": "a.crt",
                "private_key": "a.key",
                "certificates": [{"certificate": "b.crt", "private_key": "b.key"}],
                **tls,
            },
        }
        return Gateway(configuration([listener], upstream), files=self.files(), environment=SECRET)

    def what_openssl_sees(self, gateway):
        equal, check = self.tally.equal, self.tally.check
        equal("certificate of localhost", shown(gateway), serial(self.first[0]))
        equal("certificate of b.test", shown(gateway, "b.test"), serial(self.second[0]))
        equal("certificate without a name", shown(gateway, "unknown.test"), serial(self.first[0]))
        for version, spoken in [("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")]:
            text = s_client(gateway.address, version, "-alpn", "h2,http/1.1", "-CAfile", self.ca)
            check(f"{version} is spoken", f"New, {spoken}, Cipher is" in text and "GCM" in text, text)
            check(f"{version} agrees on h2", "ALPN protocol: h2" in text, text)
            check(f"{version} is trusted", "Verify return code: 0 (ok)" in text, text)
            check(f"{version} no renegotiation or compression", "Compression: NONE" in text, text)
        text = s_client(gateway.address, "-alpn", "http/1.1")
        check("ALPN http/1.1", "ALPN protocol: http/1.1" in text, text)
        for old in ["-tls1", "-tls1_1"]:
            text = s_client(gateway.address, old, "-cipher", "ALL:@SECLEVEL=0")
            check(f"{old} is refused", "Cipher is (NONE)" in text, text)
        text = s_client(gateway.address, "-tls1_2", "-cipher", "AES128-SHA:ECDHE-RSA-AES128-SHA:@SECLEVEL=0")
        check("CBC and RSA key exchange are refused", "Cipher is (NONE)" in text, text)

    def what_curl_gets(self, gateway, upstream):
        at = ["--cacert", self.ca, "--connect-to", f"::{gateway.address}"]
        for flag, version in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")]:
            before = upstream.count
            answer = curl(flag, *at, "https://a.test/p")
            self.tally.equal(f"{flag}: status and version", (answer.status, answer.version), (200, version))
            self.tally.check(f"{flag}: scheme", b'"x-forwarded-proto": "https"' in answer.body, answer)
            answer = curl(flag, *at, "https://a.test/items")
            self.tally.equal(f"{flag}: no token", (answer.status, answer.reason), (401, "missing_token"))
            answer = curl(flag, *at, "-H", "Host: b.test", "https://a.test/p")
            self.tally.equal(f"{flag}: another host", (answer.status, answer.reason), (421, "misdirected_request"))
            self.tally.equal(f"{flag}: requests at the upstream", upstream.count - before, 1)
        answer = curl(*at, "https://unknown.test/p")
        self.tally.equal("a name that no certificate is for", answer.code, 60)
        answer = curl("--http1.1", f"http://{gateway.address}/p")
        self.tally.equal("cleartext", answer.status, 400)

    def client_certificates(self, upstream):
        good, strange = self.clients.issue("client"), Authority("strangers").issue("client")
        pairs = {}
        for name, pair in [("good", good), ("strange", strange)]:
            pairs[name] = ["--cert", self.write(f"{name}.crt", pair[0]), "--key", self.write(f"{name}.key", pair[1])]
        pairs["none"] = []
        for mode, served in [("optional", {"none", "good"}), ("required", {"good"}), ("off", {"none", "good", "strange"})]:
            with self.gateway(upstream, client_ca="clients.crt", client_certificate=mode) as gateway:
                for flag in ["--http1.1", "--http2"]:
                    for version in ["1.2", "1.3"]:
                        for name, pair in pairs.items():
                            before = upstream.count
                            at = [flag, f"--tlsv{version}", "--tls-max", version, "--cacert", self.ca]
                            answer = curl(*at, *pair, f"https://{gateway.address}/p")
                            what = f"{mode}, {flag}, TLS {version}, certificate: {name}"
                            self.tally.equal(what, answer.status, 200 if name in served else 0)
                            self.tally.equal(f"{what}: upstream", upstream.count - before, int(name in served))

    def lowest_version(self, upstream):
        with self.gateway(upstream, min_version="1.3") as gateway:
            self.tally.check("1.2 is refused", "Cipher is (NONE)" in s_client(gateway.address, "-tls1_2"))
            self.tally.check("1.3 is spoken", "TLSv1.3, Cipher is TLS_" in s_client(gateway.address, "-tls1_3"))

    def swap_under_load(self, upstream):
        with self.gateway(upstream) as gateway:
            # h2load keeps its connections; curl makes a handshake per request beside it.
            failures, handshakes = [], 0
            is_over = threading.Event()

            def handshake_again_and_again():
                nonlocal handshakes
                while not is_over.is_set():
                    answer = curl("--http2", "--cacert", self.ca, f"https://{gateway.address}/p")
                    handshakes += 1
                    if answer.status != 200:
                        failures.append((answer.status, answer.errors))

            command = ["h2load", "--duration=6", "--clients=4", "--max-concurrent-streams=4", "--warm-up-time=0"]
            loading = subprocess.Popen([*command, f"https://{gateway.address}/p"], stdout=subprocess.PIPE, text=True)
            thread = threading.Thread(target=handshake_again_and_again)
            thread.start()
            try:
                current = self.first
                for _ in range(3):
                    new = self.servers.issue("localhost", "a.test")
                    replace(gateway, "a.key", new[1])
                    replace(gateway, "a.crt", new[0])
                    self.wait_for("the new certificate", lambda: shown(gateway) == serial(new[0]))
                    current = new
                replace(gateway, "a.key", self.second[1])
                self.wait_for("the fault", lambda: gateway.metric("scopegate_config_last_reload_successful") == 0)
                self.tally.equal("the good pair stays", shown(gateway), serial(current[0]))
                replace(gateway, "a.key", current[1])
                self.wait_for("mended", lambda: gateway.metric("scopegate_config_last_reload_successful") == 1)
                out, _ = loading.communicate(timeout=DEADLINE)
            finally:
                is_over.set()
                thread.join(DEADLINE)
                if loading.poll() is None:
                    loading.kill()
            counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", out)
            self.tally.check("h2load says what it did", counts, out)
            done, succeeded, *lost = map(int, counts.groups())
            # What is under way when its time is over counts as neither.
            self.tally.check("h2load: every request", succeeded == done > 100 and lost[0] == lost[2] == 0, out)
            self.tally.check("h2load: only 200", re.search(r"status codes: \d+ 2xx, 0 3xx, 0 4xx, 0 5xx", out), out)
            self.tally.check("new connections", handshakes > 10 and not failures, (handshakes, failures[:3]))
            print(f"h2load: {done} requests; {handshakes} handshakes beside it", flush=True)
            ended = gateway.metric("scopegate_certificate_expiry_timestamp_seconds", role="server")
            self.tally.check("the end is told", abs(ended - time.time() - 30 * 86400) < 3600, ended)

    def wait_for(self, what, condition):
        end = time.monotonic() + DEADLINE
        while not condition():
            if time.monotonic() > end:
                self.tally.check(what, False, "in vain")
                return
            time.sleep(0.05)


def main():
    tally = Tally("tls")
    with tempfile.TemporaryDirectory(prefix="scopegate-") as folder, Upstream() as upstream:
        suite = Suite(tally, folder)
        with suite.gateway(upstream) as gateway:
            suite.what_openssl_sees(gateway)
            suite.what_curl_gets(gateway, upstream)
        suite.client_certificates(upstream)
        suite.lowest_version(upstream)
        suite.swap_under_load(upstream)
    tally.finish()


main()
