package headwater.transactions

import headwater.transactions.RecordReader.Counted
import java.math.BigInteger
import java.sql.{Connection, DriverManager, SQLException}
import java.util.UUID
import org.sqlite.SQLiteErrorCode
import scala.annotation.tailrec
import scala.collection.mutable
import scala.util.Using

final case class Total(account: String, count: Long, cents: BigInteger)

/** Where sums are kept. */
trait Ledger:
  /** Adds a batch of one partition and moves its next offset; the sum after each record, or None where another member
    * of the group has moved it: nothing was added then.
    */
  def add(partition: Int, expected: Long, next: Long, batch: Seq[Counted]): Option[Seq[BigInteger]]

  def totals: Seq[Total]
  def close(): Unit = ()

/** Sums for as long as the program runs. */
final class MemoryLedger extends Ledger:
  private val sums = mutable.HashMap.empty[String, Total]

  def add(partition: Int, expected: Long, next: Long, batch: Seq[Counted]): Option[Seq[BigInteger]] =
    Some(Ledger.added(batch, sums, account => Total(account, 0, BigInteger.ZERO)))

  def totals: Seq[Total] = sums.values.toSeq.sortBy(_.account)

object Ledger:
  private[transactions] def added(
      batch: Seq[Counted],
      sums: mutable.HashMap[String, Total],
      start: String => Total
  ): Seq[BigInteger] =
    batch.map { counted =>
      val before = sums.getOrElse(counted.account, start(counted.account))
      val after = before.cents.add(BigInteger.valueOf(counted.cents))
      sums(counted.account) = Total(counted.account, before.count + 1, after)
      after
    }

/** Sums and next offsets in one SQLite file, which all members of a group on a machine may share, in any language. Sums
  * and offset move in one transaction, so that no message is lost or counted twice.
  */
final class StateLedger(path: String, group: String, topic: String) extends Ledger:
  private val connection: Connection =
    try
      val connection = DriverManager.getConnection(s"jdbc:sqlite:$path")
      run(connection, s"PRAGMA busy_timeout=${StateLedger.BusyMs}")
      writeAhead(connection, System.nanoTime + StateLedger.BusyMs * 1_000_000L)
      run(connection, "PRAGMA synchronous=NORMAL")
      connection
    catch case e: SQLException => throw unusable(e)

  /** Tells this file from every other: what Kafka remembers of a group's offsets names it. */
  val stateId: String = transaction {
    run(
      connection,
      "CREATE TABLE IF NOT EXISTS meta(state_id TEXT NOT NULL)",
      """CREATE TABLE IF NOT EXISTS sums("group" TEXT NOT NULL, topic TEXT NOT NULL, account TEXT NOT NULL,
        |units TEXT NOT NULL, count INTEGER NOT NULL, PRIMARY KEY("group", topic, account))""".stripMargin,
      """CREATE TABLE IF NOT EXISTS offsets("group" TEXT NOT NULL, topic TEXT NOT NULL, partition INTEGER NOT NULL,
        |next INTEGER NOT NULL, PRIMARY KEY("group", topic, partition))""".stripMargin
    )
    update("INSERT INTO meta(state_id) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM meta)", UUID.randomUUID().toString)
    query("SELECT state_id FROM meta")(_.getString(1)).head
  }

  /** The offset that a partition goes on from; `low` where the state knows nothing of it. */
  def nextOf(partition: Int, low: => Long): Long =
    def stored =
      query("""SELECT next FROM offsets WHERE "group"=? AND topic=? AND partition=?""", group, topic, partition)(
        _.getLong(1)
      ).headOption
    stored.getOrElse {
      val start = low
      transaction {
        update(
          """INSERT OR IGNORE INTO offsets("group", topic, partition, next) VALUES(?,?,?,?)""",
          group,
          topic,
          partition,
          start
        )
        stored.get
      }
    }

  def add(partition: Int, expected: Long, next: Long, batch: Seq[Counted]): Option[Seq[BigInteger]] =
    val sums = mutable.HashMap.empty[String, Total]
    try
      transaction {
        val moved = update(
          """UPDATE offsets SET next=? WHERE "group"=? AND topic=? AND partition=? AND next=?""",
          next,
          group,
          topic,
          partition,
          expected
        )
        if moved == 0 then throw StateLedger.Overtaken
        val after = Ledger.added(batch, sums, stored)
        sums.values.foreach(total =>
          update(
            """INSERT INTO sums("group", topic, account, units, count) VALUES(?,?,?,?,?)
              |ON CONFLICT("group", topic, account) 
              |DO UPDATE SET units=excluded.units, count=excluded.count""".stripMargin,
            group,
            topic,
            total.account,
            total.cents.toString,
            total.count
          )
        )
        Some(after)
      }
    catch case StateLedger.Overtaken => None

  def totals: Seq[Total] =
    query("""SELECT account, count, units FROM sums WHERE "group"=? AND topic=? ORDER BY account""", group, topic)(
      row => Total(row.getString(1), row.getLong(2), BigInteger(row.getString(3)))
    )

  override def close(): Unit = connection.close()

  /** Two that open a new file at once turn each other away here, and SQLite does not wait by itself. */
  @tailrec private def writeAhead(connection: Connection, until: Long): Unit =
    val busy =
      try
        run(connection, "PRAGMA journal_mode=WAL")
        false
      catch
        case e: SQLException if e.getErrorCode == SQLiteErrorCode.SQLITE_BUSY.code && System.nanoTime < until => true
    if busy then
      Thread.sleep(StateLedger.BusyAgainMs)
      writeAhead(connection, until)

  private def stored(account: String): Total =
    query("""SELECT count, units FROM sums WHERE "group"=? AND topic=? AND account=?""", group, topic, account)(row =>
      Total(account, row.getLong(1), BigInteger(row.getString(2)))
    ).headOption.getOrElse(Total(account, 0, BigInteger.ZERO))

  private def transaction[A](work: => A): A =
    try
      run(connection, "BEGIN IMMEDIATE")
      try
        val result = work
        run(connection, "COMMIT")
        result
      catch
        case e: Throwable =>
          try run(connection, "ROLLBACK")
          catch case _: SQLException => () // It has ended by itself; the first fault is the one to tell.
          throw e
    catch case e: SQLException => throw unusable(e)

  private def update(sql: String, values: Any*): Int = Using.resource(connection.prepareStatement(sql)) { statement =>
    values.zipWithIndex.foreach((value, at) => statement.setObject(at + 1, value))
    statement.executeUpdate()
  }

  private def query[A](sql: String, values: Any*)(row: java.sql.ResultSet => A): Vector[A] =
    Using.resource(connection.prepareStatement(sql)) { statement =>
      values.zipWithIndex.foreach((value, at) => statement.setObject(at + 1, value))
      val rows = statement.executeQuery()
      Iterator.continually(rows).takeWhile(_.next()).map(row).toVector
    }

  private def run(connection: Connection, statements: String*): Unit =
    Using.resource(connection.createStatement())(statement => statements.foreach(statement.execute(_)))

  private def unusable(e: SQLException) = Failure.away(s"--state: $path cannot be used: ${e.getMessage}")

object StateLedger:
  private val BusyMs = 5000
  private val BusyAgainMs = 20
  private object Overtaken extends Exception("", null, false, false)
