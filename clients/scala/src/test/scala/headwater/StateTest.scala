package headwater

import headwater.transactions.StateLedger
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
