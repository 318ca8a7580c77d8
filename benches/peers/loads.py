"""One load: wrk or h2load from the load's core, and what it cost the gateway meanwhile. Bounded; ends by itself."""

import dataclasses
import json
import os
import pathlib
import re
import resource
import subprocess
import tempfile
import time

from server import machine_cpu, on_cores

HERE = pathlib.Path(__file__).resolve().parent
WRK, H2LOAD = os.environ.get("WRK", "wrk"), os.environ.get("H2LOAD", "h2load")
STREAMS, HTTP2_CONNECTIONS = 8, 8


@dataclasses.dataclass
class Shot:
    """What is sent."""

    url: str
    seconds: int
    token: str | None = None
    tokens: pathlib.Path | None = None  # One a line, in turn, instead of `token`.
    first: int = 0
    count: int = 0
    connections: int = 64
    close: bool = False  # A connection for each request.
    pause: int = 0  # Milliseconds, in the mean, before each request of a connection.


class LoadFailed(Exception):
    """A load that says nothing about the gateway, or the worst about it."""


def wrk_command(shot, threads=1):
    command = [WRK, f"-t{threads}", f"-c{shot.connections}", f"-d{shot.seconds}s", "--timeout", "10s"]
    environment = dict(os.environ)
    if shot.token:
        environment["TOKEN"] = shot.token
    if shot.tokens:
        environment |= {"TOKENS": str(shot.tokens), "FROM": str(shot.first), "COUNT": str(shot.count)}
    if shot.close:
        environment["CLOSE"] = "yes"
    if shot.pause:
        environment["PAUSE"] = str(shot.pause)
    return [*command, "-s", str(HERE / "conf/wrk.lua"), shot.url], environment


def start_wrk(shot, cores, threads=1, nice=0):
    command, environment = wrk_command(shot, threads)
    prepare = on_cores(cores, nice)
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, preexec_fn=prepare
    )


def finish_wrk(child, shot):
    """Requests, seconds, refusals, errors, p50 and p99 in milliseconds."""
    try:
        out = child.communicate(timeout=shot.seconds * 3 + 15)[0]
    except subprocess.TimeoutExpired:
        child.kill()
        child.communicate()
        raise LoadFailed("wrk did not end") from None
    try:
        said = json.loads(out.strip().splitlines()[-1])
    except (ValueError, IndexError):
        raise LoadFailed(f"wrk said {out[-200:]!r}") from None
    return {
        "requests": said["requests"],
        "seconds": said["microseconds"] / 1e6,
        "refused": said["refused"],
        "errors": said["errors"],
        "p50": said["p50"] / 1e3,
        "p99": said["p99"] / 1e3,
    }


def run_wrk(shot, cores):
    return finish_wrk(start_wrk(shot, cores), shot)


def run_h2load(shot, cores):
    with tempfile.NamedTemporaryFile() as log:
        command = [
            H2LOAD,
            "-t1",
            f"-c{HTTP2_CONNECTIONS}",
            f"-m{STREAMS}",
            f"-D{shot.seconds}",
            f"--log-file={log.name}",
        ]
        command += ["-H", f"authorization: Bearer {shot.token}", shot.url]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=shot.seconds * 3 + 30, preexec_fn=on_cores(cores)
        )
        times = sorted(int(line.split()[2]) for line in open(log.name))
    codes = re.search(r"(\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    failed = re.search(r"(\d+) failed, (\d+) errored, (\d+) timeout", done.stdout)
    if not codes or not failed or not times:
        raise LoadFailed(f"h2load said {done.stdout[-200:]!r}")
    good, *others = map(int, codes.groups())
    return {
        "requests": good + sum(others),
        "seconds": shot.seconds,
        "refused": sum(others),
        # Those under way at the end count as failed; more than that is a fault.
        "errors": max(0, sum(map(int, failed.groups())) - sum(others) - 2 * STREAMS * HTTP2_CONNECTIONS),
        "p50": times[len(times) // 2] / 1e3,
        "p99": times[len(times) * 99 // 100] / 1e3,
    }


def h2load_statuses(url, token):
    """The class of the answer to one request over HTTP/2, such as `2xx`; None where there is no h2load."""
    command = [H2LOAD, "-n1", "-c1", "-m1", *(["-H", f"authorization: Bearer {token}"] if token else []), url]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except FileNotFoundError:
        return None
    found = re.search(r"status codes: (.*)", done.stdout)
    counts = re.findall(r"(\d+) (\dxx)", found.group(1)) if found else []
    return next((kind for count, kind in counts if int(count)), "no answer")


def measured(running, upstream, load):
    """Runs a load, and adds what it cost: CPU µs of the gateway per request, the share of its core, and what else ran."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    busy, stolen = machine_cpu()
    ours, theirs, start = running.cpu(), upstream.cpu(), time.monotonic()
    figures = load()
    wall = time.monotonic() - start
    ours, theirs = running.cpu() - ours, upstream.cpu() - theirs
    busy_now, stolen_now = machine_cpu()
    children_now = resource.getrusage(resource.RUSAGE_CHILDREN)
    generator = sum(children_now[:2]) - sum(children[:2])
    if not figures["requests"]:
        raise LoadFailed("nothing was answered")
    return figures | {
        "rate": figures["requests"] / figures["seconds"],
        "cpu": ours * 1e6 / figures["requests"],
        "core": ours / wall,
        "others": max(0.0, busy_now - busy - ours - theirs - generator) / wall,
        "stolen": (stolen_now - stolen) / wall,
    }


def expect(figures, refused):
    """Holds that a load was answered as it must be."""
    wanted = figures["requests"] if refused else 0
    if figures["refused"] != wanted or figures["errors"]:
        raise LoadFailed(
            f"{figures['requests']} answers, {figures['refused']} of them refusals, {figures['errors']} errors"
        )
    return figures
