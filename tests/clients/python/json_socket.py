"""A WebSocket of the `websockets` package that speaks JSON."""

import asyncio
import json

import websockets

from engine import WAIT_SECONDS


class JsonSocket:
    """Keeps what arrives before it is asked for."""

    def __init__(self, websocket):
        self._websocket = websocket
        self._kept = []

    @classmethod
    async def open(cls, url, **options):
        return cls(await websockets.connect(url, **options))

    async def send(self, message):
        await self._websocket.send(json.dumps(message))

    async def send_text(self, text):
        await self._websocket.send(text)

    async def receive(self, kind):
        """The next message of a type (a kind, in `calls`)."""
        return json.loads(await self.receive_text(kind))

    async def receive_text(self, kind):
        async with asyncio.timeout(WAIT_SECONDS):
            while not any(kind_of(text) == kind for text in self._kept):
                self._kept.append(await self._websocket.recv())
        text = next(text for text in self._kept if kind_of(text) == kind)
        self._kept.remove(text)
        return text

    def has(self, kind):
        """Whether a message of that type has been read, and not asked for, by now."""
        return any(kind_of(text) == kind for text in self._kept)

    async def close(self):
        await self._websocket.close()

    async def closed(self):
        """Code and reason of the close that the other side has sent."""
        async with asyncio.timeout(WAIT_SECONDS):
            await self._websocket.wait_closed()
        return self._websocket.close_code, self._websocket.close_reason


def kind_of(text):
    message = json.loads(text)
    return message.get("type", message.get("kind"))
