#!/bin/sh
# Prints the table of Throughput.scala: bench/throughput.sh [MESSAGES [ROUNDS [ROW]]], with the parts' variables set
# (`eval "$(cargo xtask parts env)"`) and after `mvn package -DskipTests`. The JVM has the launchers' options.
set -eu
target=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/target
# shellcheck disable=SC2086 # several options
exec timeout 900 java -Xms64m -Xmx256m -XX:+UseSerialGC -Xshare:auto ${HEADWATER_JAVA_OPTS:-} \
  -cp "$target/test-classes:$target/headwater-clients.jar:$target/lib/*" headwater.bench.Throughput "$@"
