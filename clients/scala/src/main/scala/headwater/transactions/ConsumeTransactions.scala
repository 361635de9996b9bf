package headwater.transactions

import java.time.Duration
import java.util.List as JList
import java.util.concurrent.atomic.AtomicBoolean
import org.apache.kafka.clients.consumer.{ConsumerConfig, ConsumerRecords, KafkaConsumer}
import org.apache.kafka.clients.consumer.{OffsetOutOfRangeException, RangeAssignor}
import org.apache.kafka.common.TopicPartition
import org.apache.kafka.common.serialization.ByteArrayDeserializer
import scopt.OParser
import scala.jdk.CollectionConverters.*

/** Counts the transactions of a topic: the sum of each account, to the cent. */
object ConsumeTransactions:
  final case class Settings(
      common: Common = Common(),
      group: String = "",
      state: Option[String] = None,
      latest: Boolean = false,
      idleExitS: Option[Double] = None,
      count: Long = Long.MaxValue
  )

  private type Polled = ConsumerRecords[Array[Byte], Array[Byte]]
  private val PollMs = 100L
  private val PollRecordsMax = 10000

  private val parser =
    val builder = OParser.builder[Settings]
    import builder.*
    OParser.sequence(
      programName("headwater-consume-transactions"),
      head("Counts the transactions of a topic: the sum of each account, to the cent."),
      Flags.common(builder)((c, f) => c.copy(common = f(c.common))),
      opt[String]('g', "group")
        .required()
        .valueName("GROUP")
        .validate(x => if x.nonEmpty then Right(()) else Left("--group: a name is needed"))
        .action((x, c) => c.copy(group = x))
        .text("consumer group"),
      opt[String]("state")
        .valueName("FILE")
        .action((x, c) => c.copy(state = Some(x)))
        .text("keep sums and offsets in this SQLite file: nothing is lost or counted twice"),
      opt[String]("from")
        .validate(x => if x == "earliest" || x == "latest" then Right(()) else Left("--from: earliest or latest"))
        .action((x, c) => c.copy(latest = x == "latest"))
        .text("where a group without offsets begins: earliest or latest [earliest]"),
      opt[Double]("idle-exit")
        .validate(x => if x > 0 then Right(()) else Left("--idle-exit: more than 0"))
        .action((x, c) => c.copy(idleExitS = Some(x)))
        .text("end after so many seconds without a record"),
      opt[Long]("count")
        .validate(x => if x > 0 then Right(()) else Left("--count: 1 or more"))
        .action((x, c) => c.copy(count = x))
        .text("end after so many records")
    )

  def main(args: Array[String]): Unit = Program.run("headwater-consume-transactions") { stopping =>
    run(Flags.parse(parser, args.toSeq, Settings()), stopping)
  }

  def properties(common: Common, group: String): java.util.Properties = Broker.properties(
    Map(
      ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG -> common.broker,
      ConsumerConfig.GROUP_ID_CONFIG -> group,
      // Members in other languages know this one too.
      ConsumerConfig.PARTITION_ASSIGNMENT_STRATEGY_CONFIG -> classOf[RangeAssignor].getName,
      ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG -> false,
      // An offset outside the log is told, never skipped.
      ConsumerConfig.AUTO_OFFSET_RESET_CONFIG -> "none",
      ConsumerConfig.ALLOW_AUTO_CREATE_TOPICS_CONFIG -> false,
      ConsumerConfig.SESSION_TIMEOUT_MS_CONFIG -> 6000,
      ConsumerConfig.HEARTBEAT_INTERVAL_MS_CONFIG -> 2000,
      ConsumerConfig.MAX_POLL_RECORDS_CONFIG -> PollRecordsMax
    ),
    common.extra
  )

  def run(settings: Settings, stopping: AtomicBoolean): Int =
    val common = settings.common
    val timeout = Duration.ofMillis((common.timeoutS * 1000).toLong)
    val say: String => Unit = if common.quiet then _ => () else System.err.println(_)
    Broker.partitions(common.broker, common.topic, common.timeoutS, common.extra)
    val registry = Registry(common.registry, common.timeoutS)
    // A registry that is away should be told now and not at the first record.
    registry.latest(s"${common.topic}-value")
    val state = settings.state.map(StateLedger(_, settings.group, common.topic))
    val ledger: Ledger = state.getOrElse(MemoryLedger())
    val tally = Tally(common.topic, ledger, RecordReader(registry.byId), common.quiet)
    val started = System.nanoTime
    try
      Broker.guarded(common.broker, common.topic, common.timeoutS) {
        val consumer =
          KafkaConsumer(properties(common, settings.group), ByteArrayDeserializer(), ByteArrayDeserializer())
        val assignments = Assignments(consumer, state, settings.latest, timeout, say)
        try
          consumer.subscribe(JList.of(common.topic), assignments)
          loop(settings, consumer, assignments, tally, stopping)
          assignments.commitNow()
        catch case e: OffsetOutOfRangeException => throw outside(e, consumer, timeout)
        finally consumer.close(org.apache.kafka.clients.consumer.CloseOptions.timeout(timeout))
      }
    finally
      tally.print((System.nanoTime - started) / 1e9, common.summary)
      ledger.close()
    0

  private def loop(
      settings: Settings,
      consumer: KafkaConsumer[Array[Byte], Array[Byte]],
      assignments: Assignments,
      tally: Tally,
      stopping: AtomicBoolean
  ): Unit =
    val timeout = Duration.ofMillis((settings.common.timeoutS * 1000).toLong)
    var lastRecord = System.nanoTime
    var lastAnswer = lastRecord
    var idle = false
    while !stopping.get && !idle && tally.records < settings.count do
      val polled = consumer.poll(Duration.ofMillis(PollMs))
      val parts = take(polled, settings.count - tally.records, assignments)
      if parts.nonEmpty then
        if tally.add(parts.map(_._2)) then
          parts.foreach((partition, part) => assignments.moveTo(partition, part.move.to))
        else
          System.err.println("another member has counted some of these records; going on where it is")
          parts.foreach((partition, _) => assignments.follow(partition))
      assignments.commitLater()
      val now = System.nanoTime
      if !polled.isEmpty then
        lastRecord = now
        lastAnswer = now
      idle = settings.idleExitS.exists(limit => now - lastRecord > limit * 1e9)
      // The client waits for a lost broker for ever: ask it something, now and then, that has an end.
      if !idle && now - lastAnswer > timeout.toNanos then
        if consumer.assignment.isEmpty then consumer.listTopics(timeout)
        else consumer.endOffsets(consumer.assignment, timeout)
        lastAnswer = System.nanoTime

  /** The first so many records, by partition. */
  private def take(polled: Polled, most: Long, assignments: Assignments): Seq[(TopicPartition, Tally.Part)] =
    var left = most
    polled.partitions.asScala.toSeq.flatMap { partition =>
      val all = polled.records(partition)
      val records = if all.size <= left then all else all.subList(0, left.toInt)
      left -= records.size
      Option.unless(records.isEmpty) {
        val next = records.get(records.size - 1).offset + 1
        partition -> Tally.Part(Move(partition.partition, assignments.nextOf(partition), next), records)
      }
    }

  private def outside(
      e: OffsetOutOfRangeException,
      consumer: KafkaConsumer[Array[Byte], Array[Byte]],
      timeout: Duration
  ): Failure =
    val at = e.offsetOutOfRangePartitions.asScala.map { (partition, offset) =>
      val one = JList.of(partition)
      val first = consumer.beginningOffsets(one, timeout).get(partition)
      val end = consumer.endOffsets(one, timeout).get(partition)
      s"$partition at $offset is outside the log ($first to $end)"
    }
    Failure.away(
      s"${at.mkString("; ")}: records are gone, or the topic was made anew. Nothing was skipped; " +
        "begin again with another --group (and --state)"
    )
