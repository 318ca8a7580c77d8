"""A server process in a session of its own, on one core: what it costs, what it holds, and its end.

Everything listens on 127.0.0.1. A server ends with its `stop`, and with the death of whoever started it.
"""

import ctypes
import os
import pathlib
import random
import re
import signal
import socket
import subprocess
import time

TICK = os.sysconf("SC_CLK_TCK")
DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def on_cores(cores, nice=0):
    """What a child does before it becomes its program: takes its cores and rank, and ends when its parent does."""

    def prepare():
        ctypes.CDLL(None).prctl(DEATH_SIGNAL, signal.SIGTERM)
        os.sched_setaffinity(0, cores)
        os.nice(nice)

    return prepare


class Server:
    def __init__(self, name, command, cores, log, environment=None):
        self.name, self.log = name, pathlib.Path(log)
        with open(log, "wb") as out:
            self.child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                preexec_fn=on_cores(cores),
                env={**os.environ, **(environment or {})},
            )

    def processes(self):
        """All processes of the session: a master and its workers."""
        return [int(name) for name in os.listdir("/proc") if name.isdigit() and session_of(name) == self.child.pid]

    def threads_cpu(self):
        """CPU seconds of each of its threads, user and system, as the scheduler counts them."""
        threads = {}
        for process in self.processes():
            for task in pathlib.Path(f"/proc/{process}/task").glob("*"):
                seconds = cpu_of(task)
                if seconds is not None:
                    threads[int(task.name)] = seconds
        return threads

    def cpu(self):
        return sum(self.threads_cpu().values())

    def memory(self, key):
        """MiB of all its processes: `VmRSS` now, `VmHWM` at its highest. What they share counts for each."""
        return sum(status_of(process, key) for process in self.processes()) / 1024

    def alive(self):
        return self.child.poll() is None

    def said(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def stop(self):
        for signalled, patience in ((signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            for process in self.processes():
                try:
                    os.kill(process, signalled)
                except ProcessLookupError:
                    pass
            end = time.monotonic() + patience
            while time.monotonic() < end:
                self.child.poll()
                if not self.processes():
                    return
                time.sleep(0.01)


class Servers:
    """All that runs. Leaving the `with` block ends them, whatever happened in it."""

    def __init__(self):
        self.running = []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for server in reversed(self.running):
            server.stop()

    def start(self, *arguments):
        server = Server(*arguments)
        self.running.append(server)
        return server

    def stop(self, server):
        server.stop()
        self.running.remove(server)


def session_of(process):
    """The session of a process that lives; None of one that has ended."""
    try:
        text = pathlib.Path(f"/proc/{process}/stat").read_text()
    except OSError:
        return None
    state, _parent, _group, session = text[text.rindex(")") + 2 :].split()[:4]
    return None if state == "Z" else int(session)


def cpu_of(task):
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1e9
    except (OSError, IndexError):
        pass
    try:
        text = (task / "stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2 :].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def status_of(process, key):
    try:
        found = re.search(rf"^{key}:\s+(\d+)", pathlib.Path(f"/proc/{process}/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def free_ports(count):
    """Free ports under those that the kernel gives to clients, so that no load takes one before its server does."""
    found = []
    while len(found) < count:
        port = random.randrange(15_000, 32_000)
        if port in found:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found


def wait_for(what, condition, server, seconds=20):
    """Asks until it holds. Raises what the server said where it does not."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.alive():
        if condition():
            return
        time.sleep(0.02)
    raise RuntimeError(f"{what}: {server.name} said: {' / '.join(server.said().splitlines()[-4:]) or 'nothing'}")


def listens(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return True
    except OSError:
        return False


def machine_cpu():
    """CPU seconds of the whole machine since its start: in use, and stolen by its host."""
    fields = [int(field) for field in pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    user, nice, system, _idle, _waiting, interrupts, soft, stolen = fields
    return (user + nice + system + interrupts + soft) / TICK, stolen / TICK
