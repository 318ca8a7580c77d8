"""The first command of the README, and every request that it prints, as it stands, with a real shell and a real curl."""

import re
import signal
import subprocess

from common import DEADLINE, Process, Tally, read_curl

REALM = 'Bearer realm="https://items.example.com"'
CHALLENGES = {
    "there is no token": REALM,
    "the token has expired": REALM + ', error="invalid_token", error_description="the token has expired"',
    "the token is for another API": REALM
    + ', error="invalid_token", error_description="the token is for another audience"',
    "the token lacks delete:items": REALM
    + ', error="insufficient_scope", error_description="the token lacks a permission that the route asks for"'
    + ', scope="delete:items"',
}

tally = Tally("demo")
with Process(["demo", "--address", "127.0.0.1:0"]) as demo:
    demo.wait_for_line(lambda line: line.startswith("Ctrl-C ends it"), from_stdout=True)
    requests = re.findall(r"^# (\d{3}): (.*)\n(curl .*)$", "".join(demo.out), re.MULTILINE)
    tally.check("prints requests", len(requests) >= 6, str(requests))
    for status, why, command in requests:
        done = subprocess.run(command, shell=True, capture_output=True, timeout=DEADLINE, check=False)
        answer = read_curl(done.stdout, done.returncode)
        tally.equal(f"{why}: status", answer.status, int(status))
        tally.equal(f"{why}: challenge", answer.headers["www-authenticate"], CHALLENGES.get(why))
    tally.equal("every challenge was met", set(CHALLENGES) - {why for _, why, _ in requests}, set())
    tally.equal("SIGTERM ends it with", demo.stop(signal.SIGTERM), 0)
tally.finish()
