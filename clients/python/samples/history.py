"""Lists an account's transactions of the last hour, page by page."""

import sys
import time

from headwater.channel import ConnectOptions
from headwater.client import Client
from headwater.stats.v1.stats_pb2 import QueryHistoryRequest

request = QueryHistoryRequest(stream="transactions", key="ACC-0001")
request.start_time.seconds = int(time.time()) - 3600
with Client(ConnectOptions(next(iter(sys.argv[1:]), ConnectOptions.endpoint))) as client:
    while True:
        page = client.stats.query_history(request)
        for stored in page.events:
            print(stored)
        request.page_token = page.next_page_token
        if not request.page_token:
            break
