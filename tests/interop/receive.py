"""Servers to put behind `forward`, written as the documentation of their libraries shows: FastAPI with Retell's SDK at /retell,
with a Standard Webhooks library at /standard. The first attempt of every fourth event is answered with 503, so that it
comes again. GET /seen tells what came.

Arguments: a file that gets the address.
"""

import hashlib
import os
import socket
import sys
from pathlib import Path

import uvicorn
from fastapi import FastAPI, Request, Response
from retell import Retell
from standardwebhooks import Webhook, WebhookVerificationError

KEY = os.environ["RETELL_API_KEY"]
app = FastAPI()
sdk = Retell(api_key=KEY)
standard = Webhook(os.environ["STANDARD_SECRET"])
seen = {"retell": [], "standard": []}


def answer(path, request, body, verified):
    event_id, attempt = request.headers["webhook-id"], request.headers["x-retell-webhook-attempt"]
    digest = hashlib.sha256(body).hexdigest()
    again = attempt == "1" and len({one["id"] for one in seen[path]}) % 4 == 3
    status = 401 if not verified else 503 if again else 204
    seen[path].append({"id": event_id, "attempt": int(attempt), "status": status, "sha256": digest})
    return Response(status_code=status)


@app.post("/retell")
async def retell(request: Request):
    body = await request.body()
    signature = request.headers["x-retell-signature"]
    return answer("retell", request, body, sdk.verify(body.decode(), api_key=KEY, signature=signature))


@app.post("/standard")
async def standard_webhooks(request: Request):
    body = await request.body()
    try:
        standard.verify(body, dict(request.headers))
        return answer("standard", request, body, True)
    except WebhookVerificationError:
        return answer("standard", request, body, False)


@app.get("/seen")
def tell():
    return seen


def main():
    listener = socket.create_server(("127.0.0.1", 0))
    Path(sys.argv[1]).write_text(f"http://127.0.0.1:{listener.getsockname()[1]}\n")
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listener])


main()
