"""Which partitions a consumer has, and where it is in each."""

import time
from collections.abc import Iterable, Mapping
from functools import partial

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from headwater.transactions.failure import Failure
from headwater.transactions.kafka import bounded
from headwater.transactions.state import State

_MARK = "state:"


class Assignment:
    """Begins partitions at the state's offsets and tells Kafka what was counted."""

    def __init__(self, consumer: Consumer, topic: str, state: State | None, begin: str, timeout_s: float) -> None:
        self.positions: dict[int, int] = {}
        self.assigned_at: float | None = None
        self._consumer, self._topic, self._state = consumer, topic, state
        self._begin, self._timeout_s = begin, timeout_s
        self._uncommitted: dict[int, int] = {}
        self._failure: Failure | None = None

    def subscribe(self) -> None:
        """Joins the group."""
        self._consumer.subscribe(
            [self._topic], on_assign=self._on_assign, on_revoke=self._on_revoke, on_lost=self._on_lost
        )

    def moved(self, moves: Mapping[int, tuple[int, int]]) -> None:
        """Records up to there are counted."""
        for partition, (_, following) in moves.items():
            self.positions[partition] = following
            self._uncommitted[partition] = following

    def begin_again(self, partitions: Iterable[int]) -> None:
        """Goes to where the state is: another member counted there."""
        for partition in partitions:
            following = self._state.next_offset(partition) if self._state else None
            if following is None or partition not in self.positions:
                continue
            self.positions[partition] = following
            try:
                self._consumer.seek(TopicPartition(self._topic, partition, following))
            except KafkaException:
                # Given away meanwhile: whoever has it begins at the state's offset.
                self.positions.pop(partition, None)

    def commit(self, *, asynchronous: bool) -> None:
        """Tells Kafka. With a state this is a hint: where it fails nothing is lost."""
        if not self._uncommitted:
            return
        metadata = _MARK + self._state.state_id if self._state else ""
        offsets = [TopicPartition(self._topic, partition, at, metadata) for partition, at in self._uncommitted.items()]
        self._uncommitted = {}
        try:
            if asynchronous:
                self._consumer.commit(offsets=offsets, asynchronous=True)
            else:
                commit = partial(self._consumer.commit, offsets=offsets, asynchronous=False)
                if not bounded(commit, self._timeout_s) and self._state is None:
                    self.fail(
                        Failure(
                            f"the offsets of '{self._topic}' could not be committed: the broker does not answer,"
                            f" waited for {self._timeout_s:g} s"
                        )
                    )
        except KafkaException as error:
            if self._state is None and not asynchronous and error.args[0].code() not in _TAKEN_OVER:
                self.fail(Failure(f"the offsets of '{self._topic}' could not be committed: {error.args[0].str()}"))

    def fail(self, failure: Failure) -> None:
        """Remembers what ends the consumer: a callback of the client must not raise."""
        self._failure = self._failure or failure

    def raise_failure(self) -> None:
        """Raises what was remembered."""
        if self._failure is not None:
            raise self._failure

    def _on_assign(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        self.assigned_at = self.assigned_at or time.monotonic()
        if self._state is None:
            return
        try:
            for partition in self._where(consumer, partitions, self._state):
                self.positions[partition.partition] = partition.offset
            consumer.assign(
                [TopicPartition(self._topic, one.partition, self.positions[one.partition]) for one in partitions]
            )
        except Failure as failure:
            self.fail(failure)
            consumer.assign([])
        except KafkaException as error:
            self.fail(Failure(f"the broker does not tell the offsets of '{self._topic}': {error.args[0].str()}"))
            consumer.assign([])

    def _where(self, consumer: Consumer, partitions: list[TopicPartition], state: State) -> list[TopicPartition]:
        mine = _MARK + state.state_id
        for committed in consumer.committed(partitions, timeout=self._timeout_s) if partitions else []:
            try:
                mark = committed.metadata or ""
            except UnicodeDecodeError as error:
                raise Failure(
                    f"what the group remembers of {self._topic}[{committed.partition}] cannot be read, so it is not"
                    " known whether another state has counted it; use another --group"
                ) from error
            # The client reads on behind the text where its writer sent no zero byte; ids are of one length.
            if committed.offset >= 0 and mark.startswith(_MARK) and not mark.startswith(mine):
                raise Failure(
                    f"the group has counted {self._topic}[{committed.partition}] with another state ({mark}), this"
                    f" file's is {mine}: sums would be doubled or lost; use that --state file, or another --group"
                )
        found = []
        for one in partitions:
            following = state.next_offset(one.partition)
            if following is None:
                low, high = consumer.get_watermark_offsets(
                    TopicPartition(self._topic, one.partition), timeout=self._timeout_s
                )
                state.begin(one.partition, high if self._begin == "latest" else low)
                # Another member may have been first.
                following = state.next_offset(one.partition) or 0
            found.append(TopicPartition(self._topic, one.partition, following))
        return found

    def _on_revoke(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        # With a state it is a hint, for which the group need not wait: the client's commit may hang meanwhile.
        self.commit(asynchronous=self._state is not None)
        self._on_lost(_consumer, partitions)

    def _on_lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        for one in partitions:
            self.positions.pop(one.partition, None)
            self._uncommitted.pop(one.partition, None)


_TAKEN_OVER = (
    KafkaError.ILLEGAL_GENERATION,
    KafkaError.UNKNOWN_MEMBER_ID,
    KafkaError.REBALANCE_IN_PROGRESS,
    KafkaError._NO_OFFSET,
)
