"""Builds the transactions' statistics anew and waits until they are."""

import sys
import uuid

from headwater.channel import ConnectOptions
from headwater.client import Client
from headwater.rebuild.v1.rebuild_pb2 import StartRebuildRequest, WatchRebuildsRequest

with Client(ConnectOptions(next(iter(sys.argv[1:]), ConnectOptions.endpoint))) as client:
    request_id = str(uuid.uuid4())
    client.rebuild.start_rebuild(StartRebuildRequest(request_id=request_id, streams=["transactions"]))
    for answer in client.rebuild.watch_rebuilds(WatchRebuildsRequest(request_id=request_id)):
        print(answer)
