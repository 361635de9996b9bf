package headwater.transactions

import java.math.BigInteger
import java.sql.{Connection, DriverManager, PreparedStatement, SQLException}
import java.util.{HashMap, Map as JMap, UUID}
import org.sqlite.SQLiteErrorCode
import scala.annotation.tailrec
import scala.collection.mutable
import scala.util.Using

/** Sums and next offsets in one SQLite file, which all members of a group on a machine may share, in any language. Sums
  * and offset move in one transaction, so that no message is lost or counted twice.
  */
final class StateLedger(path: String, group: String, topic: String) extends Ledger:
  import StateLedger.*

  private val connection: Connection =
    try
      val connection = DriverManager.getConnection(s"jdbc:sqlite:$path")
      run(connection, s"PRAGMA busy_timeout=${BusyMs}")
      writeAhead(connection, System.nanoTime + BusyMs * 1_000_000L)
      // Kafka is told of what is here: it must not be taken back by a machine that loses its power.
      run(connection, "PRAGMA synchronous=FULL")
      connection
    catch case e: SQLException => throw unusable(e)
  private val prepared = mutable.HashMap.empty[String, PreparedStatement]

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
    def stored = query(SelectNext, group, topic, partition)(_.getLong(1)).headOption
    stored.getOrElse {
      val start = low
      transaction {
        update(InsertNext, group, topic, partition, start)
        stored.get
      }
    }

  def add(added: JMap[String, Sum], moves: Seq[Move]): Option[JMap[String, BigInteger]] =
    val after = HashMap[String, BigInteger]
    try
      transaction {
        for move <- moves do
          if update(UpdateNext, move.to, group, topic, move.partition, move.from) == 0 then throw Overtaken
        added.forEach { (account, sum) =>
          val (count, cents) = query(SelectSum, group, topic, account)(row =>
            (row.getLong(1), BigInteger(row.getString(2)))
          ).headOption.getOrElse((0L, BigInteger.ZERO))
          val now = cents.add(sum.cents)
          update(UpsertSum, group, topic, account, now.toString, count + sum.count)
          after.put(account, now): Unit
        }
        Some(after)
      }
    catch case Overtaken => None

  def totals: Seq[Total] =
    query(SelectSums, group, topic)(row => Total(row.getString(1), row.getLong(2), BigInteger(row.getString(3))))

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
      Thread.sleep(BusyAgainMs)
      writeAhead(connection, until)

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

  private def update(sql: String, values: Any*): Int = statement(sql, values).executeUpdate()

  private def query[A](sql: String, values: Any*)(row: java.sql.ResultSet => A): Vector[A] =
    Using.resource(statement(sql, values).executeQuery()) { rows =>
      Iterator.continually(rows).takeWhile(_.next()).map(row).toVector
    }

  private def statement(sql: String, values: Seq[Any]): PreparedStatement =
    val statement = prepared.getOrElseUpdate(sql, connection.prepareStatement(sql))
    values.iterator.zipWithIndex.foreach((value, at) => statement.setObject(at + 1, value))
    statement

  private def run(connection: Connection, statements: String*): Unit =
    Using.resource(connection.createStatement())(statement => statements.foreach(statement.execute(_)))

  private def unusable(e: SQLException) = Failure.away(s"--state: $path cannot be used: ${e.getMessage}")

object StateLedger:
  private val BusyMs = 5000
  private val BusyAgainMs = 20

  private val SelectNext = """SELECT next FROM offsets WHERE "group"=? AND topic=? AND partition=?"""
  private val InsertNext = """INSERT OR IGNORE INTO offsets("group", topic, partition, next) VALUES(?,?,?,?)"""
  private val UpdateNext = """UPDATE offsets SET next=? WHERE "group"=? AND topic=? AND partition=? AND next=?"""
  private val SelectSum = """SELECT count, units FROM sums WHERE "group"=? AND topic=? AND account=?"""
  private val SelectSums = """SELECT account, count, units FROM sums WHERE "group"=? AND topic=? ORDER BY account"""
  private val UpsertSum =
    """INSERT INTO sums("group", topic, account, units, count) VALUES(?,?,?,?,?)
      |ON CONFLICT("group", topic, account) DO UPDATE SET units=excluded.units, count=excluded.count""".stripMargin

  private object Overtaken extends Exception("", null, false, false)
