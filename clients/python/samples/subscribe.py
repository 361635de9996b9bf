"""Follows an account's total until it has changed; another program, or `ingest.py`, publishes."""

import sys

from headwater.channel import ConnectOptions
from headwater.client import Client
from headwater.stats.v1.stats_pb2 import StatQuery, SubscribeStatsRequest

query = StatQuery(stream="transactions", stat="account_total", by="ACC-0001")
with Client(ConnectOptions(next(iter(sys.argv[1:]), ConnectOptions.endpoint))) as client:
    totals = []
    for answer in client.stats.subscribe_stats(SubscribeStatsRequest(queries=[query])):
        totals.append(answer.results[0].values[0])
        print(totals[-1], flush=True)
        if totals[-1] != totals[0]:
            break
