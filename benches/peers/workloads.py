"""The workloads, and how one of them is measured on one gateway."""

import dataclasses
import http.client
import os
import re

import loads
from loads import Shot, expect, measured
from peers import CACHE, stop

DISTINCT, NEW, FLOOD_CONNECTIONS, FLOOD_PAUSE = 10_000, 40_000, 16, 16
CALM_PAUSE = 4  # Milliseconds; of `workers`.
MEMORY = 100_000  # Tokens made, and sent by the workload of that name.
FORGED = 4_000


@dataclasses.dataclass
class Workload:
    about: str
    checking: bool = True  # Only for gateways that look at tokens.
    algorithm: str = "RS256"
    door: str = "http"
    generator: str = "wrk"
    path: str = "/items"
    token: str | None = "good"
    tokens: str | None = None
    count: int = 0
    refused: bool = False
    connections: int = 64
    close: bool = False
    fresh: bool = False  # A new process each time: an empty cache, and a peak of memory of its own.


WORKLOADS = {
    "cached": Workload("one RS256 token that comes again and again", checking=False),
    "distinct": Workload(
        f"{DISTINCT:,} RS256 tokens in turn, after one pass of misses", tokens="distinct.txt", count=DISTINCT
    ),
    "new": Workload(
        f"{NEW:,} RS256 tokens, each sent once to a new process",
        checking=False,
        tokens="distinct.txt",
        count=NEW,
        fresh=True,
    ),
    "hs256": Workload("one HS256 token that comes again and again", algorithm="HS256", token="good_hs256"),
    "anonymous": Workload("no token: 401", token=None, refused=True),
    "forbidden": Workload("a good token without the scope: 403", token="missing_scope", refused=True),
    "forged": Workload(f"{FORGED:,} tokens with a bad signature: 401", tokens="forged.txt", count=FORGED, refused=True),
    "flood": Workload(
        f"p99 of good requests ({FLOOD_CONNECTIONS} connections, each with a random pause of {FLOOD_PAUSE} ms in the mean "
        f"before a request) while {FLOOD_CONNECTIONS} other connections send bad signatures as fast as they are refused"
    ),
    "large": Workload("a body of 64 KiB", checking=False, path="/large"),
    "connections": Workload(
        "256 connections, one RS256 token, a new process", checking=False, connections=256, fresh=True
    ),
    "connect": Workload("a connection for each request", checking=False, close=True),
    "http2": Workload(
        f"HTTP/2 in cleartext: {loads.HTTP2_CONNECTIONS} connections with {loads.STREAMS} streams each",
        checking=False,
        door="http2",
        generator="h2load",
    ),
    "tls": Workload("HTTP/1.1 over TLS", checking=False, door="tls"),
    "tls-http2": Workload("HTTP/2 over TLS", checking=False, door="tls", generator="h2load"),
}
# In which rounds. Where a target lies close to what others reach, a part in twenty decides: the clock of a processor that is
# shared goes up and down by more than that, and only many rounds see through it.
EVERY = {"cached": 1, "new": 2, "hs256": 2, "anonymous": 2, "forbidden": 2, "flood": 3}
OTHERS_EVERY = 6
# Asked of scopegate alone, after the rounds.
ALONE = {
    "workers": "two workers beside one",
    "memory": f"{MEMORY:,} distinct tokens through a cache of {CACHE:,}",
}


def every(name):
    """How many rounds from one with this workload to the next."""
    return EVERY.get(name, OTHERS_EVERY)


def of_round(names, number):
    """Those of these workloads that are run in a round; all in round 0, which warms."""
    names = [name for name in names if name in WORKLOADS]
    often = min(map(every, names), default=1)
    return [name for name in names if number == 0 or (number - 1) % (every(name) // often) == 0]


def shot(setup, workload, port, seconds, first=0):
    scheme = "https" if workload.door == "tls" else "http"
    return Shot(
        url=f"{scheme}://127.0.0.1:{port}{workload.path}",
        seconds=seconds,
        token=None if workload.tokens or not workload.token else setup.facts["tokens"][workload.token],
        tokens=setup.keys / workload.tokens if workload.tokens else None,
        first=first,
        count=workload.count,
        connections=workload.connections,
        close=workload.close,
    )


def run(setup, workload, running, upstream, cores, seconds):
    """One measurement of any workload but `flood`."""
    one = shot(setup, workload, running.ports[workload.door], seconds)
    generate = loads.run_h2load if workload.generator == "h2load" else loads.run_wrk
    figures = expect(measured(running, upstream, lambda: generate(one, cores)), workload.refused)
    if workload.fresh:
        figures["peak"] = running.memory("VmHWM")
    return figures


def run_flood(setup, running, upstream, cores, seconds):
    """p99 of good requests, alone and beside a flood; `cpu` is that of all requests under the flood."""
    port = running.ports["http"]
    url = f"http://127.0.0.1:{port}/items"
    good = Shot(url, seconds, setup.facts["tokens"]["good"], connections=FLOOD_CONNECTIONS, pause=FLOOD_PAUSE)
    bad = Shot(url, seconds + 1, tokens=setup.keys / "forged.txt", count=FORGED, connections=FLOOD_CONNECTIONS)
    alone = expect(loads.run_wrk(good, cores), refused=False)

    def both():
        # Behind the good client on the load's core: what is to be seen is what the gateway does to it.
        flood = loads.start_wrk(bad, cores, nice=19)
        try:
            answered = expect(loads.run_wrk(good, cores), refused=False)
        finally:
            refused = expect(loads.finish_wrk(flood, bad), refused=True)
        return answered | {
            "requests": answered["requests"] + refused["requests"],
            "seconds": refused["seconds"],
            "flood": refused["requests"] / refused["seconds"],
        }

    figures = measured(running, upstream, both)
    return figures | {"alone": alone["p99"], "ratio": figures["p99"] / alone["p99"]}


def serves(setup, workload, running):
    """Whether a gateway lets the good token of a workload's algorithm through."""
    connection = http.client.HTTPConnection("127.0.0.1", running.ports["http"], timeout=2)
    token = setup.facts["tokens"]["good_hs256" if workload.algorithm == "HS256" else "good"]
    try:
        connection.request("GET", "/items", headers={"Authorization": f"Bearer {token}"})
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def warm(setup, running, token):
    """A few requests on one connection: code and connections that are there before a measurement of a new process."""
    connection = http.client.HTTPConnection("127.0.0.1", running.ports["http"], timeout=10)
    for _ in range(200):
        connection.request("GET", "/items", headers={"Authorization": f"Bearer {setup.facts['tokens'][token]}"})
        connection.getresponse().read()
    connection.close()


def warm_up(setup, workload, running, upstream, cores):
    """Before the rounds: connections, caches, and for `distinct` one pass over all tokens."""
    sent = 0
    for _ in range(6):
        one = shot(setup, workload, running.ports[workload.door], 1)
        if workload.tokens:
            one.first, one.count = sent % workload.count, workload.count - sent % workload.count
        generate = loads.run_h2load if workload.generator == "h2load" else loads.run_wrk
        sent += generate(one, cores)["requests"]
        if sent >= workload.count:
            return


def memory(setup, peer, upstream, cores):
    """RSS of a new process: at its start, once the cache has been filled twice over, and after all tokens."""
    running = peer.start(setup, f"{peer.name}-memory", "RS256", 1, setup.cores)
    figures = {"start": running.memory("VmRSS"), "cache": CACHE, "tokens": MEMORY}
    sent = 0
    while sent < MEMORY:
        one = Shot(f"http://127.0.0.1:{running.ports['http']}/items", 1, tokens=setup.keys / "distinct.txt")
        # Never past the end of the list, so that no token comes again; a slice is sent at once and then in turn.
        one.first, one.count = sent, min(8_000, MEMORY - sent)
        sent += min(one.count, expect(loads.run_wrk(one, cores), refused=False)["requests"])
        if sent >= 2 * CACHE and "filled" not in figures:
            figures["filled"] = running.memory("VmRSS")
    figures["end"], figures["peak"] = running.memory("VmRSS"), running.memory("VmHWM")
    connection = http.client.HTTPConnection("127.0.0.1", running.ports["admin"], timeout=10)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    found = re.search(r'^scopegate_cache_entries\{cache="token"\} (\d+)', text, re.M)
    figures["entries"] = int(found.group(1)) if found else None
    stop(setup, running)
    return figures


def workers(setup, peer, upstream, cores, rounds, seconds):
    """For one and two workers, nothing pinned: CPU per request, and the share of its busiest thread.

    The load and the upstream use the same cores, so the requests per second of two workers are bounded by them.
    What two cores for the gateway alone would carry follows from its own cost: its busiest worker is the first to be
    busy all the time, and then it answers 1 / (CPU per request x share of that worker) requests a second. The share is
    that under a calm load, where every connection asks as often as the others: where the load wants all of the cores,
    the scheduler decides which of its connections ask more often.
    """
    every = os.sched_getaffinity(0)
    for server in upstream.servers:
        for process in server.processes():
            os.sched_setaffinity(process, every)
    found = {}
    for name, kind in [("forged", WORKLOADS["forged"]), ("cached", WORKLOADS["cached"])]:
        for _ in range(rounds):
            for count in (1, 2):
                running = peer.start(setup, f"{peer.name}-workers", "RS256", count, every)
                warm(setup, running, "good")
                one = shot(setup, kind, running.ports["http"], seconds)
                load = lambda one: loads.finish_wrk(loads.start_wrk(one, every, 2), one)  # noqa: E731
                figures = expect(measured(running, upstream, lambda one=one, load=load: load(one)), kind.refused)
                before = running.servers[0].threads_cpu()
                expect(load(dataclasses.replace(one, pause=CALM_PAUSE)), kind.refused)
                spent = [cpu - before.get(thread, 0) for thread, cpu in running.servers[0].threads_cpu().items()]
                figures["share"] = max(spent) / sum(spent)
                figures["capacity"] = 1e6 / (figures["cpu"] * figures["share"])
                found.setdefault((name, count), []).append(figures)
                stop(setup, running)
    for server in upstream.servers:
        for process in server.processes():
            os.sched_setaffinity(process, cores)
    return found
