"""`aiohttp` and `websockets` against the `calls` dialect: what the document calls the high-level
client flow."""

import unittest

import aiohttp

from engine import Engine
from json_socket import JsonSocket


def setUpModule():
    global engine
    engine = Engine()


def tearDownModule():
    assert engine.stop() == 0


class Calls(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=5))

    async def asyncTearDown(self):
        await self.http.close()

    async def take_seat(self, call):
        async with self.http.get(engine.http(f"/call/{call}")) as response:
            self.assertEqual(response.status, 200)
            handshake = await response.json()
        self.assertEqual((handshake["kind"], handshake["call"]), ("JOIN", call))
        return handshake

    async def present(self, handshake):
        caller = await JsonSocket.open(engine.ws("/ws"))
        await caller.send(handshake)
        welcome = await caller.receive("WELCOME")
        self.assertEqual(welcome, {"kind": "WELCOME", "call": handshake["call"]})
        return caller

    async def post(self, message):
        async with self.http.post(engine.http("/signal"), json=message) as response:
            return response.status

    async def test_two_callers_meet(self):
        alice = await self.take_seat("meeting")
        alice_socket = await self.present(alice)
        bob = await self.take_seat("meeting")
        self.assertEqual(await alice_socket.receive("PEER"), {"kind": "PEER", "call": "meeting"})
        bob_socket = await self.present(bob)

        self.assertEqual(await self.post(bob | {"kind": "OFFER", "body": "v=0 bob"}), 200)
        offer = await alice_socket.receive("OFFER")
        self.assertEqual(offer, {"kind": "OFFER", "call": "meeting", "body": "v=0 bob"})
        self.assertEqual(await self.post(alice | {"kind": "ANSWER", "body": "v=0 alice"}), 200)
        answer = await bob_socket.receive("ANSWER")
        self.assertEqual(answer, {"kind": "ANSWER", "call": "meeting", "body": "v=0 alice"})
        self.assertFalse(bob_socket.has("OFFER"), "the sender does not hear itself")
        for number in range(20):
            self.assertEqual(await self.post(bob | {"kind": "CANDIDATE", "body": f"candidate:{number}"}), 200)
        for number in range(20):
            self.assertEqual((await alice_socket.receive("CANDIDATE"))["body"], f"candidate:{number}")
        await alice_socket.close()
        await bob_socket.close()

    async def test_a_third_caller_finds_no_seat(self):
        await self.take_seat("full")
        await self.take_seat("full")
        async with self.http.get(engine.http("/call/full")) as response:
            self.assertEqual(response.status, 409)

    async def test_statuses_are_as_documented(self):
        seat = await self.take_seat("statuses")
        good = seat | {"kind": "OFFER", "body": "v=0"}
        self.assertEqual(await self.post(good), 200)
        self.assertEqual(await self.post(good | {"kind": "WELCOME"}), 400)
        self.assertEqual(await self.post(good | {"body": ""}), 400)
        self.assertEqual(await self.post(good | {"session": "1" * 27}), 409)
        async with self.http.post(engine.http("/signal"), data=b"not json") as response:
            self.assertEqual(response.status, 400)
        async with self.http.delete(engine.http("/call/statuses")) as response:
            self.assertEqual(response.status, 405)
        async with self.http.get(engine.http("/call/")) as response:
            self.assertEqual(response.status, 404)
        async with self.http.options(engine.http("/signal")) as response:
            self.assertEqual(response.status, 204)

    async def test_a_bad_handshake_closes_with_its_reason(self):
        seat = await self.take_seat("handshake")
        for message, reason in [
            (seat | {"session": "1" * 27}, "bad seat"),
            ({"kind": "WELCOME", "call": "handshake"}, "bad handshake"),
        ]:
            caller = await JsonSocket.open(engine.ws("/ws"))
            await caller.send(message)
            self.assertEqual(await caller.closed(), (1000, reason))

    async def test_healthz_is_200(self):
        async with self.http.get(engine.http("/healthz", "calls-health")) as response:
            self.assertEqual(response.status, 200)
