package headwater

import com.sun.net.httpserver.HttpServer
import headwater.event.v1.transaction.Transaction
import headwater.transactions.Generator
import java.net.{InetSocketAddress, URI}
import java.net.http.{HttpClient, HttpRequest, HttpResponse}
import java.util.{Base64, UUID}
import scala.concurrent.duration.*

/** What flags and signals do to the programs, as processes. */
class FlagsTest extends munit.FunSuite:
  override val munitTimeout = 60.seconds
  private def group() = s"scala-${UUID.randomUUID()}"
  private def content(tx: Transaction) = (tx.accountNumber, tx.transactionReference, tx.amount)

  test("SIGINT ends both programs cleanly: exit 0, with what was done; --rate is kept, progress is said") {
    val topic = Parts.topic(1)
    val consumer = Parts.consuming(topic, group())
    val producer = Parts.producing(topic, List("--rate", "200", "--count", "1000000"))
    def progress = raw"(?m)^(\d+) sent, (\d+)/s$$".r.findAllMatchIn(producer.errText).toList
    Parts.await(producer.errText)(progress.size >= 2)
    assert(progress.exists(_.group(1).toInt > 0), producer.errText)
    producer.interrupt()
    val sent = producer.end()
    assertEquals((sent.code, sent.figure("sent")), (0, Parts.size(topic)), sent.err)
    assert(sent.figure("sent") <= 200 * sent.summary.get.get("seconds").getAsDouble + 1, sent.summary.toString)
    Parts.await(consumer.errText)(consumer.outText.linesIterator.size >= sent.figure("sent"))
    consumer.interrupt()
    val read = consumer.end()
    assertEquals((read.code, read.figure("counted")), (0, sent.figure("sent")), read.err)
    assertEquals(read.sums, Parts.sums(Parts.read(topic)))
    assert(read.out.linesIterator.exists(_.startsWith("total")), read.out)
  }

  test("--from latest begins where a new group finds the end") {
    val topic = Parts.topic(2)
    Parts.fill(topic, "--count", "50")
    val consumer = Parts.consuming(topic, group(), "--from", "latest", "--count", "7")
    Parts.await(consumer.errText)(consumer.errText.contains("assigned 0, 1"))
    Parts.fill(topic, "--count", "7")
    val ended = consumer.end()
    assertEquals((ended.code, ended.figure("records")), (0, 7L), ended.err)
    val later = Parts.read(topic).sortBy(tx => tx.transactionDatetime.map(t => (t.seconds, t.nanos))).drop(50)
    assertEquals(ended.sums, Parts.sums(later))
  }

  test("the same --seed makes the same transactions under new ids") {
    val made = List.fill(2) {
      val topic = Parts.topic(1)
      Parts.fill(topic, "--count", "100", "--customers", "7", "--seed", "42")
      Parts.read(topic)
    }
    assertEquals(made.head.map(content), made.last.map(content))
    assertEquals(made.flatten.map(_.transactionId).distinct.size, 200)
    assertEquals(made.head.map(_.accountNumber).distinct.size, 7)
    assertNotEquals(made.head.map(content), Generator(7, 43).take(100).map(row => content(row.value)).toSeq)
  }

  test("a registry that asks for a name and a password") {
    val expected = Base64.getEncoder.encodeToString("us@er:pa:ss+w/rd".getBytes)
    val http = HttpClient.newHttpClient
    val server = HttpServer.create(InetSocketAddress("127.0.0.1", 0), 0)
    server.createContext(
      "/",
      exchange =>
        val known = Option(exchange.getRequestHeaders.getFirst("authorization")).contains(s"Basic $expected")
        val answer = Option.when(known) {
          val real = URI.create(Parts.registry).resolve(exchange.getRequestURI)
          http.send(HttpRequest.newBuilder(real).build(), HttpResponse.BodyHandlers.ofByteArray)
        }
        val body = answer.fold("{}".getBytes)(_.body)
        exchange.sendResponseHeaders(answer.fold(401)(_.statusCode), body.length)
        exchange.getResponseBody.write(body)
        exchange.close()
    )
    server.start()
    try
      val topic = Parts.topic(1)
      val path = URI.create(Parts.registry).getPath
      def by(user: String) = s"http://$user@127.0.0.1:${server.getAddress.getPort}$path"
      val right = Parts.producing(topic, List("--count", "20"), registry = by("us%40er:pa%3Ass+w%2Frd")).end()
      assertEquals((right.code, right.figure("sent")), (0, 20L), right.err)
      val wrong = Parts.producing(topic, List("--count", "20"), registry = by("us%40er:hidden")).end()
      assertEquals(wrong.code, 3, wrong.err)
      assert(wrong.err.contains("with status 401") && !wrong.err.contains("hidden"), wrong.err)
    finally server.stop(0)
  }
