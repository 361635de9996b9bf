# syntax=docker/dockerfile:1
# The platform. Built from the root of the repository:
#   docker build -f deploy/docker/headwater.Dockerfile -t headwater:dev .

FROM rust:1.92.0-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends build-essential libprotobuf-dev libssl-dev pkg-config protobuf-compiler zlib1g-dev \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# What was compiled is kept between builds; the binary is copied out of it, as a cache is no part of an image.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --locked --release --bin headwater \
    && strip --strip-debug -o /headwater target/release/headwater

# Debian and not distroless: the binary needs OpenSSL 3 and zlib, and the health check needs bash, as headwater has no
# command that asks another headwater whether it is ready. The build stage has the same Debian, so that glibc and OpenSSL fit.
FROM debian:12.12-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates libssl3 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build --chmod=0755 /headwater /usr/local/bin/headwater
COPY --chmod=0755 deploy/docker/headwater-ready /usr/local/bin/headwater-ready
# Inside a container the loopback address is reachable by nobody.
ENV HEADWATER_LISTEN_GRPC=0.0.0.0:50051 \
    HEADWATER_LISTEN_HTTP=0.0.0.0:8080 \
    HEADWATER_LOG_FORMAT=json
# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
EXPOSE 50051 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=5s --timeout=4s --start-period=60s --retries=3 CMD ["/usr/local/bin/headwater-ready"]
ENTRYPOINT ["/usr/local/bin/headwater"]
# By itself it is everything in one process, to look at; `serve --role …` is for production.
CMD ["dev"]
