"""What the platform says when it refuses a call."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

_DETAILS = "grpc-status-details-bin"


@dataclass(frozen=True)
class Violation:
    """A field of a request that is wrong."""

    field: str
    description: str


class CallError(Exception):
    """Why a call failed: the platform's reason (a page of docs/errors each), the fields at fault, how long to wait."""

    def __init__(self, error: grpc.RpcError) -> None:
        self.code: grpc.StatusCode = error.code()
        self.detail: str = error.details() or ""
        self.reason: str | None = None
        self.violations: list[Violation] = []
        self.retry_after_s: float | None = None
        self.metadata: dict[str, str] = {}
        # Pairs in the sync and in the aio library, whatever their stubs say.
        pairs = cast("Iterable[tuple[str, str | bytes]]", error.trailing_metadata() or ())
        for key, value in pairs:
            if key == _DETAILS and isinstance(value, bytes):
                self._take(value)
        super().__init__(f"{self.reason or self.code.name}: {self.detail}")

    def _take(self, encoded: bytes) -> None:
        try:
            details = status_pb2.Status.FromString(encoded).details
        except DecodeError:
            return
        info, request, retry = (
            error_details_pb2.ErrorInfo(),
            error_details_pb2.BadRequest(),
            error_details_pb2.RetryInfo(),
        )
        for detail in details:
            if detail.Unpack(info):
                self.reason, self.metadata = info.reason or None, dict(info.metadata)
            elif detail.Unpack(request):
                self.violations = [Violation(one.field, one.description) for one in request.field_violations]
            elif detail.Unpack(retry):
                self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()
