package headwater

import headwater.event.v1.transaction.Transaction
import headwater.transactions.{Failure, Frame, ProduceTransactions}
import com.google.protobuf.timestamp.Timestamp
import java.nio.file.Files
import java.util.UUID
import java.util.concurrent.atomic.AtomicBoolean
import scala.concurrent.duration.*

/** Both programs as processes, against a real broker and registry. */
class TransactionsTest extends munit.FunSuite:
  override val munitTimeout = 90.seconds
  private def group() = s"scala-${UUID.randomUUID()}"
  private def sums(ended: Parts.Ended) = ended.summary.get.getAsJsonObject("sums").toString
  private def figure(ended: Parts.Ended, name: String) = ended.summary.get.get(name).getAsLong

  test("a thousand transactions of twenty accounts, and every kind of foreign record") {
    val topic = Parts.topic(4)
    val sent = Parts.produce(topic, "--seed", "7")
    assertEquals((sent.code, figure(sent, "sent")), (0, 1000L), sent.err)
    val id = sent.summary.get.get("schema_id").getAsInt
    val wrong = Parts.registerSchema(s"$topic-other", "syntax = \"proto3\"; package x; message Y { string a = 1; }")
    val good = Transaction("t", "ACC-0001", "", Some(Timestamp(1000000000, 0)), 0.25)
    def framed(schema: Int, tx: Array[Byte]) = Frame.prefix(schema, List(0)) ++ tx
    // Each with the reason why it is skipped.
    val foreign = List[(Array[Byte], String)](
      "foreign".getBytes -> "BAD_FRAME: the frame begins with the byte 102",
      (null, "BAD_FRAME: the record has no value"),
      framed(999999999, good.toByteArray) -> "UNKNOWN_SCHEMA: the registry has no schema with the id 999999999",
      framed(wrong, good.toByteArray) -> s"WRONG_SCHEMA: the message [0] of schema $wrong is x.Y",
      framed(id, Array[Byte](10, 99)) -> "MALFORMED: ",
      framed(id, good.copy(accountNumber = "").toByteArray) -> "INVALID_FIELD: account_number: ",
      framed(id, good.copy(amount = Double.NaN).toByteArray) -> "INVALID_FIELD: amount: ",
      framed(id, good.copy(amount = 0.001).toByteArray) -> "NOT_IN_SCALE: amount: ",
      framed(id, good.withTransactionDatetime(Timestamp(1, 0)).toByteArray) -> "TIME_ANCIENT: transaction_datetime: "
    )
    // And one with a newer schema's field, which is not known here: number 9, "new".
    val sentAt =
      Parts.send(topic, foreign.map(_._1) :+ framed(id, good.toByteArray ++ Array[Byte](74, 3, 'n', 'e', 'w'))*)
    val state = Files.createTempDirectory("headwater-scala").resolve("state.db").toString
    val members = group()
    val (reading, halving) = (
      Parts.consuming(topic, group(), "--count", "1010"),
      Parts.consuming(topic, members, "--state", state, "--count", "400", "--quiet")
    )
    val read = reading.end()
    assertEquals(read.code, 0, read.err)
    assertEquals((figure(read, "records"), figure(read, "counted"), figure(read, "newer_fields")), (1010L, 1001L, 1L))
    assertEquals(
      read.summary.get.getAsJsonObject("skipped").toString,
      """{"BAD_FRAME":2,"INVALID_FIELD":2,"MALFORMED":1,"NOT_IN_SCALE":1,"TIME_ANCIENT":1,"UNKNOWN_SCHEMA":1,"WRONG_SCHEMA":1}"""
    )
    assertEquals(read.summary.get.getAsJsonObject("sums").size, 20)
    assertEquals(read.out.linesIterator.count(_.matches("""\(ACC-\d{4}, -?\d+\.\d\d\)""")), 1001)
    val skipped = read.err.linesIterator.filter(_.startsWith("skipped ")).toList
    assertEquals(skipped.size, foreign.size, read.err)
    for (((_, reason), at), line) <- foreign.zip(sentAt).zip(skipped) do
      val says = s"skipped $topic[${at.partition}]@${at.offset}: $reason"
      assert(line.startsWith(says), s"\"$says\" is not how \"$line\" begins")
    // Two members of a group with one state, stopped and started again, come to the same sums.
    val half = halving.end()
    assertEquals((half.code, figure(half, "records")), (0, 400L), half.err)
    val pair = List.fill(2)(Parts.consuming(topic, members, "--state", state, "--idle-exit", "4", "--quiet"))
    val ended = pair.map(_.end())
    assertEquals(ended.map(_.code), List(0, 0), ended.map(_.err).toString)
    assertEquals(ended.map(figure(_, "records")).sum, 610L, ended.map(_.err).toString)
    assertEquals(
      sums(Parts.consuming(topic, members, "--state", state, "--idle-exit", "2", "--quiet").end()),
      sums(read)
    )
    // The group's offsets belong to that file.
    val other = Parts.consuming(topic, members, "--state", state + "2", "--idle-exit", "2").end()
    assertEquals(other.code, 3, other.err)
    assert(other.err.contains("another state file"), other.err)
  }

  test("SIGTERM ends a consumer with its table") {
    val topic = Parts.topic(1)
    Parts.fill(topic, "--count", "5")
    val consumer = Parts.consuming(topic, group())
    Parts.await(consumer.errText)(consumer.outText.linesIterator.size >= 5)
    consumer.terminate()
    val ended = consumer.end()
    assertEquals((ended.code, figure(ended, "records")), (0, 5L), ended.err)
    assert(ended.out.contains("total"), ended.out)
  }

  test("a file with a bad line: the others are sent, exit 1") {
    val topic = Parts.topic(1)
    val file = Files.createTempFile("headwater-scala", ".csv")
    Files.writeString(
      file,
      "transaction_id,account_number,transaction_datetime,amount\n" +
        "a,b,2026-01-02T03:04:05Z,1.5\n,b,2026-01-02T03:04:05Z,1\nc,b,2026-01-02T03:04:05Z,2\n"
    )
    val sent = Parts.produce(topic, "-i", file.toString)
    assertEquals((sent.code, figure(sent, "sent"), figure(sent, "refused")), (1, 2L, 1L), sent.err)
    assert(sent.err.contains("line 3: transaction_id: is missing"), sent.err)
  }

  test("what is away, or not there, is named: exit 3") {
    val topic = Parts.topic(1, register = false)
    val cases = List(
      ("127.0.0.1:1", Parts.registry, topic, "the broker at 127.0.0.1:1 is away"),
      (Parts.kafka, "http://127.0.0.1:1", topic, "the schema registry at http://127.0.0.1:1 is away"),
      (Parts.kafka, Parts.registry, "not-there", "has no topic not-there"),
      (Parts.kafka, Parts.registry, topic, s"has no subject $topic-value")
    )
    for (broker, registry, name, says) <- cases do
      val common = List("-b", broker, "-s", registry, "-t", name, "--timeout", "2")
      val both = List(
        Parts.start("ProduceTransactions", common*),
        Parts.start("ConsumeTransactions", common ++ List("-g", group())*)
      )
      for ended <- both.map(_.end()) do
        assertEquals(ended.code, 3, ended.err)
        assert(ended.err.contains(says), ended.err)
  }

  test("a registry's address without its path, and one that is none") {
    val topic = Parts.topic(1)
    val host = Parts.registry.replaceFirst("(//[^/]*)/.*", "$1")
    val none = "it answers 404. Apicurio's is below /apis/ccompat/v7"
    val cases = List(
      (host, 3, s"there is no registry's API at $host: $none"),
      (host.replace("//", "//us:hidden@"), 3, s"there is no registry's API at $host: $none"),
      ("http://us:hidden/@127.0.0.1:x", 2, "\"http://127.0.0.1:x\" is no address"),
      ("us:hid@hidden@127.0.0.1:8081", 2, "\"127.0.0.1:8081\" is no address"),
      ("ftp://us:hidden@127.0.0.1:8081", 2, "\"ftp://127.0.0.1:8081\" is no address")
    )
    for (address, code, says) <- cases do
      val settings = ProduceTransactions.settings(List("-b", Parts.kafka, "-s", address, "-t", topic, "--quiet"))
      val failure = intercept[Failure](ProduceTransactions.run(settings, AtomicBoolean(false)))
      assertEquals(failure.exitCode, code, failure.getMessage)
      assert(failure.getMessage.contains(says) && !failure.getMessage.contains("hid"), failure.getMessage)
  }

  test("wrong usage: exit 2, with all that is missing") {
    val both = List("ProduceTransactions" -> Nil, "ConsumeTransactions" -> List("group")).map((main, more) =>
      Parts.start(main) -> more
    )
    for (running, more) <- both do
      val ended = running.end()
      assertEquals(ended.code, 2, ended.err)
      for flag <- List("broker", "schema-registry", "topic") ++ more do
        assert(ended.err.contains(s"Missing option --$flag"), ended.err)
  }
