"""Tables of medians, the targets beside what was measured, and the machine. Everything as Markdown text."""

import os
import pathlib
import platform
import statistics

from workloads import ALONE, WORKLOADS


def median(runs, key):
    return statistics.median(run[key] for run in runs)


class Results:
    """What was measured: figures of each round by workload and gateway, and why there are none of others."""

    def __init__(self):
        self.runs = {}
        self.skipped = {}
        self.faults = []
        self.verification = []
        self.workers = {}
        self.memory = None

    def add(self, workload, peer, figures):
        self.runs.setdefault(workload, {}).setdefault(peer, []).append(figures)

    def get(self, workload, peer, key="cpu"):
        """The median of a figure; None where there is none."""
        runs = self.runs.get(workload, {}).get(peer)
        return median(runs, key) if runs else None

    def best(self, workload, key, peers):
        """The lowest median among these, and whose it is."""
        found = [(self.get(workload, peer, key), peer) for peer in peers if self.get(workload, peer, key) is not None]
        return min(found) if found else (None, None)


def table(head, rows):
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]

    def line(row):
        cells = [
            cell.ljust(widths[0]) if column == 0 else cell.rjust(widths[column]) for column, cell in enumerate(row)
        ]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join(
        "-" * (width + 2) if column == 0 else "-" * (width + 1) + ":" for column, width in enumerate(widths)
    )
    return "\n".join([line(head), rule + "|", *map(line, rows)])


def workload_table(results, name):
    """One row for each gateway, the cheapest first."""
    runs = results.runs.get(name, {})
    ours, bare = results.get(name, "scopegate"), results.get(name, "bare") or results.get("cached", "bare")
    head = ["gateway", "req/s", "p50 ms", "p99 ms", "CPU µs/req", "min–max", "× bare", "scopegate is", "core", "others"]
    fresh, flood = WORKLOADS[name].fresh, name == "flood"
    head += ["peak RSS MiB"] if fresh else []
    head += ["p99 alone", "× alone", "refused/s"] if flood else []
    rows = []
    for peer, figures in sorted(runs.items(), key=lambda item: median(item[1], "cpu")):
        cpu = median(figures, "cpu")
        costs = [run["cpu"] for run in figures]
        row = [
            peer,
            f"{median(figures, 'rate'):,.0f}",
            f"{median(figures, 'p50'):.2f}",
            f"{median(figures, 'p99'):.2f}",
        ]
        row += [f"{cpu:.1f}", f"{min(costs):.1f}–{max(costs):.1f}", f"{cpu / bare:.2f}" if bare and not flood else "–"]
        row += [f"× {ours / cpu:.2f}" if ours and not flood else "–"]
        row += [f"{median(figures, 'core'):.0%}", f"{median(figures, 'others'):.0%}"]
        row += [f"{median(figures, 'peak'):.1f}"] if fresh else []
        if flood:
            row += [
                f"{median(figures, 'alone'):.2f}",
                f"{median(figures, 'ratio'):.2f}",
                f"{median(figures, 'flood'):,.0f}",
            ]
        rows.append(row)
    skipped = [f"Without {peer}: {why}." for (workload, peer), why in results.skipped.items() if workload == name]
    return "\n\n".join([f"### {name}", WORKLOADS[name].about + ".", *([table(head, rows)] if rows else []), *skipped])


def workers_table(results):
    head = ["load", "workers", "CPU µs/req", "busiest worker", "req/s on cores of its own", "req/s here"]
    rows = [
        [load, str(count), f"{median(runs, 'cpu'):.1f}", f"{median(runs, 'share'):.0%}", f"{median(runs, 'capacity'):,.0f}",
         f"{median(runs, 'rate'):,.0f}"]
        for (load, count), runs in results.workers.items()
    ]  # fmt: skip
    method = (
        "Nothing is pinned; the load and the upstream use the same cores, which bounds the requests per second seen here. "
        "What the gateway would carry with cores of its own follows from its cost: the busiest worker is the first that is "
        "busy all the time, so req/s = 1 / (CPU per request × share of the busiest worker). Contention between workers "
        "raises the cost, an uneven spread raises the share; both lower the figure. The share is taken under a calm load, "
        "where every connection asks as often as the others; the cost under as much load as there can be."
    )
    return f"### workers\n\n{ALONE['workers'].capitalize()}. {method}\n\n{table(head, rows)}"


def memory_text(results):
    found = results.memory
    return (
        f"### memory\n\n{ALONE['memory']}. RSS of scopegate: {found['start']:.1f} MiB at its start, "
        f"{found['filled']:.1f} once the cache had been filled twice over, {found['end']:.1f} after all of them "
        f"({found['peak']:.1f} at its highest); {found['entries']} entries of at most {found['cache']:,}."
    )


def targets(results, checking):
    """What was asked for, beside what was measured: text, value, bound, whether it holds. None where nothing is known."""
    rivals = [peer for peer in checking if peer != "scopegate"]
    verification = statistics.median(results.verification) if results.verification else None
    rows = []

    def at_most(what, value, bound):
        rows.append((what, value, f"≤ {bound:.3g}", None if value is None else value <= bound))

    def ratio(what, over, under, bound):
        at_most(what, over / under if over and under else None, bound)

    cached = results.get("cached", "scopegate")
    for peer, bound in [("bare", 1.05), ("nginx-lua-cache", 0.8), ("haproxy-jwt", 0.45), ("envoy-cache", 0.25)]:
        ratio(f"cached: CPU beside {peer}", cached, results.get("cached", peer), bound)
    fastest, whose = results.best("cached", "p99", rivals)
    ratio(f"cached: p99 beside the best ({whose})", results.get("cached", "scopegate", "p99"), fastest, 1)
    new, bare = results.get("new", "scopegate"), results.get("new", "bare")
    extra = new - bare - verification if new and bare and verification else None
    at_most("new: CPU µs over a bare forward and one verification", extra, 5)
    cheapest, whose = results.best("new", "cpu", rivals)
    ratio(f"new: CPU beside the best ({whose})", new, cheapest, 0.8)
    for name in ["hs256", "forbidden", "forged", "anonymous"]:
        cheapest, whose = results.best(name, "cpu", rivals)
        ours = results.get(name, "scopegate")
        value = ours / cheapest if ours and cheapest else None
        rows.append((f"{name}: CPU beside the cheapest ({whose})", value, "< 1", None if value is None else value < 1))
    forged, anonymous = results.get("forged", "scopegate"), results.get("anonymous", "scopegate")
    extra = (forged - anonymous) / verification if forged and anonymous and verification else None
    # A verification among other work finds colder caches than one in a loop, so one and a half still means one.
    at_most("forged: its cost over a request without a token, in verifications", extra, 1.5)
    at_most("flood: p99 of good requests beside none", results.get("flood", "scopegate", "ratio"), 2)
    smallest, whose = results.best("connections", "peak", [peer for peer in rivals if peer.startswith("envoy")])
    ratio(
        f"connections: peak RSS beside {whose or 'Envoy'}",
        results.get("connections", "scopegate", "peak"),
        smallest,
        1 / 3,
    )
    grown = results.memory["end"] / results.memory["filled"] if results.memory else None
    at_most("memory: RSS after all tokens beside RSS with the cache full", grown, 1.1)
    for load in ["forged", "cached"]:
        one, two = results.workers.get((load, 1)), results.workers.get((load, 2))
        value = median(two, "capacity") / median(one, "capacity") if one and two else None
        rows.append((f"workers: two beside one, {load}", value, "≥ 1.8", None if value is None else value >= 1.8))
    return rows


def targets_table(results, checking):
    words = {True: "yes", False: "NO", None: "not measured"}
    rows = [
        [what, "–" if value is None else f"{value:.2f}", bound, words[held]]
        for what, value, bound, held in targets(results, checking)
    ]
    verification = (
        f"One RSA-2048 verification by aws-lc-rs on the gateways' core: {statistics.median(results.verification):.1f} µs "
        f"(rounds: {min(results.verification):.1f}–{max(results.verification):.1f})."
        if results.verification
        else ""
    )
    return "\n\n".join(
        ["## Targets", "Ratios of medians.", table(["target", "measured", "asked for", "holds"], rows), verification]
    )


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}"


def document(results, names, checking, facts):
    """All of it; `facts` are lines about the run."""
    parts = ["# Beside other gateways", "\n".join(f"- {fact}" for fact in facts), targets_table(results, checking)]
    parts += ["## Workloads", "\n".join(COLUMNS)]
    parts += [workload_table(results, name) for name in names if name in WORKLOADS]
    parts += [workers_table(results)] if results.workers else []
    parts += [memory_text(results)] if results.memory else []
    if results.faults:
        parts += ["## Faults", "\n".join(f"- {fault}" for fault in results.faults)]
    return "\n\n".join(parts) + "\n"


COLUMNS = [
    "Medians over the rounds. The rounds are interleaved: each gateway in turn in each of them.",
    "",
    "- **CPU µs/req**: user and system time of the gateway's whole session for one request, from the scheduler; the figure",
    "  to compare. req/s and the latencies of a closed loop at saturation depend on the load's core as well.",
    "- **× bare**: beside the bare forward under the same load, or else under `cached`. **scopegate is**: its CPU beside",
    "  this gateway's.",
    "- **core**: how much of its core the gateway used. **others**: CPU of what does not belong to the run, in cores.",
    "- **peak RSS**: the highest of each process, summed over the session.",
]
