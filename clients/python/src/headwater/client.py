"""The sync client: `with Client() as client`, and then `client.cache.get(request)`."""

from typing import Self

import grpc

from headwater.cache.v1 import cache_pb2
from headwater.calls import Exchange, Follow, Unary
from headwater.channel import ConnectOptions
from headwater.ingest.v1 import ingest_pb2
from headwater.rebuild.v1 import rebuild_pb2
from headwater.stats.v1 import stats_pb2


class CacheService:
    """headwater.cache.v1.CacheService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        service = "headwater.cache.v1.CacheService"
        self.get = Unary(
            channel,
            options,
            f"/{service}/Get",
            cache_pb2.GetRequest.SerializeToString,
            cache_pb2.GetResponse.FromString,
        )
        self.batch_get = Unary(
            channel,
            options,
            f"/{service}/BatchGet",
            cache_pb2.BatchGetRequest.SerializeToString,
            cache_pb2.BatchGetResponse.FromString,
        )
        self.set = Unary(
            channel,
            options,
            f"/{service}/Set",
            cache_pb2.SetRequest.SerializeToString,
            cache_pb2.SetResponse.FromString,
        )
        self.batch_set = Unary(
            channel,
            options,
            f"/{service}/BatchSet",
            cache_pb2.BatchSetRequest.SerializeToString,
            cache_pb2.BatchSetResponse.FromString,
        )
        self.set_if = Unary(
            channel,
            options,
            f"/{service}/SetIf",
            cache_pb2.SetIfRequest.SerializeToString,
            cache_pb2.SetIfResponse.FromString,
        )
        self.increment = Unary(
            channel,
            options,
            f"/{service}/Increment",
            cache_pb2.IncrementRequest.SerializeToString,
            cache_pb2.IncrementResponse.FromString,
        )
        self.touch = Unary(
            channel,
            options,
            f"/{service}/Touch",
            cache_pb2.TouchRequest.SerializeToString,
            cache_pb2.TouchResponse.FromString,
        )
        self.delete = Unary(
            channel,
            options,
            f"/{service}/Delete",
            cache_pb2.DeleteRequest.SerializeToString,
            cache_pb2.DeleteResponse.FromString,
        )
        self.batch_delete = Unary(
            channel,
            options,
            f"/{service}/BatchDelete",
            cache_pb2.BatchDeleteRequest.SerializeToString,
            cache_pb2.BatchDeleteResponse.FromString,
        )
        self.watch = Follow(
            channel,
            options,
            f"/{service}/Watch",
            cache_pb2.WatchRequest.SerializeToString,
            cache_pb2.WatchResponse.FromString,
        )
        self.get_write = Unary(
            channel,
            options,
            f"/{service}/GetWrite",
            cache_pb2.GetWriteRequest.SerializeToString,
            cache_pb2.GetWriteResponse.FromString,
        )
        self.create_namespace = Unary(
            channel,
            options,
            f"/{service}/CreateNamespace",
            cache_pb2.CreateNamespaceRequest.SerializeToString,
            cache_pb2.CreateNamespaceResponse.FromString,
        )
        self.get_namespace = Unary(
            channel,
            options,
            f"/{service}/GetNamespace",
            cache_pb2.GetNamespaceRequest.SerializeToString,
            cache_pb2.GetNamespaceResponse.FromString,
        )
        self.list_namespaces = Unary(
            channel,
            options,
            f"/{service}/ListNamespaces",
            cache_pb2.ListNamespacesRequest.SerializeToString,
            cache_pb2.ListNamespacesResponse.FromString,
        )
        self.update_namespace = Unary(
            channel,
            options,
            f"/{service}/UpdateNamespace",
            cache_pb2.UpdateNamespaceRequest.SerializeToString,
            cache_pb2.UpdateNamespaceResponse.FromString,
        )
        self.flush_namespace = Unary(
            channel,
            options,
            f"/{service}/FlushNamespace",
            cache_pb2.FlushNamespaceRequest.SerializeToString,
            cache_pb2.FlushNamespaceResponse.FromString,
        )


class IngestService:
    """headwater.ingest.v1.IngestService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        service = "headwater.ingest.v1.IngestService"
        self.publish = Unary(
            channel,
            options,
            f"/{service}/Publish",
            ingest_pb2.PublishRequest.SerializeToString,
            ingest_pb2.PublishResponse.FromString,
        )
        self.publish_stream = Exchange(
            channel,
            options,
            f"/{service}/PublishStream",
            ingest_pb2.PublishStreamRequest.SerializeToString,
            ingest_pb2.PublishStreamResponse.FromString,
        )
        self.list_streams = Unary(
            channel,
            options,
            f"/{service}/ListStreams",
            ingest_pb2.ListStreamsRequest.SerializeToString,
            ingest_pb2.ListStreamsResponse.FromString,
        )


class StatsService:
    """headwater.stats.v1.StatsService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        service = "headwater.stats.v1.StatsService"
        self.list_stats = Unary(
            channel,
            options,
            f"/{service}/ListStats",
            stats_pb2.ListStatsRequest.SerializeToString,
            stats_pb2.ListStatsResponse.FromString,
        )
        self.get_stats = Unary(
            channel,
            options,
            f"/{service}/GetStats",
            stats_pb2.GetStatsRequest.SerializeToString,
            stats_pb2.GetStatsResponse.FromString,
        )
        self.subscribe_stats = Follow(
            channel,
            options,
            f"/{service}/SubscribeStats",
            stats_pb2.SubscribeStatsRequest.SerializeToString,
            stats_pb2.SubscribeStatsResponse.FromString,
        )
        self.query_history = Unary(
            channel,
            options,
            f"/{service}/QueryHistory",
            stats_pb2.QueryHistoryRequest.SerializeToString,
            stats_pb2.QueryHistoryResponse.FromString,
        )
        self.explain_verdict = Unary(
            channel,
            options,
            f"/{service}/ExplainVerdict",
            stats_pb2.ExplainVerdictRequest.SerializeToString,
            stats_pb2.ExplainVerdictResponse.FromString,
        )


class RebuildService:
    """headwater.rebuild.v1.RebuildService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        service = "headwater.rebuild.v1.RebuildService"
        self.start_rebuild = Unary(
            channel,
            options,
            f"/{service}/StartRebuild",
            rebuild_pb2.StartRebuildRequest.SerializeToString,
            rebuild_pb2.StartRebuildResponse.FromString,
        )
        self.list_rebuilds = Unary(
            channel,
            options,
            f"/{service}/ListRebuilds",
            rebuild_pb2.ListRebuildsRequest.SerializeToString,
            rebuild_pb2.ListRebuildsResponse.FromString,
        )
        self.watch_rebuilds = Follow(
            channel,
            options,
            f"/{service}/WatchRebuilds",
            rebuild_pb2.WatchRebuildsRequest.SerializeToString,
            rebuild_pb2.WatchRebuildsResponse.FromString,
        )
        self.cancel_rebuild = Unary(
            channel,
            options,
            f"/{service}/CancelRebuild",
            rebuild_pb2.CancelRebuildRequest.SerializeToString,
            rebuild_pb2.CancelRebuildResponse.FromString,
        )


class Client:
    """All services over one connection."""

    def __init__(self, options: ConnectOptions | None = None) -> None:
        options = options or ConnectOptions()
        self._channel = options.channel()
        self.cache = CacheService(self._channel, options)
        self.ingest = IngestService(self._channel, options)
        self.stats = StatsService(self._channel, options)
        self.rebuild = RebuildService(self._channel, options)

    def close(self) -> None:
        """Ends the connection."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
