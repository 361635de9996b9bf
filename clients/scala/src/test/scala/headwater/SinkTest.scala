package headwater

import headwater.transactions.{Common, Failure, Generator, ProduceTransactions, Sink}
import headwater.event.v1.transaction.Transaction
import headwater.transactions.Frame
import java.util.UUID
import java.util.concurrent.atomic.AtomicBoolean
import scala.concurrent.duration.*
import scala.jdk.CollectionConverters.*

/** Deliveries that are none: kafka-clients reports a duplicate as delivered, without an offset. */
class SinkTest extends munit.FunSuite:
  override val munitTimeout = 60.seconds

  /** What the producer says of a hundred records, one a batch; and what the broker has of them, by id. */
  private def run(doubted: Int): (Either[Failure, Int], Seq[String], Seq[String]) =
    val broker = FakeBroker()
    try
      val topic = s"scala-${UUID.randomUUID()}-1"
      Parts.registerSchema(topic, Parts.schema)
      broker.doubted.set(doubted)
      val rows = Generator(3, 1).take(100).toList
      val extra = Map("batch.size" -> "0")
      val settings =
        ProduceTransactions.Settings(Common(broker.address, Parts.registry, topic, extra = extra, quiet = true))
      val code =
        try Right(ProduceTransactions.run(settings, rows.iterator, AtomicBoolean(false)))
        catch case failure: Failure => Left(failure)
      val kept = broker.kept.asScala.toSeq.map { record =>
        Transaction.parseFrom(record.value.drop(Frame.parse(record.value).messageOffset)).transactionId
      }
      (code, kept, rows.map(_.value.transactionId))
    finally broker.close()

  test("a delivery without an offset is sent again, with the same id") {
    val (code, kept, ids) = run(doubted = 7)
    assertEquals(code, Right(0))
    assertEquals(kept.size, 100)
    assertEquals(kept.sorted, ids.sorted)
  }

  test("where no delivery ever has an offset, the record is not sent: exit 3") {
    val (code, kept, _) = run(doubted = Int.MaxValue)
    val failure = code.left.toOption.get
    assertEquals((failure.exitCode, kept.size), (Failure.Away, 0))
    val says = s"did not acknowledge every record (0 are): ${Sink.AttemptsMax} deliveries of a record have no offset"
    assert(failure.getMessage.contains(says), failure.getMessage)
  }

  test("without acknowledgements nothing can be counted: exit 2") {
    val failure = intercept[Failure](ProduceTransactions.properties(Common(extra = Map("acks" -> "0"))))
    assertEquals(failure.exitCode, Failure.Usage)
  }
