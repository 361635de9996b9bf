package headwater.transactions

import com.google.gson.JsonObject
import headwater.transactions.RecordReader.{Counted, Skipped}
import java.math.BigInteger
import java.nio.charset.StandardCharsets.UTF_8
import java.util.List as JList
import org.apache.kafka.clients.consumer.ConsumerRecord
import scala.collection.immutable.TreeMap

/** What was counted and what was not, as it is said on the way and at the end. */
final class Tally(topic: String, ledger: Ledger, reader: RecordReader, quiet: Boolean):
  private var read = 0L
  private var counted = 0L
  private var newer = 0L
  private var skipped = TreeMap.empty[String, Long]

  def records: Long = read

  /** Counts a batch of one partition; false where another member has: then nothing was. */
  def add(
      partition: Int,
      expected: Long,
      next: Long,
      records: JList[ConsumerRecord[Array[Byte], Array[Byte]]]
  ): Boolean =
    val good = Vector.newBuilder[Counted]
    val bad = Vector.newBuilder[(Long, Skipped)]
    records.forEach(record =>
      reader.read(record.value) match
        case Right(one) => good += one
        case Left(one) => bad += record.offset -> one
    )
    val batch = good.result()
    ledger.add(partition, expected, next, batch) match
      case None => false
      case Some(sums) =>
        read += records.size
        counted += batch.size
        newer += batch.count(_.newer)
        if !quiet && batch.nonEmpty then
          val lines = StringBuilder()
          for (one, sum) <- batch.iterator.zip(sums) do lines ++= s"(${one.account}, ${Cents.text(sum)})\n"
          System.out.write(lines.toString.getBytes(UTF_8))
          System.out.flush()
        for (offset, one) <- bad.result() do
          skipped = skipped.updated(one.reason, skipped.getOrElse(one.reason, 0L) + 1)
          System.err.println(s"skipped $topic[$partition]@$offset: ${one.reason}: ${one.text}")
        true

  /** The table, the figures, and the summary as JSON. */
  def print(seconds: Double, summary: Option[String]): Unit =
    val totals = ledger.totals
    val width = (totals.map(_.account.length) :+ "account".length).max
    val out = StringBuilder()
    def line(account: String, count: String, sum: String) =
      out ++= s"%-${width}s  %10s  %18s\n".format(account, count, sum)
    line("account", "count", "sum")
    totals.foreach(total => line(total.account, total.count.toString, Cents.text(total.cents)))
    line("total", totals.map(_.count).sum.toString, Cents.text(totals.map(_.cents).foldLeft(BigInteger.ZERO)(_.add(_))))
    System.out.write(out.toString.getBytes(UTF_8))
    System.out.flush()
    val reasons =
      if skipped.isEmpty then "" else skipped.map((reason, count) => s"$reason $count").mkString(" (", ", ", ")")
    System.err.println(
      f"$read records: $counted counted ($newer with newer fields), ${skipped.values.sum} skipped$reasons, " +
        f"in $seconds%.2f s"
    )
    val json = JsonObject()
    json.addProperty("records", read)
    json.addProperty("counted", counted)
    val byReason = JsonObject()
    skipped.foreach((reason, count) => byReason.addProperty(reason, count))
    json.add("skipped", byReason)
    json.addProperty("newer_fields", newer)
    val sums = JsonObject()
    totals.foreach(total => sums.addProperty(total.account, Cents.text(total.cents)))
    json.add("sums", sums)
    json.addProperty("seconds", seconds)
    Program.writeSummary(summary, json)
