"""A delivery without an offset is none: the broker may have taken the record for a copy of one that it never had."""

from collections import Counter

import pytest
from confluent_kafka import KafkaError, Message
from conftest import Stream

from headwater.transactions.failure import SYSTEM_AWAY, Failure
from headwater.transactions.made_up import made_up
from headwater.transactions.producer import SENDS_MAX, TransactionProducer


class WithoutOffsets(TransactionProducer):
    """The first deliveries of each record are reported without an offset."""

    without = 0

    def _on_delivery(self, error: KafkaError | None, message: Message, sends: int = 1) -> None:
        assert error is None
        assert (message.offset() or 0) >= 0
        if sends <= self.without:
            # -1001 is the library's "no offset".
            message = Message(topic=message.topic(), offset=-1001, key=message.key(), value=message.value())
        super()._on_delivery(error, message, sends)


@pytest.mark.parametrize("without", [0, 1, SENDS_MAX - 1])
def test_it_is_sent_again(stream: Stream, without: int) -> None:
    producer = WithoutOffsets(stream.broker, stream.registry, stream.topic, timeout_s=20)
    producer.without = without
    sent = list(made_up(30, 3, 1))
    for one in sent:
        producer.send(one)
    assert producer.flush() == producer.acknowledged() == 30
    copies = Counter(one.SerializeToString() for one in stream.read())
    assert copies == {one.SerializeToString(): 1 + without for one in sent}


def test_one_that_stays_without_is_not_counted_as_sent(stream: Stream) -> None:
    producer = WithoutOffsets(stream.broker, stream.registry, stream.topic, timeout_s=20)
    for one in made_up(5, 3, 1):
        producer.send(one)
    producer.flush()
    producer.without = SENDS_MAX
    producer.send(next(made_up(1, 3, 2)))
    with pytest.raises(Failure, match=r"did not take 1 records .*duplicate sequence number.* 5 are there") as failed:
        producer.flush()
    assert failed.value.exit_code == SYSTEM_AWAY
    assert producer.acknowledged() == 5
    assert len(stream.read()) == 5 + SENDS_MAX


def test_it_is_not_counted_before_it_is_sent_again(stream: Stream) -> None:
    producer = WithoutOffsets(stream.broker, stream.registry, stream.topic, timeout_s=20)
    producer.without = 1
    producer.send(next(made_up(1, 3, 1)))
    producer._producer.flush(20)
    assert producer.acknowledged() == 0
    producer.see()
    assert producer.flush() == producer.acknowledged() == 1
