"""Calls of one method each: a deadline, the token, and errors that carry the platform's reason."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

import grpc
import grpc.aio

from headwater.channel import ConnectOptions
from headwater.error_details import CallError
from headwater.methods import Method, Q, R

R_co = TypeVar("R_co", covariant=True)


class _Answers(Protocol[R_co]):
    """A running call with many answers."""

    def __iter__(self) -> Iterator[R_co]: ...

    def cancel(self) -> object: ...


class _Call(Generic[Q, R]):
    def __init__(
        self,
        channel: grpc.Channel | grpc.aio.Channel,
        options: ConnectOptions,
        method: Method[Q, R],
    ) -> None:
        self._options, self._metadata = options, options.metadata()
        self._call = getattr(channel, self._shape)(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.answer.FromString,
        )

    _shape = ""


class Unary(_Call[Q, R]):
    """A request and an answer, within `timeout_s`."""

    _shape = "unary_unary"

    def __call__(self, request: Q, timeout_s: float | None = None) -> R:
        """Raises CallError."""
        try:
            answer: R = self._call(request, timeout=timeout_s or self._options.timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CallError(error) from error
        return answer


class Follow(_Call[Q, R]):
    """A request and answers until the caller has enough."""

    _shape = "unary_stream"

    def __call__(self, request: Q, timeout_s: float | None = None) -> Iterator[R]:
        """Raises CallError from the iterator. Closing it ends the call."""
        answers = self._call(request, timeout=timeout_s, metadata=self._metadata)
        return _answers(answers)


class Exchange(_Call[Q, R]):
    """Requests and answers as they come."""

    _shape = "stream_stream"

    def __call__(self, requests: Iterable[Q], timeout_s: float | None = None) -> Iterator[R]:
        """Raises CallError from the iterator."""
        answers = self._call(iter(requests), timeout=timeout_s, metadata=self._metadata)
        return _answers(answers)


class AioUnary(_Call[Q, R]):
    """A request and an answer, within `timeout_s`."""

    _shape = "unary_unary"

    async def __call__(self, request: Q, timeout_s: float | None = None) -> R:
        """Raises CallError."""
        try:
            answer: R = await self._call(request, timeout=timeout_s or self._options.timeout_s, metadata=self._metadata)
        except grpc.RpcError as error:
            raise CallError(error) from error
        return answer


class AioFollow(_Call[Q, R]):
    """A request and answers until the caller has enough."""

    _shape = "unary_stream"

    def __call__(self, request: Q, timeout_s: float | None = None) -> AsyncIterator[R]:
        """Raises CallError from the iterator."""
        return _aio_answers(self._call(request, timeout=timeout_s, metadata=self._metadata))


class AioExchange(_Call[Q, R]):
    """Requests and answers as they come."""

    _shape = "stream_stream"

    def __call__(self, requests: AsyncIterable[Q], timeout_s: float | None = None) -> AsyncIterator[R]:
        """Raises CallError from the iterator."""
        return _aio_answers(self._call(requests, timeout=timeout_s, metadata=self._metadata))


def _answers(call: _Answers[R]) -> Iterator[R]:
    try:
        yield from call
    except grpc.RpcError as error:
        raise CallError(error) from error
    finally:
        call.cancel()


async def _aio_answers(call: grpc.aio.UnaryStreamCall[Q, R]) -> AsyncIterator[R]:
    try:
        async for answer in call:
            yield answer
    except grpc.RpcError as error:
        raise CallError(error) from error
    finally:
        call.cancel()
