"""Reads a W&B offline run file back: a seven-byte header, then LevelDB log records of protobuf messages."""

import struct

from wandb.proto import wandb_internal_pb2

BLOCK = 32768


def records(path):
    """Every record of the file."""
    data, place, parts = path.read_bytes(), 7, b""
    while place + 7 <= len(data):
        room = BLOCK - place % BLOCK
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record
            parts = b""
