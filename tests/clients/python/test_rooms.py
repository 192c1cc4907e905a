"""`websockets` and `requests` against the `rooms` dialect: what a worker and its client do."""

import asyncio
import json
import unittest

import requests

from engine import Engine
from json_socket import JsonSocket

GPU = {
    "tags": ["gpu", "training", "inference"],
    "properties": {"gpu_memory_mb": 16384, "cuda_version": "11.8", "sleap_version": "1.3.0"},
}
API = "rooms-api"


def setUpModule():
    global engine
    engine = Engine()


def tearDownModule():
    assert engine.stop() == 0


def post(path, body=None, id_token=None):
    headers = {"Authorization": f"Bearer {id_token}"} if id_token else {}
    return requests.post(engine.http(path, API), json=body or {}, headers=headers, timeout=5)


def sign_in():
    response = post("/anonymous-signin")
    response.raise_for_status()
    return response.json()["id_token"]


def create_room():
    """A room and the identity that created it."""
    id_token = sign_in()
    response = post("/create-room", id_token=id_token)
    response.raise_for_status()
    return response.json() | {"id_token": id_token}


async def in_thread(call, *arguments):
    return await asyncio.to_thread(call, *arguments)


class HttpApi(unittest.TestCase):
    def test_a_room_needs_an_identity(self):
        self.assertEqual(post("/create-room").status_code, 422)
        bad = post("/create-room", id_token="not.a.token")
        self.assertEqual(bad.status_code, 401)
        self.assertIn("detail", bad.json())
        room = create_room()
        self.assertRegex(room["room_id"], r"^[a-z0-9]{8}$")
        self.assertRegex(room["token"], r"^[a-z0-9]{6}$")

    def test_health_metrics_and_keys_are_public(self):
        health = requests.get(engine.http("/health", API), timeout=5).json()
        self.assertEqual((health["status"], health["version"]), ("healthy", "2.0.0"))
        metrics = requests.get(engine.http("/metrics", API), timeout=5).json()
        self.assertLessEqual(
            {"timestamp", "active_rooms", "active_connections", "peers_by_role", "total_connections"}, set(metrics)
        )
        keys = requests.get(engine.http("/.well-known/jwks.json", API), timeout=5).json()["keys"]
        self.assertTrue(all(key["kty"] == "RSA" and "d" not in key for key in keys))
        self.assertGreaterEqual(len(keys), 1)

    def test_any_origin_may_ask(self):
        response = requests.get(engine.http("/health", API), headers={"Origin": "https://lab.example"}, timeout=5)
        self.assertEqual(response.headers["Access-Control-Allow-Origin"], "*")

    def test_an_unknown_peer_or_room_is_not_found(self):
        id_token = sign_in()
        gone = post("/delete-peers-and-room", {"peer_id": "Ghost-1"}, id_token)
        self.assertEqual((gone.status_code, gone.json()["status"]), (200, "peer not found"))
        gone = post("/delete-peers-and-room", {"room_id": "nosuch12"}, id_token)
        self.assertEqual((gone.status_code, gone.json()["status"]), (200, "room not found"))


class Peers(unittest.IsolatedAsyncioTestCase):
    maxDiff = None

    async def join(self, room, peer_id, **more):
        peer = await JsonSocket.open(engine.ws())
        await peer.send({"type": "register", "peer_id": peer_id, **room, **more})
        reply = await peer.receive("registered_auth")
        expected = {"room_id": room["room_id"], "token": room["token"], "peer_id": peer_id}
        self.assertEqual(reply, {"type": "registered_auth"} | expected)
        return peer

    async def test_a_client_finds_a_worker_and_sets_up_a_call(self):
        room = await in_thread(create_room)
        worker = await self.join(room, "Worker-3108", role="worker", metadata=GPU)
        client = await self.join(room, "Client-1489", role="client")
        filters = {
            "role": "worker",
            "tags": ["gpu", "training"],
            "properties": {"gpu_memory_mb": {"$gte": 8192}, "sleap_version": "1.3.0"},
        }
        await client.send({"type": "discover_peers", "from_peer_id": "Client-1489", "filters": filters})
        found = await client.receive("peer_list")
        self.assertEqual((found["count"], found["to_peer_id"]), (1, "Client-1489"))
        self.assertEqual(found["peers"][0]["peer_id"], "Worker-3108")
        self.assertEqual(found["peers"][0]["metadata"], GPU)

        offer = {"type": "offer", "sender": "Client-1489", "target": "Worker-3108", "sdp": "v=0\r\no=- ..."}
        await client.send(offer)
        self.assertEqual(await worker.receive("offer"), offer)
        answer = {"type": "answer", "sender": "Worker-3108", "target": "Client-1489", "sdp": "v=0\r\no=- ..."}
        await worker.send(answer)
        self.assertEqual(await client.receive("answer"), answer)
        candidate = {"type": "candidate", "sender": "Worker-3108", "target": "Client-1489", "candidate": "candidate:..."}
        await worker.send(candidate)
        self.assertEqual(await client.receive("candidate"), candidate)
        await worker.close()
        await client.close()

    async def test_a_payload_passes_byte_for_byte(self):
        room = await in_thread(create_room)
        client, worker = await self.join(room, "Client-1"), await self.join(room, "Worker-1")
        payload = '{"b" : 1.50, "a":[1E3,-0.0], "text":"\\u00e9\\n"}'
        await client.send_text(
            '{"type":"peer_message","from_peer_id":"Client-1","to_peer_id":"Worker-1","payload":' + payload + "}"
        )
        text = await worker.receive_text("peer_message")
        self.assertIn(payload, text)
        self.assertEqual(json.loads(text)["from_peer_id"], "Client-1")
        await client.close()
        await worker.close()

    async def test_a_wrong_token_is_refused_and_the_right_one_may_follow(self):
        room = await in_thread(create_room)
        peer = await JsonSocket.open(engine.ws())
        for change, reason in [
            ({"token": "wrong1"}, "Invalid token"),
            ({"room_id": "nosuch12"}, "Room not found"),
            ({"id_token": "not.a.token"}, "Authentication failed"),
        ]:
            await peer.send({"type": "register", "peer_id": "Worker-1"} | room | change)
            self.assertEqual((await peer.receive("error"))["reason"], reason)
        await peer.send({"type": "register", "peer_id": "Worker-1"} | room)
        await peer.receive("registered_auth")
        await peer.close()

    async def test_an_old_client_asks_by_query(self):
        room = await in_thread(create_room)
        old, worker = await self.join(room, "Old-1"), await self.join(room, "Worker-1")
        await old.send({"type": "query"})
        self.assertIn("Worker-1", (await old.receive("available_peers"))["peers"])
        await old.close()
        await worker.close()

    async def test_metadata_is_merged(self):
        room = await in_thread(create_room)
        worker = await self.join(room, "Worker-1", role="worker", metadata=GPU)
        busy = {"tags": ["busy"], "properties": {"status": "busy"}}
        await worker.send({"type": "update_metadata", "peer_id": "Worker-1", "metadata": busy})
        merged = (await worker.receive("metadata_updated"))["metadata"]
        self.assertEqual(set(merged["tags"]), {*GPU["tags"], "busy"})
        self.assertEqual(merged["properties"], GPU["properties"] | {"status": "busy"})
        await worker.close()

    async def test_a_deleted_room_closes_its_sockets_and_is_gone(self):
        room = await in_thread(create_room)
        client, worker = await self.join(room, "Client-1"), await self.join(room, "Worker-1")
        stranger = await in_thread(sign_in)
        refused = await in_thread(post, "/delete-peers-and-room", {"peer_id": "Worker-1"}, stranger)
        self.assertEqual(refused.status_code, 401)
        deleted = await in_thread(post, "/delete-peers-and-room", {"peer_id": "Worker-1"}, room["id_token"])
        self.assertEqual(deleted.json(), {"status": "peer deleted successfully"})
        self.assertEqual((await client.closed())[0], 1000)
        self.assertEqual((await worker.closed())[0], 1000)
        late = await JsonSocket.open(engine.ws())
        await late.send({"type": "register", "peer_id": "Late-1"} | room)
        self.assertEqual((await late.receive("error"))["reason"], "Room not found")
        await late.close()

    async def test_the_newer_socket_takes_the_peer_id_over(self):
        room = await in_thread(create_room)
        client, older = await self.join(room, "Client-1"), await self.join(room, "Worker-1")
        newer = await self.join(room, "Worker-1")
        self.assertEqual((await older.closed())[0], 1008)
        await client.send({"type": "offer", "sender": "Client-1", "target": "Worker-1", "sdp": "v=0"})
        await newer.receive("offer")
        await client.close()
        await newer.close()
