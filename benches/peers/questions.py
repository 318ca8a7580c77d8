"""What every gateway is asked before any load: whether it lets in what is right and nothing else.

A gateway that lets in what it must refuse, or bothers the upstream with it, is left out of the comparison.
"""

import http.client
import re
import ssl

from loads import h2load_statuses

SMALL, LARGE = 70, 64 * 1024

# Token -> the answer. Another refusal than the one expected is noted and no more: the standards leave room.
QUESTIONS = {
    "RS256": {
        "good": 200,
        None: 401,
        "not_a_token": 401,
        "bad_signature": 401,
        "swapped_claims": 401,
        "wrong_key": 401,
        "alg_none": 401,
        "alg_confusion": 401,
        "good_hs256": 401,
        "expired": 401,
        "wrong_issuer": 401,
        "wrong_audience": 401,
        "missing_scope": 403,
        "similar_scope": 403,
        "no_scope": 403,
    },
    "HS256": {
        "good_hs256": 200,
        None: 401,
        "bad_signature_hs256": 401,
        "alg_none": 401,
        "good": 401,
        "missing_scope_hs256": 403,
    },
}


def ask(door_port, path, token, tls=None):
    """Status and length of the body of one answer."""
    make = (
        (lambda: http.client.HTTPSConnection("localhost", door_port, timeout=10, context=tls))
        if tls
        else (lambda: http.client.HTTPConnection("127.0.0.1", door_port, timeout=10))
    )
    connection = make()
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        answer = connection.getresponse()
        return answer.status, len(answer.read())
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__, 0
    finally:
        connection.close()


def upstream_count(port):
    """How many requests the upstream has had; to ask is one more."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/count")
    text = connection.getresponse().read().decode()
    connection.close()
    return int(re.search(r"^ *\d+ +\d+ +(\d+)", text, re.M).group(1))


def examine(setup, peer, running, algorithm):
    """The faults that leave a gateway out, what else is worth a note, and how many questions there were."""
    tokens, faults, notes = setup.facts["tokens"], [], []
    good = {"RS256": "good", "HS256": "good_hs256"}[algorithm]
    questions = QUESTIONS[algorithm] if peer.checks else {good: 200}
    for name, expected in questions.items():
        before = upstream_count(setup.upstream)
        status, length = ask(running.ports["http"], "/items", tokens[name] if name else None)
        contacts = upstream_count(setup.upstream) - before - 1
        judge(name or "no token", expected, status, length, contacts, faults, notes)
    if ask(running.ports["http"], "/large", tokens[good]) != (200, LARGE):
        faults.append("the large body does not come through")
    asked = len(questions) + 1
    if algorithm == "RS256":
        asked += other_doors(setup, peer, running, tokens, faults, notes)
    return faults, notes, asked


def judge(name, expected, status, length, contacts, faults, notes):
    if expected == 200:
        if (status, length, contacts) != (200, SMALL, 1):
            faults.append(f"{name}: {status} with {length} bytes, {contacts} requests upstream")
    elif status == 200 or contacts:
        faults.append(f"LETS IN {name}: {status}, {contacts} requests upstream")
    elif status not in (400, 401, 403):
        faults.append(f"{name}: {status}")
    elif status != expected:
        notes.append(f"{name} is refused with {status}")


def other_doors(setup, peer, running, tokens, faults, notes):
    """HTTP/2 and TLS: the good token, none and a bad signature. A door that does not work is taken away, with a note."""
    context = ssl.create_default_context(cafile=setup.keys / "tls.crt")
    asked = 0
    for door, scheme in [("http2", "http"), ("tls", "https")]:
        port = running.ports.get(door)
        if not port:
            continue
        for name in ["good", None, "bad_signature"] if peer.checks else ["good"]:
            token = tokens[name] if name else None
            before = upstream_count(setup.upstream)
            statuses = [h2load_statuses(f"{scheme}://127.0.0.1:{port}/items", token)]
            if door == "tls":
                statuses.append(ask(port, "/items", token, context)[0])
            asked += len(statuses)
            contacts = upstream_count(setup.upstream) - before - 1
            # h2load tells no more than the class; without it HTTP/2 is not measured, and not asked.
            statuses = [status for status in statuses if status is not None]
            if name == "good" and any(status not in (200, "2xx") for status in statuses):
                notes.append(f"its door {door} does not answer: {statuses}")
                del running.ports[door]
                break
            if name != "good" and (contacts or any(status in (200, "2xx") for status in statuses)):
                faults.append(f"LETS IN {name or 'no token'} at its door {door}")
    return asked
