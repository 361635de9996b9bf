"""The clients have what the contracts have."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import assert_type

import pytest

from headwater import methods
from headwater.aio_client import AioClient
from headwater.cache.v1.cache_pb2 import GetRequest, GetResponse
from headwater.calls import AioExchange, AioFollow, AioUnary, Exchange, Follow, Unary
from headwater.client import Client
from headwater.stats.v1.stats_pb2 import SubscribeStatsRequest, SubscribeStatsResponse

_RPC = re.compile(r"\brpc\s+(\w+)\s*\(\s*(stream\s)?\s*(\w+)\s*\)\s*returns\s*\(\s*(stream\s)?\s*(\w+)\s*\)")
_SHAPES = {(False, False): (Unary, AioUnary), (False, True): (Follow, AioFollow), (True, True): (Exchange, AioExchange)}
PROTO = Path(__file__).resolve().parents[3] / "proto"


@dataclass(frozen=True)
class Rpc:
    """An rpc in proto/, as its text has it."""

    package: str
    service: str
    name: str
    request: str
    answer: str
    asks: bool
    answers: bool


def rpcs() -> Iterator[Rpc]:
    """All of them."""
    for path in sorted(PROTO.rglob("*.proto")):
        text = re.sub(r"//[^\n]*", "", path.read_text(encoding="utf-8"))
        package = re.findall(r"^package\s+([\w.]+);", text, re.MULTILINE)
        for service, body in re.findall(r"\bservice\s+(\w+)\s*\{(.*?)\n\}", text, re.DOTALL):
            for name, asks, request, answers, answer in _RPC.findall(body):
                yield Rpc(package[0], service, name, request, answer, bool(asks), bool(answers))


def snake(name: str) -> str:
    """`BatchGet` as `batch_get`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def test_all_rpcs_are_found() -> None:
    found = list(rpcs())
    text = "".join(path.read_text(encoding="utf-8") for path in PROTO.rglob("*.proto"))
    assert len(found) == len(re.findall(r"^\s*rpc\s", text, re.MULTILINE)) > 20


@pytest.mark.parametrize("rpc", list(rpcs()), ids=lambda rpc: f"{rpc.service}/{rpc.name}")
async def test_every_rpc_is_in_both_clients(rpc: Rpc) -> None:
    service, name = rpc.service.removesuffix("Service"), snake(rpc.name)
    method = getattr(getattr(methods, service), name)
    assert method.path == f"/{rpc.package}.{rpc.service}/{rpc.name}"
    assert (method.request.DESCRIPTOR.name, method.answer.DESCRIPTOR.name) == (rpc.request, rpc.answer)
    sync, aio = _SHAPES[rpc.asks, rpc.answers]
    with Client() as client:
        assert type(getattr(getattr(client, snake(service)), name)) is sync
    async with AioClient() as aio_client:
        assert type(getattr(getattr(aio_client, snake(service)), name)) is aio


def test_a_methods_types_are_known() -> None:
    with Client() as client:
        assert_type(client.cache.get, Unary[GetRequest, GetResponse])
        assert_type(client.stats.subscribe_stats, Follow[SubscribeStatsRequest, SubscribeStatsResponse])
