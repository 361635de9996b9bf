"""The schema registry, over plain HTTP: the serializers that come with confluent-kafka ask in ways that not every
registry answers, and register schemas, which is the platform's task here.
"""

import base64
import json
import math
import urllib.error
import urllib.parse
import urllib.request
from collections import OrderedDict
from dataclasses import dataclass
from http.client import HTTPException
from time import monotonic, sleep
from typing import Any

from headwater.transactions.failure import Failure, WrongUsage
from headwater.transactions.schema_text import SchemaTextError, message_paths

SCHEMAS_MAX = 1000
# An id that nobody knows may be registered later, or be known to a registry that lags behind: it is asked for again.
UNKNOWN_KEPT_S = 30.0
ANSWER_BYTES_MAX = 16 << 20
_REQUEST_TIMEOUT_S = 5.0
_PAUSE_MIN_S = 0.1
_PAUSE_MAX_S = 2.0
_NOT_FOUND = 404
# Codes of the API: no such subject, version or schema.
_NOT_THERE = range(40400, 40500)
_TOO_MANY = 429
_SERVER_ERROR = 500


@dataclass(frozen=True)
class Schema:
    """A schema as the registry knows it."""

    schema_id: int
    # Message indexes to full names; empty where it is not Protobuf.
    messages: dict[tuple[int, ...], str]


class Registry:
    """Reads schemas. Nothing is ever registered."""

    def __init__(self, url: str, timeout_s: float) -> None:
        parts = _address(url)
        self._headers = {"Accept": "application/vnd.schemaregistry.v1+json, application/json"}
        host = parts.netloc.rpartition("@")[2]
        if parts.username is not None:
            name, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
            token = base64.b64encode(f"{name}:{password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
        # Without the password: it is shown in messages.
        self.url = urllib.parse.urlunsplit((parts.scheme, host, parts.path.rstrip("/"), "", ""))
        self._timeout_s = timeout_s
        # With each, until when it is kept.
        self._schemas: OrderedDict[int, tuple[Schema | None, float]] = OrderedDict()

    def latest(self, subject: str) -> Schema:
        """The newest version of a subject."""
        answer = self._get(f"/subjects/{urllib.parse.quote(subject, safe='')}/versions/latest")
        if answer is None:
            raise Failure(
                f"the registry {self.url} has no subject '{subject}': start the platform, which registers it,"
                " or register the schema; and see that --topic is right"
            )
        return self._schema(answer, answer.get("id"))

    def by_id(self, schema_id: int) -> Schema | None:
        """The schema with an id; None where the registry has none. Asked for once, or every UNKNOWN_KEPT_S."""
        schema, kept_until = self._schemas.get(schema_id, (None, 0.0))
        if monotonic() < kept_until:
            return schema
        answer = self._get(f"/schemas/ids/{schema_id}")
        schema = self._schema(answer, schema_id) if answer is not None else None
        self._schemas[schema_id] = schema, math.inf if schema else monotonic() + UNKNOWN_KEPT_S
        if len(self._schemas) > SCHEMAS_MAX:
            self._schemas.popitem(last=False)
        return schema

    def _schema(self, answer: dict[str, Any], schema_id: object) -> Schema:
        text, kind = answer.get("schema"), answer.get("schemaType", "AVRO")
        if not isinstance(schema_id, int) or not isinstance(text, str):
            raise Failure(f"the registry {self.url} answers without id or schema: see that --schema-registry is right")
        try:
            messages = message_paths(text) if kind == "PROTOBUF" else {}
        except SchemaTextError:
            messages = {}
        return Schema(schema_id, messages)

    def _get(self, path: str) -> dict[str, Any] | None:
        """The answer; None where there is no such thing. Tried again until the time is up while nobody answers."""
        deadline = monotonic() + self._timeout_s
        pause_s = _PAUSE_MIN_S
        while True:
            left_s = deadline - monotonic()
            try:
                return self._ask(path, max(0.1, min(left_s, _REQUEST_TIMEOUT_S)))
            except urllib.error.HTTPError as error:
                if error.code == _NOT_FOUND:
                    if _api_code(error) in _NOT_THERE:
                        return None
                    raise Failure(
                        f"there is no registry's API at {self.url}: it answers 404."
                        " Apicurio's is below /apis/ccompat/v7"
                    ) from error
                trouble = f"answers {error.code} to {path}"
                if error.code < _SERVER_ERROR and error.code != _TOO_MANY:
                    raise Failure(f"the registry {self.url} {trouble}: see that --schema-registry is right") from error
            except (OSError, HTTPException) as error:
                trouble = f"does not answer ({getattr(error, 'reason', None) or error})"
            if monotonic() + pause_s >= deadline:
                raise Failure(
                    f"the registry {self.url} {trouble}, tried for {self._timeout_s:g} s:"
                    " see that it runs and that --schema-registry is right"
                )
            sleep(pause_s)
            pause_s = min(2 * pause_s, _PAUSE_MAX_S)

    def _ask(self, path: str, timeout_s: float) -> dict[str, Any]:
        request = urllib.request.Request(self.url + path, headers=self._headers)  # noqa: S310 - http(s), see __init__
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:  # noqa: S310
            body = answer.read(ANSWER_BYTES_MAX + 1)
        try:
            value = json.loads(body) if len(body) <= ANSWER_BYTES_MAX else None
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise Failure(f"{self.url}{path} does not answer as a registry: see that --schema-registry is right")
        return value


def _address(url: str) -> urllib.parse.SplitResult:
    """The address's parts. Where it is none it is not repeated: it may hold a password."""
    try:
        parts = urllib.parse.urlsplit(url)
        valid = parts.scheme in ("http", "https") and bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:
        valid = False
    # What follows a password's own `/`, `?` or `#` would be taken for the path.
    if not valid or "@" in parts.path + parts.query + parts.fragment or not parts.path.isascii():
        raise WrongUsage(
            "--schema-registry: is not an address like http://127.0.0.1:8081 or http://NAME:PASSWORD@HOST:8081;"
            " other signs than letters and digits in name and password are written as %XX"
        )
    return parts


def _api_code(error: urllib.error.HTTPError) -> object:
    try:
        answer = json.loads(error.read(ANSWER_BYTES_MAX))
    except (ValueError, OSError, HTTPException):
        return None
    return answer.get("error_code") if isinstance(answer, dict) else None
