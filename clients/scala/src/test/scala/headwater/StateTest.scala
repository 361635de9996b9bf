package headwater

import headwater.transactions.{MemoryLedger, Move, StateLedger, Sum, Total}
import java.math.BigInteger
import java.nio.file.Files
import java.util.concurrent.{Callable, CyclicBarrier, Executors}
import scala.jdk.CollectionConverters.*

/** The file of sums, without Kafka. */
class StateTest extends munit.FunSuite:
  test("members may make the file at once") {
    val folder = Files.createTempDirectory("headwater-scala-state")
    val pool = Executors.newFixedThreadPool(6)
    try
      for number <- 0 until 200 do
        val begin = CyclicBarrier(6)
        val open: Callable[String] = () =>
          begin.await()
          val ledger = StateLedger(folder.resolve(s"$number.db").toString, "g", "t")
          try ledger.stateId
          finally ledger.close()
        assertEquals(pool.invokeAll(List.fill(6)(open).asJava).asScala.map(_.get).toSet.size, 1)
    finally pool.shutdown()
  }

  test("a sum is exact however great it grows, in memory and in the file") {
    val greatest = (1L << 53) - 1
    val file = Files.createTempDirectory("headwater-scala-state").resolve("sums.db").toString
    val ledgers = List(MemoryLedger(), StateLedger(file, "g", "t"))
    for ledger <- ledgers do
      for (sign, from) <- List(1 -> 0L, 1 -> 5000L, -1 -> 10000L) do
        val sum = Sum()
        for _ <- 0 until 5000 do sum.add(sign * greatest)
        ledger match
          case state: StateLedger => state.nextOf(0, 0)
          case _ => ()
        assert(ledger.add(java.util.Map.of("a", sum), Seq(Move(0, from, from + 5000))).nonEmpty)
      assertEquals(
        ledger.totals,
        Seq(Total("a", 15000, BigInteger.valueOf(greatest).multiply(BigInteger.valueOf(5000))))
      )
    // Another member has moved the partition: nothing is added.
    assertEquals(ledgers.last.add(java.util.Map.of("a", Sum()), Seq(Move(0, 5000, 5001))), None)
    assertEquals(ledgers.last.totals.map(_.count), Seq(15000L))
    ledgers.foreach(_.close())
  }
