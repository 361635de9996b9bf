"""The aio client: `async with AioClient() as client`, and then `client.cache.get(request)`."""

from typing import Self

import grpc.aio

from headwater.cache.v1 import cache_pb2
from headwater.calls import AioExchange, AioFollow, AioUnary
from headwater.channel import ConnectOptions
from headwater.ingest.v1 import ingest_pb2
from headwater.rebuild.v1 import rebuild_pb2
from headwater.stats.v1 import stats_pb2


class AioCacheService:
    """headwater.cache.v1.CacheService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        service = "headwater.cache.v1.CacheService"
        self.get = AioUnary(
            channel,
            options,
            f"/{service}/Get",
            cache_pb2.GetRequest.SerializeToString,
            cache_pb2.GetResponse.FromString,
        )
        self.batch_get = AioUnary(
            channel,
            options,
            f"/{service}/BatchGet",
            cache_pb2.BatchGetRequest.SerializeToString,
            cache_pb2.BatchGetResponse.FromString,
        )
        self.set = AioUnary(
            channel,
            options,
            f"/{service}/Set",
            cache_pb2.SetRequest.SerializeToString,
            cache_pb2.SetResponse.FromString,
        )
        self.batch_set = AioUnary(
            channel,
            options,
            f"/{service}/BatchSet",
            cache_pb2.BatchSetRequest.SerializeToString,
            cache_pb2.BatchSetResponse.FromString,
        )
        self.set_if = AioUnary(
            channel,
            options,
            f"/{service}/SetIf",
            cache_pb2.SetIfRequest.SerializeToString,
            cache_pb2.SetIfResponse.FromString,
        )
        self.increment = AioUnary(
            channel,
            options,
            f"/{service}/Increment",
            cache_pb2.IncrementRequest.SerializeToString,
            cache_pb2.IncrementResponse.FromString,
        )
        self.touch = AioUnary(
            channel,
            options,
            f"/{service}/Touch",
            cache_pb2.TouchRequest.SerializeToString,
            cache_pb2.TouchResponse.FromString,
        )
        self.delete = AioUnary(
            channel,
            options,
            f"/{service}/Delete",
            cache_pb2.DeleteRequest.SerializeToString,
            cache_pb2.DeleteResponse.FromString,
        )
        self.batch_delete = AioUnary(
            channel,
            options,
            f"/{service}/BatchDelete",
            cache_pb2.BatchDeleteRequest.SerializeToString,
            cache_pb2.BatchDeleteResponse.FromString,
        )
        self.watch = AioFollow(
            channel,
            options,
            f"/{service}/Watch",
            cache_pb2.WatchRequest.SerializeToString,
            cache_pb2.WatchResponse.FromString,
        )
        self.get_write = AioUnary(
            channel,
            options,
            f"/{service}/GetWrite",
            cache_pb2.GetWriteRequest.SerializeToString,
            cache_pb2.GetWriteResponse.FromString,
        )
        self.create_namespace = AioUnary(
            channel,
            options,
            f"/{service}/CreateNamespace",
            cache_pb2.CreateNamespaceRequest.SerializeToString,
            cache_pb2.CreateNamespaceResponse.FromString,
        )
        self.get_namespace = AioUnary(
            channel,
            options,
            f"/{service}/GetNamespace",
            cache_pb2.GetNamespaceRequest.SerializeToString,
            cache_pb2.GetNamespaceResponse.FromString,
        )
        self.list_namespaces = AioUnary(
            channel,
            options,
            f"/{service}/ListNamespaces",
            cache_pb2.ListNamespacesRequest.SerializeToString,
            cache_pb2.ListNamespacesResponse.FromString,
        )
        self.update_namespace = AioUnary(
            channel,
            options,
            f"/{service}/UpdateNamespace",
            cache_pb2.UpdateNamespaceRequest.SerializeToString,
            cache_pb2.UpdateNamespaceResponse.FromString,
        )
        self.flush_namespace = AioUnary(
            channel,
            options,
            f"/{service}/FlushNamespace",
            cache_pb2.FlushNamespaceRequest.SerializeToString,
            cache_pb2.FlushNamespaceResponse.FromString,
        )


class AioIngestService:
    """headwater.ingest.v1.IngestService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        service = "headwater.ingest.v1.IngestService"
        self.publish = AioUnary(
            channel,
            options,
            f"/{service}/Publish",
            ingest_pb2.PublishRequest.SerializeToString,
            ingest_pb2.PublishResponse.FromString,
        )
        self.publish_stream = AioExchange(
            channel,
            options,
            f"/{service}/PublishStream",
            ingest_pb2.PublishStreamRequest.SerializeToString,
            ingest_pb2.PublishStreamResponse.FromString,
        )
        self.list_streams = AioUnary(
            channel,
            options,
            f"/{service}/ListStreams",
            ingest_pb2.ListStreamsRequest.SerializeToString,
            ingest_pb2.ListStreamsResponse.FromString,
        )


class AioStatsService:
    """headwater.stats.v1.StatsService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        service = "headwater.stats.v1.StatsService"
        self.list_stats = AioUnary(
            channel,
            options,
            f"/{service}/ListStats",
            stats_pb2.ListStatsRequest.SerializeToString,
            stats_pb2.ListStatsResponse.FromString,
        )
        self.get_stats = AioUnary(
            channel,
            options,
            f"/{service}/GetStats",
            stats_pb2.GetStatsRequest.SerializeToString,
            stats_pb2.GetStatsResponse.FromString,
        )
        self.subscribe_stats = AioFollow(
            channel,
            options,
            f"/{service}/SubscribeStats",
            stats_pb2.SubscribeStatsRequest.SerializeToString,
            stats_pb2.SubscribeStatsResponse.FromString,
        )
        self.query_history = AioUnary(
            channel,
            options,
            f"/{service}/QueryHistory",
            stats_pb2.QueryHistoryRequest.SerializeToString,
            stats_pb2.QueryHistoryResponse.FromString,
        )
        self.explain_verdict = AioUnary(
            channel,
            options,
            f"/{service}/ExplainVerdict",
            stats_pb2.ExplainVerdictRequest.SerializeToString,
            stats_pb2.ExplainVerdictResponse.FromString,
        )


class AioRebuildService:
    """headwater.rebuild.v1.RebuildService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        service = "headwater.rebuild.v1.RebuildService"
        self.start_rebuild = AioUnary(
            channel,
            options,
            f"/{service}/StartRebuild",
            rebuild_pb2.StartRebuildRequest.SerializeToString,
            rebuild_pb2.StartRebuildResponse.FromString,
        )
        self.list_rebuilds = AioUnary(
            channel,
            options,
            f"/{service}/ListRebuilds",
            rebuild_pb2.ListRebuildsRequest.SerializeToString,
            rebuild_pb2.ListRebuildsResponse.FromString,
        )
        self.watch_rebuilds = AioFollow(
            channel,
            options,
            f"/{service}/WatchRebuilds",
            rebuild_pb2.WatchRebuildsRequest.SerializeToString,
            rebuild_pb2.WatchRebuildsResponse.FromString,
        )
        self.cancel_rebuild = AioUnary(
            channel,
            options,
            f"/{service}/CancelRebuild",
            rebuild_pb2.CancelRebuildRequest.SerializeToString,
            rebuild_pb2.CancelRebuildResponse.FromString,
        )


class AioClient:
    """All services over one connection."""

    def __init__(self, options: ConnectOptions | None = None) -> None:
        options = options or ConnectOptions()
        self._channel = options.aio_channel()
        self.cache = AioCacheService(self._channel, options)
        self.ingest = AioIngestService(self._channel, options)
        self.stats = AioStatsService(self._channel, options)
        self.rebuild = AioRebuildService(self._channel, options)

    async def close(self) -> None:
        """Ends the connection."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
