"""Compares what the servers behind `forward` received with the output of `events export`.

Arguments: the export, totals file, addresses of the receivers.
"""

import base64
import hashlib
import json
import sys
import time
from urllib.request import urlopen

from checks import Checks

PATIENCE_S = 60


def seen(address):
    with urlopen(f"{address}/seen", timeout=10) as answer:
        return json.load(answer)


def wait_for(addresses, ids):
    """The received events per server, when all have arrived or the time limit has passed."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        came = {f"{address}/{path}": got for address in addresses for path, got in seen(address).items()}
        taken = [{one["id"] for one in got if one["status"] == 204} for got in came.values()]
        if all(ids <= each for each in taken) or time.monotonic() > deadline:
            return came
        time.sleep(0.2)


def main():
    export, totals, *addresses = sys.argv[1:]
    with open(export, encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    bodies = {event["id"]: base64.b64decode(event["body_base64"], validate=True) for event in events}
    digests = {event_id: hashlib.sha256(body).hexdigest() for event_id, body in bodies.items()}
    checks = Checks("receivers behind forward")
    for receiver, got in wait_for(addresses, set(bodies)).items():
        for event_id, digest in digests.items():
            ours = [(one["attempt"], one["status"], one["sha256"]) for one in got if one["id"] == event_id]
            again = len(ours) == 2
            expected = [(1, 503, digest), (2, 204, digest)] if again else [(1, 204, digest)]
            checks.equal(f"{receiver}: {event_id}", ours, expected)
        retries = sum(one["attempt"] == 2 for one in got)
        checks.equal(f"{receiver}: events that came again", retries, len(bodies) // 4)
        checks.equal(f"{receiver}: events that were not stored", {one["id"] for one in got} - set(bodies), set())
    checks.finish(totals)


main()
