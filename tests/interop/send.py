"""Posts every sample payload signed by Retell's Python SDK.

Arguments: new or duplicate (what the receiver should say of the events), URL, payload folder, totals file.
"""

import json
import os
import subprocess
import sys
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from retell import Retell
from retell.lib.webhook_auth import symmetric

from checks import Checks, payload_files

KEY = os.environ["RETELL_API_KEY"]
OTHER_KEY = "key_interop_not_the_one_8d41"
BINARY = os.environ["RETELL_WEBHOOK_BINARY"]


def expected_answer(body, duplicate):
    fields = json.loads(body)
    event = fields.get("event")
    if event is None:
        # A function call at an address for events: stored, and the model is told that nothing was done.
        return {"received": True, "error": "unknown_function" if "name" in fields else "not_an_event", "result": "failed"}
    if event in ("call_inbound", "chat_inbound"):
        return {event: {}}
    return {"received": True, "duplicate": True} if duplicate else {"received": True}


def post(url, body, signature):
    headers = {"content-type": "application/json", "x-retell-signature": signature}
    try:
        with urlopen(Request(url, data=body, headers=headers, method="POST"), timeout=10) as answer:
            fields = json.load(answer)
            # The text for the model.
            fields.pop("message", None)
            return answer.status, fields
    except HTTPError as error:
        return error.code, json.load(error)


def run_binary(*args, body):
    done = subprocess.run([BINARY, *args], input=body, capture_output=True)
    return done.returncode, done.stdout.decode().strip()


def main():
    mode, url, folder, totals = sys.argv[1:]
    checks, sdk = Checks("Python SDK"), Retell(api_key=KEY)
    for file in payload_files(folder):
        body = file.read_bytes()
        text = body.decode()
        signature = symmetric["sign"](text, KEY)
        forged = symmetric["sign"](text, OTHER_KEY)
        checks.equal(f"{file.name}: the SDK believes itself", sdk.verify(text, KEY, signature), True)
        checks.equal(f"{file.name}: the SDK refuses another key's", sdk.verify(text, KEY, forged), False)
        checks.equal(f"{file.name}: the SDK refuses a changed body", sdk.verify(text + " ", KEY, signature), False)
        code, ours = run_binary("sign", body=body)
        checks.equal(f"{file.name}: the SDK believes `sign`", (code, sdk.verify(text, KEY, ours)), (0, True))
        code, _ = run_binary("verify", "--header", signature, body=body)
        checks.equal(f"{file.name}: `verify` believes the SDK", code, 0)
        unauthorized = (401, {"message": "Unauthorized"})
        checks.equal(f"{file.name}: another key", post(url, body, forged), unauthorized)
        checks.equal(f"{file.name}: a changed body", post(url, body + b" ", signature), unauthorized)
        answer = (200, expected_answer(body, mode == "duplicate"))
        checks.equal(f"{file.name}: signed", post(url, body, signature), answer)
    checks.finish(totals)


main()
