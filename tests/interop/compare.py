"""Compares the output of `events export` with the files that both SDKs posted, byte for byte.

Arguments: the export, payload folder, totals file.
"""

import base64
import json
import sys
from collections import Counter

from checks import Checks, is_anonymous_inbound, payload_files


def main():
    export, folder, totals = sys.argv[1:]
    with open(export, encoding="utf-8") as lines:
        events = [json.loads(line) for line in lines]
    stored = Counter(base64.b64decode(event["body_base64"], validate=True) for event in events)
    checks = Checks("events export")
    for file in payload_files(folder):
        body = file.read_bytes()
        times = 2 if is_anonymous_inbound(body) else 1
        checks.equal(f"{file.name}: times stored", stored.pop(body, 0), times)
    checks.equal("bodies that were not posted", len(stored), 0)
    checks.equal("ids that occur twice", len(events) - len({event["id"] for event in events}), 0)
    unsigned = [event["id"] for event in events if not event["headers"].get("x-retell-signature", "").startswith("v=")]
    checks.equal("events without their signature header", unsigned, [])
    checks.finish(totals)


main()
