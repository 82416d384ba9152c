"""Counts checks, and reads the sample payloads for the other scripts."""

import json
from pathlib import Path


class Checks:
    def __init__(self, who):
        self.who, self.passed, self.failed = who, 0, 0

    def equal(self, what, found, expected):
        if found == expected:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {self.who}: {what}: expected {expected!r}, found {found!r}")

    def finish(self, totals):
        print(f"{self.who}: {self.passed} passed, {self.failed} failed")
        with open(totals, "a") as file:
            print(self.passed, self.failed, file=file)


def payload_files(folder):
    files = sorted(Path(folder).glob("*.json"))
    if not files:
        raise SystemExit(f"no payloads in {folder}")
    return files


def is_anonymous_inbound(body):
    """Whether the body has no call or chat id. Each signature is then a separate caller, so it is never a duplicate."""
    event = json.loads(body)
    if event.get("event") not in ("call_inbound", "chat_inbound"):
        return False
    inbound = event.get(event["event"]) or {}
    return not (inbound.get("call_id") or inbound.get("chat_id"))
