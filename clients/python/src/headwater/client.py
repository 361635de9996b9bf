"""The sync client: `with Client() as client`, and then `client.cache.get(request)`."""

from typing import Self

import grpc

from headwater import methods
from headwater.calls import Exchange, Follow, Unary
from headwater.channel import ConnectOptions


class CacheService:
    """headwater.cache.v1.CacheService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        self.get = Unary(channel, options, methods.Cache.get)
        self.batch_get = Unary(channel, options, methods.Cache.batch_get)
        self.set = Unary(channel, options, methods.Cache.set)
        self.batch_set = Unary(channel, options, methods.Cache.batch_set)
        self.set_if = Unary(channel, options, methods.Cache.set_if)
        self.increment = Unary(channel, options, methods.Cache.increment)
        self.touch = Unary(channel, options, methods.Cache.touch)
        self.delete = Unary(channel, options, methods.Cache.delete)
        self.batch_delete = Unary(channel, options, methods.Cache.batch_delete)
        self.watch = Follow(channel, options, methods.Cache.watch)
        self.get_write = Unary(channel, options, methods.Cache.get_write)
        self.create_namespace = Unary(channel, options, methods.Cache.create_namespace)
        self.get_namespace = Unary(channel, options, methods.Cache.get_namespace)
        self.list_namespaces = Unary(channel, options, methods.Cache.list_namespaces)
        self.update_namespace = Unary(channel, options, methods.Cache.update_namespace)
        self.flush_namespace = Unary(channel, options, methods.Cache.flush_namespace)


class IngestService:
    """headwater.ingest.v1.IngestService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        self.publish = Unary(channel, options, methods.Ingest.publish)
        self.publish_stream = Exchange(channel, options, methods.Ingest.publish_stream)
        self.list_streams = Unary(channel, options, methods.Ingest.list_streams)


class StatsService:
    """headwater.stats.v1.StatsService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        self.list_stats = Unary(channel, options, methods.Stats.list_stats)
        self.get_stats = Unary(channel, options, methods.Stats.get_stats)
        self.subscribe_stats = Follow(channel, options, methods.Stats.subscribe_stats)
        self.query_history = Unary(channel, options, methods.Stats.query_history)
        self.explain_verdict = Unary(channel, options, methods.Stats.explain_verdict)


class RebuildService:
    """headwater.rebuild.v1.RebuildService."""

    def __init__(self, channel: grpc.Channel, options: ConnectOptions) -> None:
        self.start_rebuild = Unary(channel, options, methods.Rebuild.start_rebuild)
        self.list_rebuilds = Unary(channel, options, methods.Rebuild.list_rebuilds)
        self.watch_rebuilds = Follow(channel, options, methods.Rebuild.watch_rebuilds)
        self.cancel_rebuild = Unary(channel, options, methods.Rebuild.cancel_rebuild)


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
