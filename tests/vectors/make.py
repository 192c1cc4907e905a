#!/usr/bin/env python3
"""Makes the recorded offer, answer and candidates of this folder with aiortc, a real WebRTC stack.

    python3 -m venv .venv && .venv/bin/pip install aiortc && .venv/bin/python tests/vectors/make.py

Two peer connections in this process (audio, video and a data channel) negotiate with each other.
What they would have sent through a signaling server is written down as it is: offer.sdp and
answer.sdp (CRLF line ends kept), and candidates.json, a list of `RTCIceCandidateInit` objects with
the side that gathered each. The files are committed, so tests need neither Python nor a network.
"""

import asyncio
import json
import pathlib

from aiortc import RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, VideoStreamTrack
from aiortc.sdp import candidate_to_sdp

HERE = pathlib.Path(__file__).parent


def candidates_of(connection: RTCPeerConnection, side: str) -> list[dict]:
    """Each gathered candidate in the form a browser's `onicecandidate` hands out."""
    found = []
    for index, transceiver in enumerate(connection.getTransceivers()):
        gatherer = transceiver.sender.transport.transport.iceGatherer
        for candidate in gatherer.getLocalCandidates():
            found.append(
                {
                    "side": side,
                    "init": {
                        "candidate": "candidate:" + candidate_to_sdp(candidate),
                        "sdpMid": transceiver.mid,
                        "sdpMLineIndex": index,
                        "usernameFragment": gatherer.getLocalParameters().usernameFragment,
                    },
                }
            )
    return found


async def main() -> None:
    caller, callee = RTCPeerConnection(), RTCPeerConnection()
    connected = asyncio.Event()

    caller.addTrack(AudioStreamTrack())
    caller.addTrack(VideoStreamTrack())
    channel = caller.createDataChannel("chat")
    channel.on("open", connected.set)
    callee.addTrack(AudioStreamTrack())
    callee.addTrack(VideoStreamTrack())

    await caller.setLocalDescription(await caller.createOffer())
    offer = caller.localDescription.sdp
    await callee.setRemoteDescription(RTCSessionDescription(offer, "offer"))
    await callee.setLocalDescription(await callee.createAnswer())
    answer = callee.localDescription.sdp
    await caller.setRemoteDescription(RTCSessionDescription(answer, "answer"))

    # A negotiation that does not lead to an open channel would be no vector worth keeping.
    await asyncio.wait_for(connected.wait(), 20)

    candidates = candidates_of(caller, "offer") + candidates_of(callee, "answer")
    (HERE / "offer.sdp").write_bytes(offer.encode())
    (HERE / "answer.sdp").write_bytes(answer.encode())
    lines = [json.dumps(candidate, separators=(",", ":")) for candidate in candidates]
    (HERE / "candidates.json").write_text("[\n" + ",\n".join(lines) + "\n]\n")
    await caller.close()
    await callee.close()


asyncio.run(main())
