"""A relay on the Python package `websockets`, on uvloop where that is installed."""

import asyncio
import json
import sys
from datetime import datetime, timezone

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed

try:
    from uvloop import run
except ImportError:
    from asyncio import run

HEADER_BYTES = 21
CONNECT, CONNECT_ACK, OFFER, CANDIDATE = 0x01, 0x02, 0x10, 0x12
WELCOME = b'{"status":"success","session_id":"00000000-0000-4000-8000-000000000000"}'

# By id, the connection that has it.
directory = {}


def with_payload(frame, kind, payload):
    return b"".join(
        (frame[:1], bytes((kind,)), frame[2:18], b"\x02", len(payload).to_bytes(2, "big"), payload)
    )


def timestamp():
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")


async def binary(socket, own, frame):
    """Returns the id of the one who has sent the frame."""
    if frame[0] != 0xAA:
        raise ValueError("no frame")
    kind = frame[1]
    end = HEADER_BYTES + (frame[19] << 8 | frame[20])
    payload = frame[HEADER_BYTES:end]
    said = json.loads(payload)
    if kind == CONNECT:
        own = said["client_id"]
        directory[own] = socket
        await socket.send(with_payload(frame, CONNECT_ACK, WELCOME))
    elif OFFER <= kind <= CANDIDATE and own is not None and "sender_client_id" not in said:
        target = directory.get(said["target_client_id"])
        if target is not None:
            # The payload's bytes stay as they are, but for the brace at their end.
            stamped = payload[:-1] + b',"sender_client_id":' + json.dumps(own).encode() + b"}"
            await target.send(with_payload(frame, kind, stamped))
    return own


async def text(socket, own, message):
    """Returns the id of the one who has sent the text."""
    said = json.loads(message)
    kind = said["type"]
    if kind == "register":
        own = said["id"]
        directory[own] = socket
        await socket.send(json.dumps({"type": "registered", "id": own, "timestamp": timestamp()}))
    elif own is not None:
        target = directory.get(said["target"])
        if target is not None:
            forwarded = {"type": kind, "from": own}
            for key in ("sdp", "candidate", "sessionId"):
                if key in said:
                    forwarded[key] = said[key]
            forwarded["timestamp"] = timestamp()
            await target.send(json.dumps(forwarded))
    return own


async def relay(socket):
    own = None
    try:
        async for message in socket:
            try:
                if isinstance(message, bytes):
                    own = await binary(socket, own, message)
                else:
                    own = await text(socket, own, message)
            except ConnectionClosed:
                # The target has just left, or this one has.
                pass
    finally:
        if directory.get(own) is socket:
            del directory[own]


async def main():
    async with serve(
        relay,
        "127.0.0.1",
        int(sys.argv[1]),
        compression=None,
        ping_interval=None,
        max_queue=None,
        backlog=4096,
    ):
        print("listening", flush=True)
        await asyncio.get_running_loop().create_future()


run(main())
