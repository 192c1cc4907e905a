"""`python-socketio` against the `broadcast` dialect: its asynchronous and its blocking client, over
polling, WebSocket, and the upgrade between them."""

import asyncio
import itertools
import queue
import unittest

import socketio

from engine import WAIT_SECONDS, Engine

WAYS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": None}
HEARD = ["signal", "peer_joined", "peer_left", "error"]
OFFER = {"type": "offer", "data": {"sdp": "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n", "type": "offer"}}
ANSWER = {"type": "answer", "data": {"sdp": "v=0\r\ns=-\r\n", "type": "answer"}}
CANDIDATE = {
    "type": "ice-candidate",
    "data": {"candidate": "candidate:1 1 UDP 1 127.0.0.1 5 typ host", "sdpMid": "0", "sdpMLineIndex": 0},
}
VALID_TYPES = ["offer", "answer", "ice-candidate"]

rooms = itertools.count()


def setUpModule():
    global engine
    engine = Engine()


def tearDownModule():
    assert engine.stop() == 0


def group():
    """The address of a group in which a test is alone."""
    return engine.http(f"/?room=python-{next(rooms)}")


class Station:
    """The asynchronous client."""

    def __init__(self):
        self.client = socketio.AsyncClient(reconnection=False)
        self._events = {event: asyncio.Queue() for event in HEARD}
        for event, arrived in self._events.items():
            self.client.on(event, arrived.put)

    @classmethod
    async def connect(cls, url, transports=None, **options):
        station = cls()
        await station.client.connect(url, transports=transports, **options)
        return station

    @property
    def id(self):
        return self.client.get_sid()

    async def signal(self, message):
        await self.client.emit("signal", message)

    async def receive(self, event):
        async with asyncio.timeout(WAIT_SECONDS):
            return await self._events[event].get()

    def has(self, event):
        return not self._events[event].empty()

    async def leave(self):
        await self.client.disconnect()


async def pair(url, transports=None):
    """A node that was there first, and a station that has joined it."""
    node = await Station.connect(url, transports)
    station = await Station.connect(url, transports)
    assert await node.receive("peer_joined") == {"peer_id": station.id}
    return node, station


class Asynchronous(unittest.IsolatedAsyncioTestCase):
    maxDiff = None

    async def a_call_is_set_up(self, transports):
        node, station = await pair(group(), transports)
        await node.signal(OFFER)
        self.assertEqual(await station.receive("signal"), OFFER | {"from": node.id})
        await station.signal(ANSWER)
        self.assertEqual(await node.receive("signal"), ANSWER | {"from": station.id})
        # The polling client of python-engineio takes at most 16 packets in one answer.
        count = 10 if transports == ["polling"] else 100
        for number in range(count):
            await node.signal(CANDIDATE | {"number": number})
        for number in range(count):
            received = await station.receive("signal")
            self.assertEqual(received, CANDIDATE | {"number": number, "from": node.id})
        gone = station.id
        await station.leave()
        self.assertEqual(await node.receive("peer_left"), {"peer_id": gone})
        await node.leave()

    async def test_a_call_is_set_up_over_polling(self):
        await self.a_call_is_set_up(WAYS["polling"])

    async def test_a_call_is_set_up_over_websocket(self):
        await self.a_call_is_set_up(WAYS["websocket"])

    async def test_a_call_is_set_up_with_the_upgrade(self):
        await self.a_call_is_set_up(WAYS["upgrade"])

    async def test_a_client_that_asks_for_nothing_has_upgraded_to_websocket(self):
        node = await Station.connect(group())
        self.assertEqual(node.client.transport(), "websocket")
        await node.leave()

    async def test_an_acknowledgement_is_given_for_good_and_refused_messages(self):
        for transports in WAYS.values():
            node, station = await pair(group(), transports)
            await node.client.call("signal", OFFER, timeout=WAIT_SECONDS)
            self.assertEqual(await station.receive("signal"), OFFER | {"from": node.id})
            await node.client.call("signal", {"type": "shout"}, timeout=WAIT_SECONDS)
            self.assertEqual((await node.receive("error"))["message"], "Invalid message type: shout")
            await node.leave()
            await station.leave()

    async def test_refused_messages_are_errors_to_their_sender_alone(self):
        node, station = await pair(group())
        for message, error in [
            ("offer", {"message": "Invalid message format"}),
            (7, {"message": "Invalid message format"}),
            ({"type": "shout"}, {"message": "Invalid message type: shout", "valid_types": VALID_TYPES}),
            (OFFER | {"to": "nobody"}, {"message": "Peer nobody not found"}),
        ]:
            await node.signal(message)
            self.assertEqual(await node.receive("error"), error)
        await node.signal(OFFER)
        self.assertEqual(await station.receive("signal"), OFFER | {"from": node.id})
        self.assertFalse(station.has("error"))
        await node.leave()
        await station.leave()

    async def test_to_names_one_of_many_and_without_it_all_others_hear(self):
        url = group()
        first, second = await pair(url)
        third = await Station.connect(url)
        await first.signal(OFFER | {"to": third.id})
        self.assertEqual(await third.receive("signal"), OFFER | {"to": third.id, "from": first.id})
        await first.signal(CANDIDATE)
        for other in [second, third]:
            self.assertEqual(await other.receive("signal"), CANDIDATE | {"from": first.id})
        for station in [first, second, third]:
            await station.leave()

    async def test_groups_are_named_by_query_or_by_auth(self):
        name = f"python-{next(rooms)}"
        by_query = await Station.connect(engine.http(f"/?room={name}"))
        elsewhere = await Station.connect(group())
        by_auth = await Station.connect(engine.http(), auth={"room": name})
        self.assertEqual(await by_query.receive("peer_joined"), {"peer_id": by_auth.id})
        await by_auth.signal(OFFER)
        self.assertEqual(await by_query.receive("signal"), OFFER | {"from": by_auth.id})
        await elsewhere.client.call("signal", CANDIDATE, timeout=WAIT_SECONDS)
        self.assertFalse(elsewhere.has("signal") or elsewhere.has("peer_joined"))
        for station in [by_query, elsewhere, by_auth]:
            await station.leave()


class Blocking(unittest.TestCase):
    """The client that runs on threads, `requests` and `websocket-client`."""

    def connect(self, url, transports):
        client = socketio.Client(reconnection=False)
        client.arrived = {event: queue.Queue() for event in HEARD}
        for event, arrived in client.arrived.items():
            client.on(event, arrived.put)
        client.connect(url, transports=transports)
        self.addCleanup(client.disconnect)
        return client

    @staticmethod
    def receive(client, event):
        return client.arrived[event].get(timeout=WAIT_SECONDS)

    def a_call_is_set_up(self, transports):
        receive = self.receive
        url = group()
        node = self.connect(url, transports)
        station = self.connect(url, transports)
        self.assertEqual(receive(node, "peer_joined"), {"peer_id": station.get_sid()})
        node.emit("signal", OFFER)
        self.assertEqual(receive(station, "signal"), OFFER | {"from": node.get_sid()})
        station.emit("signal", ANSWER)
        self.assertEqual(receive(node, "signal"), ANSWER | {"from": station.get_sid()})
        node.call("signal", CANDIDATE, timeout=WAIT_SECONDS)
        self.assertEqual(receive(station, "signal"), CANDIDATE | {"from": node.get_sid()})
        gone = station.get_sid()
        station.disconnect()
        self.assertEqual(receive(node, "peer_left"), {"peer_id": gone})

    def test_a_blocking_client_sets_up_a_call_over_polling(self):
        self.a_call_is_set_up(WAYS["polling"])

    def test_a_blocking_client_sets_up_a_call_over_websocket(self):
        self.a_call_is_set_up(WAYS["websocket"])

    def test_a_blocking_client_sets_up_a_call_with_the_upgrade(self):
        self.a_call_is_set_up(WAYS["upgrade"])
