"""Pairs of Socket.IO clients over HTTP long polling: each joins, exchanges signals, and goes."""

import json
import threading
import time
import urllib.error
import urllib.request

SIGNALS_A_LAP = 100


class Client:
    """Engine.IO 4 over polling. Packets are separated by 0x1E; `0` opens, `1` closes, `2` is a ping, `3` its
    pong, and `4` carries Socket.IO: `40` connects, `42` is an event."""

    def __init__(self, port, room):
        self.base = f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling&room={room}"
        self.waiting = []
        opened = self.request().split("\x1e")[0]
        self.base += "&sid=" + json.loads(opened[1:])["sid"]
        self.request("40")
        answer = self.packet()
        if not answer.startswith("40"):
            raise ConnectionError(f"no CONNECT: {answer[:80]}")
        self.id = json.loads(answer[2:])["sid"]

    def request(self, body=None):
        data = body.encode() if body is not None else None
        headers = {"Content-Type": "text/plain;charset=UTF-8"} if data else {}
        with urllib.request.urlopen(urllib.request.Request(self.base, data, headers), timeout=30) as answer:
            return answer.read().decode()

    def packet(self):
        while True:
            while not self.waiting:
                self.waiting = self.request().split("\x1e")
            packet = self.waiting.pop(0)
            if packet != "2":
                return packet
            self.request("3")

    def emit(self, name, value):
        self.request("42" + json.dumps([name, value]))

    def event(self, name):
        while True:
            packet = self.packet()
            if not packet.startswith("42"):
                raise ConnectionError(f"not an event: {packet[:80]}")
            got, value = json.loads(packet[2:])
            if got == "error":
                raise ConnectionError(str(value))
            if got == name:
                return value

    def leave(self):
        self.request("1")


class Stations(threading.Thread):
    def __init__(self, port, stop):
        super().__init__()
        self.title = "broadcast, polling"
        self.port, self.stop = port, stop
        self.laps = self.messages = 0
        self.worst_p99_ms = 0.0
        self.failures = []

    def run(self):
        while not self.stop.wait(0.5):
            try:
                self.lap()
            except (OSError, ValueError, urllib.error.URLError) as error:
                self.failures.append(f"lap {self.laps + 1}: {type(error).__name__}: {error}")
            self.laps += 1

    def lap(self):
        room = f"soak-{self.laps}"
        one, other = Client(self.port, room), Client(self.port, room)
        if one.event("peer_joined")["peer_id"] != other.id:
            self.failures.append(f"lap {self.laps + 1}: somebody else joined")
        took = []
        for number in range(SIGNALS_A_LAP):
            begun = time.monotonic()
            one.emit("signal", {"type": "offer", "to": other.id, "number": number})
            got = other.event("signal")
            if got.get("number") != number or got.get("from") != one.id:
                self.failures.append(f"lap {self.laps + 1}: {got} in place of {number}")
            self.messages += 1
            took.append((time.monotonic() - begun) * 1000)
        self.worst_p99_ms = max(self.worst_p99_ms, sorted(took)[SIGNALS_A_LAP * 99 // 100])
        other.leave()
        if one.event("peer_left")["peer_id"] != other.id:
            self.failures.append(f"lap {self.laps + 1}: somebody else left")
        one.leave()
