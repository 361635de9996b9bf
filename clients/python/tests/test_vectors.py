"""The vectors that every language reads and writes (tests/conformance/vectors)."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from headwater.transactions.frame import FrameError, frame_prefix, parse_frame
from headwater.transactions.schema_text import message_paths
from headwater.transactions.units import cents_of

VECTORS = Path(__file__).resolve().parents[3] / "tests" / "conformance" / "vectors"


def load(name: str) -> dict[str, Any]:
    """A file of vectors."""
    found: dict[str, Any] = json.loads((VECTORS / f"{name}.json").read_text(encoding="utf-8"))
    return found


def test_frames_are_read_and_written() -> None:
    frames = load("frames")
    assert frames["frames"]
    for one in frames["frames"]:
        framed, payload = bytes.fromhex(one["frame_hex"]), bytes.fromhex(one["payload_hex"])
        indexes = tuple(one["message_indexes"])
        schema_id, found, at = parse_frame(framed)
        assert (schema_id, found, framed[at:]) == (one["schema_id"], indexes, payload), one["name"]
        assert message_paths(one["schema"])[indexes] == one["message"], one["name"]
        if not one.get("read_only"):
            assert frame_prefix(schema_id, indexes) + payload == framed, one["name"]
    for one in frames["bad"]:
        with pytest.raises(FrameError):
            parse_frame(bytes.fromhex(one["frame_hex"]))


def test_amounts_are_cents_or_refused() -> None:
    for one in load("amounts")["amounts"]:
        (amount,) = struct.unpack(">d", bytes.fromhex(one["ieee_hex"]))
        assert cents_of(amount) == one["cents"], one
