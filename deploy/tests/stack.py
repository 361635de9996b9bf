"""Services of compose.yaml, with the addresses of the test's servers in the place of compose's."""

import re
from pathlib import Path

import yaml
from image import ROOT

COMPOSE = ROOT / "deploy/compose/compose.yaml"


def services() -> dict[str, dict]:
    return yaml.safe_load(COMPOSE.read_text())["services"]


class Stack:
    def __init__(self, parts: dict[str, str], redises: dict[str, str], name: str) -> None:
        self.name = name
        self.addresses = {
            "kafka-1:9092,kafka-2:9092,kafka-3:9092": parts["KAFKA"],
            "http://schema-registry:8080/apis/ccompat/v7": parts["REGISTRY"],
            **{f"redis://{service}:6379": address for service, address in redises.items()},
            "postgres://headwater:headwater@postgres:5432/headwater": parts["POSTGRES"],
        }

    def here(self, text: str) -> str:
        text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
        for theirs, ours in self.addresses.items():
            text = text.replace(theirs, ours)
        assert not re.search(r"kafka-\d|schema-registry|(redis|postgres):\d", text), f"compose's own address: {text}"
        return text

    def command(self, service: str, *more: str) -> list[str]:
        """compose's command, but for the topic and the group of clients, which are the test's own."""
        words = [self.here(word) for word in services()[service]["command"]]
        if "-t" in words:
            words[words.index("-t") + 1] = self.name
        if "-g" in words:
            words[words.index("-g") + 1] = self.group(service)
        return [*words, *more]

    def group(self, service: str) -> str:
        return f"{self.name}-{service}"

    def environment(self, service: str, grpc: int, http: int) -> dict[str, str]:
        theirs = services()[service]["environment"]
        return {
            **{name: self.here(str(value)) for name, value in theirs.items()},
            # The parts are shared with other tests, and there is one broker only.
            "HEADWATER_TOPICS_REPLICATION": "1",
            "HEADWATER_TOPICS_MIN_INSYNC": "1",
            "HEADWATER_KAFKA_GROUP": self.name,
            "HEADWATER_REDIS_PREFIX": self.name,
            "HEADWATER_CACHE_PREFIX": self.name,
            "HEADWATER_POSTGRES_SCHEMA": self.name.replace("-", "_"),
            "HEADWATER_LISTEN_GRPC": f"127.0.0.1:{grpc}",
            "HEADWATER_LISTEN_HTTP": f"127.0.0.1:{http}",
        }


def text_of(file: Path) -> str:
    return file.read_text(errors="replace")
