"""Keeps a value for a minute and reads it back."""

import sys

from headwater.cache.v1.cache_pb2 import GetRequest, SetRequest
from headwater.channel import ConnectOptions
from headwater.client import Client

with Client(ConnectOptions(next(iter(sys.argv[1:]), ConnectOptions.endpoint))) as client:
    client.cache.set(SetRequest(key=b"greeting", value=b"hello", ttl_ms=60_000))
    print(client.cache.get(GetRequest(key=b"greeting")).value.decode())
