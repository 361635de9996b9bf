"""The aio client: `async with AioClient() as client`, and then `client.cache.get(request)`."""

from typing import Self

import grpc.aio

from headwater import methods
from headwater.calls import AioExchange, AioFollow, AioUnary
from headwater.channel import ConnectOptions


class AioCacheService:
    """headwater.cache.v1.CacheService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        self.get = AioUnary(channel, options, methods.Cache.get)
        self.batch_get = AioUnary(channel, options, methods.Cache.batch_get)
        self.set = AioUnary(channel, options, methods.Cache.set)
        self.batch_set = AioUnary(channel, options, methods.Cache.batch_set)
        self.set_if = AioUnary(channel, options, methods.Cache.set_if)
        self.increment = AioUnary(channel, options, methods.Cache.increment)
        self.touch = AioUnary(channel, options, methods.Cache.touch)
        self.delete = AioUnary(channel, options, methods.Cache.delete)
        self.batch_delete = AioUnary(channel, options, methods.Cache.batch_delete)
        self.watch = AioFollow(channel, options, methods.Cache.watch)
        self.get_write = AioUnary(channel, options, methods.Cache.get_write)
        self.create_namespace = AioUnary(channel, options, methods.Cache.create_namespace)
        self.get_namespace = AioUnary(channel, options, methods.Cache.get_namespace)
        self.list_namespaces = AioUnary(channel, options, methods.Cache.list_namespaces)
        self.update_namespace = AioUnary(channel, options, methods.Cache.update_namespace)
        self.flush_namespace = AioUnary(channel, options, methods.Cache.flush_namespace)


class AioIngestService:
    """headwater.ingest.v1.IngestService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        self.publish = AioUnary(channel, options, methods.Ingest.publish)
        self.publish_stream = AioExchange(channel, options, methods.Ingest.publish_stream)
        self.list_streams = AioUnary(channel, options, methods.Ingest.list_streams)


class AioStatsService:
    """headwater.stats.v1.StatsService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        self.list_stats = AioUnary(channel, options, methods.Stats.list_stats)
        self.get_stats = AioUnary(channel, options, methods.Stats.get_stats)
        self.subscribe_stats = AioFollow(channel, options, methods.Stats.subscribe_stats)
        self.query_history = AioUnary(channel, options, methods.Stats.query_history)
        self.explain_verdict = AioUnary(channel, options, methods.Stats.explain_verdict)


class AioRebuildService:
    """headwater.rebuild.v1.RebuildService."""

    def __init__(self, channel: grpc.aio.Channel, options: ConnectOptions) -> None:
        self.start_rebuild = AioUnary(channel, options, methods.Rebuild.start_rebuild)
        self.list_rebuilds = AioUnary(channel, options, methods.Rebuild.list_rebuilds)
        self.watch_rebuilds = AioFollow(channel, options, methods.Rebuild.watch_rebuilds)
        self.cancel_rebuild = AioUnary(channel, options, methods.Rebuild.cancel_rebuild)


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
