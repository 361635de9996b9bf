package headwater.transactions

import com.google.gson.JsonObject
import headwater.transactions.RecordReader.{Counted, Skipped}
import java.math.BigInteger
import java.nio.charset.StandardCharsets.UTF_8
import java.util.{HashMap, List as JList, Map as JMap}
import org.apache.kafka.clients.consumer.ConsumerRecord
import scala.collection.immutable.TreeMap

/** What was counted and what was not, as it is said on the way and at the end. */
final class Tally(topic: String, ledger: Ledger, reader: RecordReader, quiet: Boolean):
  import Tally.*

  private var read = 0L
  private var counted = 0L
  private var newer = 0L
  private var skipped = TreeMap.empty[String, Long]

  def records: Long = read

  /** Counts what was polled; false where another member of the group has: then nothing was. */
  def add(parts: Seq[Part]): Boolean =
    val added = HashMap[String, Sum]
    val good = Vector.newBuilder[Counted]
    val bad = Vector.newBuilder[(Part, Long, Skipped)]
    var records, withNewer = 0L
    for part <- parts do
      records += part.records.size
      val each = part.records.iterator
      while each.hasNext do
        val record = each.next()
        reader.read(record.value) match
          case one: Counted =>
            var sum = added.get(one.account)
            if sum == null then
              sum = Sum()
              added.put(one.account, sum)
            sum.add(one.cents)
            if one.newer then withNewer += 1
            if !quiet then good += one
          case one: Skipped => bad += ((part, record.offset, one))
    ledger.add(added, parts.map(_.move)) match
      case None => false
      case Some(after) =>
        read += records
        newer += withNewer
        if !quiet then say(good.result(), added, after)
        val wrong = bad.result()
        counted += records - wrong.size
        for (part, offset, one) <- wrong do
          skipped = skipped.updated(one.reason, skipped.getOrElse(one.reason, 0L) + 1)
          System.err.println(s"skipped $topic[${part.move.partition}]@$offset: ${one.reason}: ${one.text}")
        true

  /** One line for each record: the account, and its sum so far. */
  private def say(good: Vector[Counted], added: JMap[String, Sum], after: JMap[String, BigInteger]): Unit =
    val sums = HashMap[String, BigInteger]
    added.forEach((account, sum) => sums.put(account, after.get(account).subtract(sum.cents)): Unit)
    val lines = StringBuilder()
    for one <- good do
      val sum = sums.merge(one.account, BigInteger.valueOf(one.cents), _.add(_))
      lines ++= s"(${one.account}, ${Cents.text(sum)})\n"
    System.out.write(lines.toString.getBytes(UTF_8))
    System.out.flush()

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

object Tally:
  /** Records of a partition, in order, and where counting them moves it. */
  final case class Part(move: Move, records: JList[ConsumerRecord[Array[Byte], Array[Byte]]])
