package headwater

import headwater.client.{ClientOptions, HeadwaterClient, HeadwaterError, PublishOptions}
import headwater.ingest.v1.ingest.*
import headwater.stats.v1.stats.*
import java.net.ServerSocket
import java.nio.file.{Files, Path}
import java.util.concurrent.TimeUnit
import scala.compiletime.uninitialized

/** The library and its samples against a real `headwater dev`. */
class ClientTest extends munit.FunSuite:
  private var server: Process = uninitialized
  private var target = ""

  override def beforeAll(): Unit =
    val binary = sys.env.getOrElse(
      "HEADWATER_TEST_BIN",
      Path.of(sys.props("basedir"), "../../target/debug/headwater").normalize.toString
    )
    assert(
      Files.isExecutable(Path.of(binary)),
      s"$binary is not there: run `make test`, or name it in HEADWATER_TEST_BIN"
    )
    val socket = ServerSocket(0)
    target = s"127.0.0.1:${socket.getLocalPort}"
    socket.close()
    val log = Files.createTempFile("headwater-dev", "log").toFile
    val data = Files.createTempDirectory("headwater-dev").toString
    server = ProcessBuilder(
      binary,
      "dev",
      "--listen-grpc",
      target,
      "--listen-http",
      "127.0.0.1:0",
      "--auth-token",
      "secret-token",
      "--data",
      data,
      "--dev-rate",
      "0"
    ).redirectErrorStream(true).redirectOutput(log).start()
    val until = System.nanoTime + 30000000000L
    def ready = try client(_.listStreams()).streams.exists(_.partitions > 0)
    catch case _: HeadwaterError => false
    while !ready do
      assert(System.nanoTime < until && server.isAlive, Files.readString(log.toPath))
      Thread.sleep(100)

  override def afterAll(): Unit = if server != null then
    server.destroy()
    if !server.waitFor(10, TimeUnit.SECONDS) then server.destroyForcibly(): Unit

  private def client[A](work: HeadwaterClient => A): A =
    val client = HeadwaterClient(ClientOptions(target, token = Some("secret-token")))
    try work(client)
    finally client.close()

  private def record(id: String, account: String) =
    val now = com.google.protobuf.timestamp.Timestamp(java.time.Instant.now.getEpochSecond, 0)
    Record(
      Some(
        com.google.protobuf.any.Any.pack(headwater.event.v1.transaction.Transaction(id, account, "", Some(now), 0.5))
      )
    )

  test("what is published is counted, by the token") {
    client { c =>
      val answers = c
        .publishStream(
          (1 to 40).iterator.map(n => PublishStreamRequest(n, "transactions", Seq(record(s"s-$n", "ACC-9")))),
          PublishOptions(inFlight = 4)
        )
        .toList
      assertEquals(answers.map(_.sequence), (1L to 40L).toList)
      val query = StatQuery(stream = "transactions", stat = "account_total", by = "ACC-9")
      // A token stands for its own batch; the last of each partition is the same partition's, as the key is one.
      assertEquals(
        c.getStats(GetStatsRequest(Seq(query), answers.last.consistencyToken)).results.head.values.head.text,
        "20.00"
      )
      val subscription = c.subscribeStats(SubscribeStatsRequest(Seq(query)))
      assertEquals(subscription.next().results.head.values.head.value, 2000L)
      subscription.close()
    }
  }

  test("an error carries the platform's reason") {
    val error = intercept[HeadwaterError](client(_.publish(PublishRequest("not-there", Seq(record("a", "b"))))))
    assertEquals(error.reason, "UNKNOWN_STREAM")
    val stranger = HeadwaterClient(ClientOptions(target))
    try assertEquals(intercept[HeadwaterError](stranger.listStreams()).code, io.grpc.Status.Code.UNAUTHENTICATED)
    finally stranger.close()
  }

  test("the samples run") {
    def sample(name: String, args: String*): String =
      val path = sys.props.getOrElse("surefire.test.class.path", sys.props("java.class.path"))
      val builder = ProcessBuilder(
        (List("java", "-Xmx128m", "-XX:TieredStopAtLevel=1", "-cp", path, s"headwater.samples.$name", target) ++ args)*
      )
      builder.environment.put("HEADWATER_TOKEN", "secret-token")
      val process = builder.redirectError(ProcessBuilder.Redirect.INHERIT).start()
      val out = String(process.getInputStream.readAllBytes())
      assertEquals(process.waitFor(), 0, out)
      out.trim
    val published = List.fill(3)(sample("publish").split(" "))
    assert(published.forall(_.length == 2), published.toString)
    val Array(id, token) = published.last
    assertEquals(sample("totals", token), "ACC-0001 37.50")
    val explained = sample("explain", id, token)
    assert(explained.startsWith("partition ") && explained.contains("Stored("), explained)
    // More than a page, which is two.
    val events = sample("history", "ACC-0001").linesIterator.toSet
    assertEquals(events, published.map(one => s"${one.head} 12.5").toSet)
    assertEquals(sample("subscribe", "ACC-0001", "1"), "37.50")
  }
