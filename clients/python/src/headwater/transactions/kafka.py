"""What producer and consumer share of Kafka: settings, and seeing that broker and topic are there."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from types import FrameType
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from headwater.transactions.failure import Failure, WrongUsage

T = TypeVar("T")
Settings = dict[str, str | int | float | bool]
_ASKED_FOR_S_MIN = 1.0
_QUIET = {"log_level": 0}


def settings(broker: str, fixed: Settings, given: Sequence[str]) -> Settings:
    """The client's settings: ours, and over them those of `--property name=value`."""
    made: Settings = {"bootstrap.servers": broker, "client.id": "headwater-python", **_QUIET, **fixed}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise WrongUsage(f"--property {setting}: write it as name=value")
        made[name.strip()] = value
    return made


def see_topic(broker: str, topic: str, timeout_s: float, given: Sequence[str]) -> int:
    """The topic's number of partitions. Asked for through the admin API, which makes no topics."""
    try:
        admin = AdminClient(settings(broker, {}, [one for one in given if one.startswith(_CONNECTION)]))
    except KafkaException as error:
        raise WrongUsage(f"--property: {error.args[0].str()}") from error
    try:
        future = admin.describe_topics(TopicCollection([topic]), request_timeout=max(timeout_s, _ASKED_FOR_S_MIN))[
            topic
        ]
        return len(future.result(timeout_s + _ASKED_FOR_S_MIN).partitions)
    except KafkaException as error:
        code = error.args[0].code()
        if code in (KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError.TOPIC_EXCEPTION):
            raise Failure(
                f"the broker {broker} has no topic '{topic}': start the platform, which makes it, or make it;"
                " and see that --topic is right"
            ) from error
        raise away(broker, timeout_s, error.args[0]) from error
    except ValueError as error:
        raise WrongUsage(f"--topic '{topic}': {error}") from error
    except TimeoutError as error:
        raise away(broker, timeout_s, None) from error


# Only these of --property matter to a client that asks for a topic; others belong to producer or consumer.
_CONNECTION = ("security.", "ssl.", "sasl.", "socket.", "broker.address", "enable.ssl", "client.id", "debug")


def away(broker: str, timeout_s: float, error: KafkaError | None) -> Failure:
    """Nobody answers at the broker's address."""
    detail = f" ({error.str()})" if error is not None else ""
    return Failure(
        f"the broker {broker} does not answer, tried for {timeout_s:g} s{detail}:"
        " see that it runs and that --broker is right"
    )


def bounded(call: Callable[[], object], timeout_s: float) -> bool:
    """Whether a call has ended in time; raises what it raised. Those of the client may wait for a broker for ever."""
    raised: list[Exception] = []

    def run() -> None:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    # It does not keep the program from ending.
    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(timeout_s)
    if raised:
        raise raised[0]
    return not thread.is_alive()


class StoppedError(Exception):
    """Ctrl-C or SIGTERM came while something was waited for that may never come."""


class StopSignal:
    """Set by Ctrl-C and SIGTERM; a second one ends the program at once."""

    def __init__(self) -> None:
        # A plain flag beside the event: it is looked at for each record.
        self.stopped = False
        self._interrupts = False
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopped = True
        self._event.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            # The system's own: Python's would end with a traceback, and not while the client's library waits.
            signal.signal(number, signal.SIG_DFL)
        if self._interrupts:
            raise StoppedError

    def cutting(self, items: Iterator[T]) -> Iterator[T]:
        """The items until the signal, which does not wait for the next: it may be a line that nobody writes."""
        with suppress(StopIteration, StoppedError):
            while True:
                # First, so that a signal comes either before it is looked for or while it cuts off.
                self._interrupts = True
                if self.stopped:
                    break
                item = next(items)
                self._interrupts = False
                yield item
        self._interrupts = False

    def wait(self, timeout_s: float) -> bool:
        """Waits, and tells whether to stop."""
        return self._event.wait(timeout_s)
