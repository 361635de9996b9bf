package headwater.transactions

import com.google.gson.JsonObject
import java.util.concurrent.atomic.AtomicBoolean
import java.util.concurrent.locks.LockSupport
import org.apache.kafka.clients.producer.{KafkaProducer, ProducerConfig}
import org.apache.kafka.common.serialization.ByteArraySerializer
import scopt.OParser

/** Sends transactions: those of a file, or made up. */
object ProduceTransactions:
  final case class Settings(
      common: Common = Common(),
      input: Option[String] = None,
      count: Long = 1000,
      customers: Int = 20,
      rate: Double = 0,
      seed: Long = System.nanoTime
  )

  private val parser =
    val builder = OParser.builder[Settings]
    import builder.*
    OParser.sequence(
      programName("headwater-produce-transactions"),
      head("Sends transactions: those of a file, or made up."),
      Flags.common(builder)((c, f) => c.copy(common = f(c.common))),
      opt[String]('i', "input")
        .valueName("FILE")
        .action((x, c) => c.copy(input = Some(x)))
        .text("send those of a file: .csv, else one JSON object a line; - is stdin"),
      opt[Long]("count")
        .validate(x => if x >= 0 then Right(()) else Left("--count: 0 or more"))
        .action((x, c) => c.copy(count = x))
        .text("how many to make up [1000]"),
      opt[Int]("customers")
        .validate(x => if x >= 1 && x <= 1000000 then Right(()) else Left("--customers: 1 to 1000000"))
        .action((x, c) => c.copy(customers = x))
        .text("of how many accounts [20]"),
      opt[Double]("rate")
        .validate(x => if x >= 0 then Right(()) else Left("--rate: 0 or more"))
        .action((x, c) => c.copy(rate = x))
        .text("records per second; 0 is as fast as possible [0]"),
      opt[Long]("seed")
        .action((x, c) => c.copy(seed = x))
        .text("the same accounts, references and amounts for the same number")
    )

  def main(args: Array[String]): Unit = Program.run("headwater-produce-transactions") { stopping =>
    run(settings(args.toSeq), stopping)
  }

  def settings(args: Seq[String]): Settings = Flags.parse(parser, args, Settings())

  /** What the client is told where the user says nothing else: nothing is lost or doubled by the client's own retries.
    */
  def properties(common: Common): java.util.Properties =
    val timeoutMs = (common.timeoutS * 1000).toInt
    if common.extra.get(ProducerConfig.ACKS_CONFIG).contains("0") then
      throw Failure(Failure.Usage, "-X acks=0: records without an acknowledgement cannot be counted; give 1 or all")
    // A record's own time ends before the wait for all of them does, so that a failure is told and not cut off.
    val deliveryMs = math.max(timeoutMs * 8 / 10, 2)
    Broker.properties(
      Map(
        ProducerConfig.BOOTSTRAP_SERVERS_CONFIG -> common.broker,
        ProducerConfig.ACKS_CONFIG -> "all",
        ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG -> true,
        ProducerConfig.LINGER_MS_CONFIG -> 1,
        ProducerConfig.BATCH_SIZE_CONFIG -> 131072,
        ProducerConfig.REQUEST_TIMEOUT_MS_CONFIG -> math.max(deliveryMs / 2, 1),
        ProducerConfig.DELIVERY_TIMEOUT_MS_CONFIG -> deliveryMs,
        ProducerConfig.MAX_BLOCK_MS_CONFIG -> timeoutMs
      ),
      common.extra
    )

  def run(settings: Settings, stopping: AtomicBoolean): Int =
    val rows: Iterator[InputFile.Row] = settings.input match
      case Some(path) => InputFile.rows(path)
      case None => Generator(settings.customers, settings.seed).take(settings.count)
    run(settings, rows, stopping)

  def run(settings: Settings, rows: Iterator[InputFile.Row], stopping: AtomicBoolean): Int =
    val common = settings.common
    val partitions = Broker.partitions(common.broker, common.topic, common.timeoutS, common.extra)
    val encoder = Encoder.of(Registry(common.registry, common.timeoutS), common.topic)
    if !common.quiet then System.err.println(s"${common.topic}: $partitions partitions, schema ${encoder.schemaId}")
    val started = System.nanoTime
    var refused = 0L
    val sink = Broker.guarded(common.broker, common.topic, common.timeoutS) {
      Sink(common.topic, encoder, KafkaProducer(properties(common), ByteArraySerializer(), ByteArraySerializer()))
    }
    val progress = Option.unless(common.quiet)(Progress(() => sink.sent, System.err.println(_)))
    try
      var offered = 0L
      while !stopping.get && sink.failure.isEmpty && rows.hasNext do
        rows.next() match
          case Left(bad) =>
            refused += 1
            System.err.println(s"line ${bad.line}: ${bad.text}")
          case Right(tx) =>
            if settings.rate > 0 then waitUntil(started + (offered / settings.rate * 1e9).toLong, stopping)
            sink.send(tx)
            offered += 1
      Broker.guarded(common.broker, common.topic, common.timeoutS)(sink.flush())
    finally
      progress.foreach(_.close())
      sink.close()
    val seconds = (System.nanoTime - started) / 1e9
    val summary = JsonObject()
    summary.addProperty("sent", sink.sent)
    summary.addProperty("refused", refused)
    summary.addProperty("seconds", seconds)
    summary.addProperty("schema_id", encoder.schemaId)
    Program.writeSummary(common.summary, summary)
    System.err.println(f"${sink.sent} sent, $refused refused in $seconds%.2f s")
    sink.failure.foreach(e =>
      throw Failure.away(
        s"the broker at ${common.broker} did not acknowledge every record (${sink.sent} are): ${e.getMessage}; " +
          "those that are not may be sent again with the same ids"
      )
    )
    if refused > 0 then Failure.Refused else 0

  private def waitUntil(nanos: Long, stopping: AtomicBoolean): Unit =
    while !stopping.get && System.nanoTime < nanos do
      LockSupport.parkNanos(math.min(nanos - System.nanoTime, 50000000L))
