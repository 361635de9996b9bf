# syntax=docker/dockerfile:1
# The Scala client's programs. Built from the root of the repository:
#   docker build -f deploy/docker/scala.Dockerfile -t headwater-scala:dev .

FROM maven:3.9.11-eclipse-temurin-17 AS build
WORKDIR /src
COPY proto ./proto
COPY third_party/proto ./third_party/proto
COPY clients/service-config.json ./clients/service-config.json
COPY clients/scala ./clients/scala
WORKDIR /src/clients/scala
ENV MAVEN_OPTS=-Dmaven.repo.local=/var/cache/maven
RUN --mount=type=cache,target=/var/cache/maven \
    mvn --batch-mode --no-transfer-progress -Dmaven.test.skip=true package

FROM eclipse-temurin:17.0.16_8-jre-jammy
COPY --from=build /src/clients/scala/bin /opt/headwater/bin
COPY --from=build /src/clients/scala/target/lib /opt/headwater/target/lib
COPY --from=build /src/clients/scala/target/headwater-clients.jar /opt/headwater/target/headwater-clients.jar
# Where a consumer's --state belongs: a volume takes this folder's owner.
RUN install -d -o 10001 -g 10001 /state
ENV PATH=/opt/headwater/bin:$PATH
USER 10001:10001
WORKDIR /state
STOPSIGNAL SIGTERM
# Or headwater-produce-transactions: the command says which program runs.
CMD ["headwater-consume-transactions", "--help"]
