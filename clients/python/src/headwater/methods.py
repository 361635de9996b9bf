"""Every method of the services: its path, its request and its answer. Both clients are made of it."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from google.protobuf.message import Message

from headwater.cache.v1 import cache_pb2
from headwater.ingest.v1 import ingest_pb2
from headwater.rebuild.v1 import rebuild_pb2
from headwater.stats.v1 import stats_pb2

Q = TypeVar("Q", bound=Message)
R = TypeVar("R", bound=Message)


@dataclass(frozen=True)
class Method(Generic[Q, R]):
    """A method as gRPC calls it."""

    path: str
    request: type[Q]
    answer: type[R]


class Cache:
    """headwater.cache.v1.CacheService."""

    _service = "/headwater.cache.v1.CacheService"
    get = Method(f"{_service}/Get", cache_pb2.GetRequest, cache_pb2.GetResponse)
    batch_get = Method(f"{_service}/BatchGet", cache_pb2.BatchGetRequest, cache_pb2.BatchGetResponse)
    set = Method(f"{_service}/Set", cache_pb2.SetRequest, cache_pb2.SetResponse)
    batch_set = Method(f"{_service}/BatchSet", cache_pb2.BatchSetRequest, cache_pb2.BatchSetResponse)
    set_if = Method(f"{_service}/SetIf", cache_pb2.SetIfRequest, cache_pb2.SetIfResponse)
    increment = Method(f"{_service}/Increment", cache_pb2.IncrementRequest, cache_pb2.IncrementResponse)
    touch = Method(f"{_service}/Touch", cache_pb2.TouchRequest, cache_pb2.TouchResponse)
    delete = Method(f"{_service}/Delete", cache_pb2.DeleteRequest, cache_pb2.DeleteResponse)
    batch_delete = Method(f"{_service}/BatchDelete", cache_pb2.BatchDeleteRequest, cache_pb2.BatchDeleteResponse)
    watch = Method(f"{_service}/Watch", cache_pb2.WatchRequest, cache_pb2.WatchResponse)
    get_write = Method(f"{_service}/GetWrite", cache_pb2.GetWriteRequest, cache_pb2.GetWriteResponse)
    create_namespace = Method(
        f"{_service}/CreateNamespace", cache_pb2.CreateNamespaceRequest, cache_pb2.CreateNamespaceResponse
    )
    get_namespace = Method(f"{_service}/GetNamespace", cache_pb2.GetNamespaceRequest, cache_pb2.GetNamespaceResponse)
    list_namespaces = Method(
        f"{_service}/ListNamespaces", cache_pb2.ListNamespacesRequest, cache_pb2.ListNamespacesResponse
    )
    update_namespace = Method(
        f"{_service}/UpdateNamespace", cache_pb2.UpdateNamespaceRequest, cache_pb2.UpdateNamespaceResponse
    )
    flush_namespace = Method(
        f"{_service}/FlushNamespace", cache_pb2.FlushNamespaceRequest, cache_pb2.FlushNamespaceResponse
    )


class Ingest:
    """headwater.ingest.v1.IngestService."""

    _service = "/headwater.ingest.v1.IngestService"
    publish = Method(f"{_service}/Publish", ingest_pb2.PublishRequest, ingest_pb2.PublishResponse)
    publish_stream = Method(
        f"{_service}/PublishStream", ingest_pb2.PublishStreamRequest, ingest_pb2.PublishStreamResponse
    )
    list_streams = Method(f"{_service}/ListStreams", ingest_pb2.ListStreamsRequest, ingest_pb2.ListStreamsResponse)


class Stats:
    """headwater.stats.v1.StatsService."""

    _service = "/headwater.stats.v1.StatsService"
    list_stats = Method(f"{_service}/ListStats", stats_pb2.ListStatsRequest, stats_pb2.ListStatsResponse)
    get_stats = Method(f"{_service}/GetStats", stats_pb2.GetStatsRequest, stats_pb2.GetStatsResponse)
    subscribe_stats = Method(
        f"{_service}/SubscribeStats", stats_pb2.SubscribeStatsRequest, stats_pb2.SubscribeStatsResponse
    )
    query_history = Method(f"{_service}/QueryHistory", stats_pb2.QueryHistoryRequest, stats_pb2.QueryHistoryResponse)
    explain_verdict = Method(
        f"{_service}/ExplainVerdict", stats_pb2.ExplainVerdictRequest, stats_pb2.ExplainVerdictResponse
    )


class Rebuild:
    """headwater.rebuild.v1.RebuildService."""

    _service = "/headwater.rebuild.v1.RebuildService"
    start_rebuild = Method(
        f"{_service}/StartRebuild", rebuild_pb2.StartRebuildRequest, rebuild_pb2.StartRebuildResponse
    )
    list_rebuilds = Method(
        f"{_service}/ListRebuilds", rebuild_pb2.ListRebuildsRequest, rebuild_pb2.ListRebuildsResponse
    )
    watch_rebuilds = Method(
        f"{_service}/WatchRebuilds", rebuild_pb2.WatchRebuildsRequest, rebuild_pb2.WatchRebuildsResponse
    )
    cancel_rebuild = Method(
        f"{_service}/CancelRebuild", rebuild_pb2.CancelRebuildRequest, rebuild_pb2.CancelRebuildResponse
    )
