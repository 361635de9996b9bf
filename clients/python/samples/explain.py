"""Publishes a transaction, and says what became of it."""

import sys
import uuid

from headwater.channel import ConnectOptions
from headwater.client import Client
from headwater.event.v1.transaction_pb2 import Transaction
from headwater.ingest.v1.ingest_pb2 import PublishRequest, Record
from headwater.stats.v1.stats_pb2 import ExplainVerdictRequest

event = Transaction(transaction_id=str(uuid.uuid4()), account_number="ACC-0001", amount=12.5)
event.transaction_datetime.GetCurrentTime()
record = Record()
record.event.Pack(event)
with Client(ConnectOptions(next(iter(sys.argv[1:]), ConnectOptions.endpoint))) as client:
    token = client.ingest.publish(PublishRequest(stream="transactions", records=[record])).consistency_token
    request = ExplainVerdictRequest(stream="transactions", id=event.transaction_id, at_least=token)
    print(client.stats.explain_verdict(request).records[0])
