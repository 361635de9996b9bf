package headwater

import headwater.transactions.StateLedger
import java.nio.file.Files
import java.util.UUID
import scala.concurrent.duration.*

/** The broker is lost while the programs run, and comes back or stays away; a consumer is killed. */
class OutagesTest extends munit.FunSuite:
  override val munitTimeout = 90.seconds
  private val group = s"scala-${UUID.randomUUID()}"
  private def stateFile() = Files.createTempDirectory("headwater-scala").resolve("state.db").toString

  private def through[A](work: KafkaProxy => A): A =
    val proxy = KafkaProxy(Parts.kafka)
    try work(proxy)
    finally proxy.close()

  /** Cuts the way and opens it again, once somebody has found it cut. */
  private def outage(proxy: KafkaProxy)(meanwhile: => Unit = ()): Unit =
    proxy.cut()
    meanwhile
    Parts.await("nobody tried to connect again")(proxy.refused.get > 0)
    proxy.heal()

  private def counted(state: String, topic: String): Long =
    val ledger = StateLedger(state, group, topic)
    try ledger.totals.map(_.count).sum
    finally ledger.close()

  test("a producer goes on when the broker is back: nothing is lost, doubled or out of order") {
    through { proxy =>
      val topic = Parts.topic(1)
      val args = List("--rate", "1000", "--count", "2000", "--timeout", "20")
      val producer = Parts.producing(topic, args, broker = proxy.address)
      Parts.await(producer.errText)(Parts.size(topic) > 200)
      outage(proxy)()
      val ended = producer.end()
      assertEquals((ended.code, ended.figure("sent")), (0, 2000L), ended.err)
      val read = Parts.read(topic)
      assertEquals(read.map(_.transactionReference), (1 to 2000).map(n => s"reference $n"))
      assertEquals(read.map(_.transactionId).distinct.size, 2000)
    }
  }

  test("a producer whose broker stays away says so: exit 3, and what is acknowledged is there") {
    through { proxy =>
      val topic = Parts.topic(1)
      val args = List("--rate", "1000", "--count", "1000000", "--timeout", "2")
      val producer = Parts.producing(topic, args, broker = proxy.address)
      Parts.await(producer.errText)(Parts.size(topic) > 200)
      proxy.cut()
      val ended = producer.end()
      assertEquals(ended.code, 3, ended.err)
      assert(ended.err.contains(s"the broker at ${proxy.address} did not acknowledge every record"), ended.err)
      val sent = ended.figure("sent")
      assert(sent > 200 && sent <= Parts.size(topic), s"$sent sent, ${Parts.size(topic)} there")
    }
  }

  test("a consumer with --state goes on when the broker is back: sums exact") {
    through { proxy =>
      val topic = Parts.topic(2)
      val state = stateFile()
      Parts.fill(topic, "--count", "500")
      val args = List("--state", state, "--count", "1500", "--timeout", "20", "--quiet")
      val consumer = Parts.consumingBy(topic, group, args, broker = proxy.address)
      Parts.await(consumer.errText)(counted(state, topic) == 500)
      outage(proxy)(Parts.fill(topic, "--count", "1000"))
      val ended = consumer.end()
      assertEquals((ended.code, ended.figure("counted")), (0, 1500L), ended.err)
      assertEquals(ended.sums, Parts.sums(Parts.read(topic)))
      assertEquals(counted(state, topic), 1500L)
    }
  }

  test("a consumer whose broker stays away says so, with its table: exit 3") {
    through { proxy =>
      val topic = Parts.topic(1)
      Parts.fill(topic, "--count", "5")
      val consumer = Parts.consumingBy(topic, group, List("--timeout", "2"), broker = proxy.address)
      Parts.await(consumer.errText)(consumer.outText.linesIterator.size >= 5)
      proxy.cut()
      val ended = consumer.end()
      assertEquals((ended.code, ended.figure("counted")), (3, 5L), ended.err)
      assert(ended.err.contains(s"the broker at ${proxy.address} is away"), ended.err)
      assert(ended.out.linesIterator.exists(_.startsWith("total")), ended.out)
    }
  }

  test("a consumer with --state that was killed loses and doubles nothing") {
    val topic = Parts.topic(2)
    val state = stateFile()
    // The group misses a dead member soon.
    val args = List("--state", state, "--quiet", "-X", "session.timeout.ms=1500", "-X", "heartbeat.interval.ms=300")
    val consumer = Parts.consuming(topic, group, args*)
    val producer = Parts.producing(topic, List("--rate", "1000", "--count", "3000"))
    Parts.await(consumer.errText)(counted(state, topic) > 500)
    consumer.kill()
    assertEquals(producer.end().code, 0)
    val left = 3000 - counted(state, topic)
    assert(left > 0, "it had counted all, so nothing was tested")
    val ended = Parts.consuming(topic, group, args ++ List("--count", left.toString)*).end()
    assertEquals((ended.code, ended.figure("counted")), (0, left), ended.err)
    assertEquals(ended.sums, Parts.sums(Parts.read(topic)))
  }
