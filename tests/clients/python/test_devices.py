"""`websockets` and `requests` against the `devices` dialect."""

import asyncio
import unittest

import requests

from engine import Engine
from json_socket import JsonSocket

SDP = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n"
CANDIDATE = {"candidate": "candidate:1 1 UDP 1 127.0.0.1 5 typ host", "sdpMLineIndex": 0, "sdpMid": "0"}


def setUpModule():
    global engine
    engine = Engine()


def tearDownModule():
    assert engine.stop() == 0


async def registered(device_id):
    device = await JsonSocket.open(engine.ws())
    await device.send({"type": "register", "id": device_id})
    reply = await device.receive("registered")
    assert reply["id"] == device_id
    return device


class Devices(unittest.IsolatedAsyncioTestCase):
    maxDiff = None

    async def refused(self, device, message):
        self.assertEqual((await device.receive("error"))["message"], message)

    async def test_an_offer_an_answer_and_candidates_pass(self):
        operator, drone = await registered("op-1"), await registered("drone-1")
        await operator.send({"type": "offer", "target": "drone-1", "sdp": SDP})
        offer = await drone.receive("offer")
        self.assertEqual(set(offer), {"type", "from", "sdp", "sessionId", "timestamp"})
        self.assertEqual((offer["from"], offer["sdp"]), ("op-1", SDP))
        session = offer["sessionId"]
        self.assertRegex(session, r"^session-\d{13}-[0-9a-z]{9}$")

        await drone.send({"type": "answer", "target": "op-1", "sdp": SDP, "sessionId": session})
        answer = await operator.receive("answer")
        self.assertEqual((answer["from"], answer["sdp"], answer["sessionId"]), ("drone-1", SDP, session))
        await drone.send({"type": "ice", "target": "op-1", "candidate": CANDIDATE})
        ice = await operator.receive("ice")
        self.assertEqual((ice["from"], ice["candidate"]), ("drone-1", CANDIDATE))
        self.assertNotIn("sessionId", ice)
        await operator.close()
        await drone.close()

    async def test_errors_name_what_is_wrong(self):
        visitor = await JsonSocket.open(engine.ws())
        await visitor.send({"type": "offer", "target": "drone-2", "sdp": SDP})
        await self.refused(visitor, "Not registered")
        await visitor.send({"type": "register", "id": "visitor-2"})
        await visitor.receive("registered")
        for message, error in [
            ({"type": "offer", "sdp": SDP}, "No target specified"),
            ({"type": "offer", "target": "ghost", "sdp": SDP}, "Target ghost not found or offline"),
            ({"type": "answer", "target": "ghost", "sdp": SDP}, "Caller ghost not found or offline"),
            ({"type": "dance"}, "Unknown message type: dance"),
        ]:
            await visitor.send(message)
            await self.refused(visitor, error)
        await visitor.send_text("{not json")
        await self.refused(visitor, "Invalid message format")
        await visitor.close()

    async def test_list_and_ping_are_answered(self):
        operator, drone = await registered("op-3"), await registered("drone-3")
        await operator.send({"type": "list"})
        reply = await operator.receive("clients")
        self.assertIn("drone-3", reply["clients"])
        self.assertNotIn("op-3", reply["clients"])
        self.assertEqual(reply["count"], len(reply["clients"]))
        await operator.send({"type": "ping"})
        self.assertEqual(set(await operator.receive("pong")), {"type", "timestamp"})
        await operator.close()
        await drone.close()

    async def test_the_newer_connection_takes_the_id_over(self):
        operator, older = await registered("op-4"), await registered("drone-4")
        newer = await registered("drone-4")
        self.assertEqual((await older.closed())[0], 1008)
        await operator.send({"type": "offer", "target": "drone-4", "sdp": SDP})
        await newer.receive("offer")
        await operator.close()
        await newer.close()

    async def test_the_rest_are_told_when_a_client_goes(self):
        operator, drone = await registered("op-5"), await registered("drone-5")
        await drone.close()
        update = await operator.receive("client_list_update")
        while "op-5" not in update["clients"] or "drone-5" in update["clients"]:
            update = await operator.receive("client_list_update")
        self.assertEqual(update["count"], len(update["clients"]))
        await operator.close()

    async def test_health_counts_the_clients(self):
        drone = await registered("drone-6")
        response = await asyncio.to_thread(requests.get, engine.http("/health", "devices-health"), timeout=5)
        self.assertEqual(response.status_code, 200)
        self.assertEqual(response.json()["status"], "healthy")
        self.assertGreaterEqual(response.json()["clients"], 1)
        await drone.close()
