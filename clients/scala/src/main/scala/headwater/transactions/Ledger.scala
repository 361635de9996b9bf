package headwater.transactions

import java.math.BigInteger
import java.util.{HashMap, Map as JMap}
import scala.jdk.CollectionConverters.*

/** An account's sum in cents, exact however great it grows, and of how many records. */
final class Sum:
  private var records = 0L
  private var low = 0L
  private var high = BigInteger.ZERO

  def count: Long = records
  def cents: BigInteger = high.add(BigInteger.valueOf(low))

  /** Adds a record's cents, which are below 2^53 as `Cents` gives them. */
  def add(cents: Long): Unit =
    records += 1
    low += cents
    if low > Sum.LowMax || low < -Sum.LowMax then carry()

  def add(other: Sum): Unit =
    records += other.records
    high = high.add(other.cents)

  private def carry(): Unit =
    high = cents
    low = 0

object Sum:
  private val LowMax = 1L << 62

final case class Total(account: String, count: Long, cents: BigInteger)

/** Records of a partition that were counted: its offset before them and after. */
final case class Move(partition: Int, from: Long, to: Long)

/** Where sums are kept. */
trait Ledger:
  /** Adds to accounts and moves the partitions whose records those are; each account's sum from now on, or None where
    * another member of the group has moved one of them: nothing was added then.
    */
  def add(added: JMap[String, Sum], moves: Seq[Move]): Option[JMap[String, BigInteger]]

  def totals: Seq[Total]
  def close(): Unit = ()

/** Sums for as long as the program runs. */
final class MemoryLedger extends Ledger:
  private val sums = HashMap[String, Sum]

  def add(added: JMap[String, Sum], moves: Seq[Move]): Option[JMap[String, BigInteger]] =
    val after = HashMap[String, BigInteger]
    added.forEach { (account, sum) =>
      val whole = sums.computeIfAbsent(account, _ => Sum())
      whole.add(sum)
      after.put(account, whole.cents): Unit
    }
    Some(after)

  def totals: Seq[Total] =
    sums.asScala.toSeq.map((account, sum) => Total(account, sum.count, sum.cents)).sortBy(_.account)
