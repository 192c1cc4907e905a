"""What clients do that should not, and what operators do: each is done again and again beside honest load,
which must not notice. A fault raises if the server does not answer it as it should."""

import contextlib
import os
import random
import signal
import socket
import struct
import subprocess
import time
from dataclasses import dataclass

# Bounds of one fault. A server that does not end a bad connection within this has failed.
ANSWER_SECONDS = 15


@dataclass
class Watched:
    binary: object
    port: int
    pid: int


def connect(watched):
    return socket.create_connection(("127.0.0.1", watched.port), timeout=ANSWER_SECONDS)


def upgrade(watched):
    sock = connect(watched)
    sock.sendall(b"GET / HTTP/1.1\r\nHost: soak\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                 b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n")
    head = b""
    while b"\r\n\r\n" not in head:
        if not (more := sock.recv(4096)):
            raise ConnectionError("no 101")
        head += more
    if not head.startswith(b"HTTP/1.1 101 "):
        raise ConnectionError(head[:40])
    return sock


def masked(opcode, payload):
    mask = b"\x37\xfa\x21\x3d"
    length = len(payload)
    size = bytes([0x80 | length]) if length < 126 else struct.pack(">BH", 0x80 | 126, length)
    return bytes([0x80 | opcode]) + size + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload))


def register(sock, name):
    sock.sendall(masked(1, ('{"type":"register","id":"%s"}' % name).encode()))
    if b"registered" not in sock.recv(4096):
        raise ConnectionError("not registered")


def must_end(sock):
    """Reads until the server has ended the connection."""
    with contextlib.suppress(ConnectionError):
        while sock.recv(65536):
            pass


def garbage(watched, times):
    with connect(watched) as sock:
        sock.sendall(random.Random(times).randbytes(2000))
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_WR)
        must_end(sock)


def half_a_head(watched, _times):
    with connect(watched) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: so")
        must_end(sock)


def silent(watched, _times):
    with connect(watched) as sock:
        must_end(sock)


def unmasked(watched, _times):
    with upgrade(watched) as sock:
        sock.sendall(b"\x81\x02hi")
        if (answer := sock.recv(4096))[2:4] != b"\x03\xea":
            raise ConnectionError(f"1002 was due, not {answer[:8].hex()}")


def taken_over(watched, times):
    """The same id again: the older one is closed."""
    with upgrade(watched) as older, upgrade(watched) as newer:
        register(older, f"twice-{times}")
        register(newer, f"twice-{times}")
        must_end_websocket(older, 1008)


def must_end_websocket(sock, code):
    answer = sock.recv(4096)
    while struct.pack(">H", code) not in answer:
        if not (more := sock.recv(4096)):
            raise ConnectionError(f"{code} was due")
        answer += more


def vanish(watched, times):
    """A process with many sessions dies in the middle of its work."""
    load = subprocess.Popen(
        [watched.binary, "load", "--url", f"ws://127.0.0.1:{watched.port}/", "--connections", "100",
         "--outstanding", "4", "--id", f"vanishing-{times}-{{n}}", "--duration", "60s", "--quiet", "--json"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    time.sleep(1)
    load.kill()
    load.wait()


def reset(watched, times):
    """Sessions that end with RST, some in the middle of a frame."""
    for number in range(20):
        sock = upgrade(watched)
        register(sock, f"reset-{times}-{number}")
        if number % 2:
            sock.sendall(masked(1, b'{"type":"ping"}')[:9])
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()


def never_reading(watched, times):
    """One that does not read, and one that keeps sending to it: the sender hears of what is not delivered,
    or is held back; it is never told nothing."""
    with upgrade(watched) as reader, upgrade(watched) as sender:
        register(reader, f"deaf-{times}")
        register(sender, f"caller-{times}")
        text = '{"type":"ice-candidate","target":"deaf-%d","candidate":"%s"}' % (times, "x" * 16000)
        message = masked(1, text.encode())
        sender.settimeout(3)
        sent = 0
        with contextlib.suppress(TimeoutError, ConnectionError):
            while sent < 64 << 20:
                sender.sendall(message)
                sent += len(message)


def reload(watched, _times):
    os.kill(watched.pid, signal.SIGHUP)


# Name, deed, and seconds between two of it.
FAULTS = [
    ("random bytes", garbage, 0.5),
    ("half a request", half_a_head, 1),
    ("a connection that says nothing", silent, 1),
    ("an unmasked WebSocket frame", unmasked, 0.5),
    ("an id that is taken over", taken_over, 0.3),
    ("a client process killed, with 100 sessions", vanish, 6),
    ("20 sessions reset, some within a frame", reset, 2),
    ("a reader that does not read, and floods for it", never_reading, 7),
    ("SIGHUP", reload, 5),
]
