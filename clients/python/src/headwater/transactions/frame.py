"""The Confluent frame of a Protobuf message.

A zero byte, the schema's id (4 bytes, big-endian), the path to the message within the schema (a count and that many
indexes, each a zigzag varint; `[0]`, the first message, is written as one zero byte) and then the message.
"""

MAGIC = 0
MESSAGE_INDEXES_MAX = 16
_VARINT_BYTES_MAX = 5
_HEADER_BYTES = 5


class FrameError(ValueError):
    """Bytes that are no frame."""


def frame_prefix(schema_id: int, message_indexes: tuple[int, ...]) -> bytes:
    """What goes before a message."""
    if not 0 <= schema_id < 1 << 32:
        raise ValueError(f"schema id {schema_id}: is not an unsigned number of 32 bits")
    if not 1 <= len(message_indexes) <= MESSAGE_INDEXES_MAX or min(message_indexes) < 0:
        raise ValueError(f"message indexes {message_indexes}: 1 to {MESSAGE_INDEXES_MAX} numbers, none negative")
    header = bytes([MAGIC]) + schema_id.to_bytes(4, "big")
    if message_indexes == (0,):
        return header + b"\0"
    return header + b"".join(map(_varint, (len(message_indexes), *message_indexes)))


def parse_frame(framed: bytes) -> tuple[int, tuple[int, ...], int]:
    """The schema's id, the message indexes, and where the message begins."""
    if framed and framed[0] != MAGIC:
        raise FrameError(f"the frame begins with the byte {framed[0]}, not with 0")
    if len(framed) < _HEADER_BYTES:
        raise _truncated(framed)
    count, at = _take_varint(framed, _HEADER_BYTES)
    if not 0 <= count <= MESSAGE_INDEXES_MAX:
        raise FrameError("the frame's message indexes are not valid")
    indexes = []
    for _ in range(count):
        index, at = _take_varint(framed, at)
        if index < 0:
            raise FrameError("the frame's message indexes are not valid")
        indexes.append(index)
    return int.from_bytes(framed[1:_HEADER_BYTES], "big"), tuple(indexes) or (0,), at


def _truncated(framed: bytes) -> FrameError:
    return FrameError(f"the frame is cut off after {len(framed)} bytes")


def _varint(value: int) -> bytes:
    zigzag = value << 1
    out = bytearray()
    while zigzag >= 0x80:
        out.append(zigzag & 0x7F | 0x80)
        zigzag >>= 7
    out.append(zigzag)
    return bytes(out)


def _take_varint(framed: bytes, at: int) -> tuple[int, int]:
    zigzag = 0
    for place in range(_VARINT_BYTES_MAX):
        if at + place >= len(framed):
            raise _truncated(framed)
        byte = framed[at + place]
        # The fifth byte has room for four bits.
        if place == _VARINT_BYTES_MAX - 1 and byte & 0x7F > 0xF:
            break
        zigzag |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return (zigzag >> 1) ^ -(zigzag & 1), at + place + 1
    raise FrameError("the frame's message indexes are not valid")
