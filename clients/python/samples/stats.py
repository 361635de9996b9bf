"""Shows an account's total."""

import sys

from headwater.channel import ConnectOptions
from headwater.client import Client
from headwater.stats.v1.stats_pb2 import GetStatsRequest, StatQuery

query = StatQuery(stream="transactions", stat="account_total", by="ACC-0001")
with Client(ConnectOptions(next(iter(sys.argv[1:]), ConnectOptions.endpoint))) as client:
    print(client.stats.get_stats(GetStatsRequest(queries=[query])).results[0])
