# syntax=docker/dockerfile:1
# The Python client's programs. Built from the root of the repository:
#   docker build -f deploy/docker/python.Dockerfile -t headwater-python:dev .

FROM python:3.11.13-slim-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src/clients/python
COPY clients/service-config.json /src/clients/service-config.json
COPY clients/python/pyproject.toml clients/python/hatch_build.py clients/python/uv.lock clients/python/README.md ./
COPY clients/python/src ./src
# Not editable: the final stage has no sources. Of the same Python and at the same path as there, which its scripts name.
ENV UV_PROJECT_ENVIRONMENT=/opt/headwater \
    UV_CACHE_DIR=/var/cache/uv
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --locked --no-dev --no-editable --compile-bytecode --link-mode=copy

FROM python:3.11.13-slim-bookworm
COPY --from=build /opt/headwater /opt/headwater
# Where a consumer's --state belongs: a volume takes this folder's owner.
RUN install -d -o 10001 -g 10001 /state
ENV PATH=/opt/headwater/bin:$PATH \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /state
STOPSIGNAL SIGTERM
# Or headwater-produce-transactions: the command says which program runs.
CMD ["headwater-consume-transactions", "--help"]
