package headwater

import com.google.gson.{Gson, JsonObject, JsonParser}
import headwater.event.v1.transaction.Transaction
import headwater.transactions.{Cents, Frame, ProduceTransactions}
import java.math.BigInteger
import java.net.URI
import java.net.http.{HttpClient, HttpRequest, HttpResponse}
import java.nio.file.{Files, Path}
import java.util.{List as JList, Map as JMap, UUID}
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean
import org.apache.kafka.clients.admin.{Admin, NewTopic}
import org.apache.kafka.clients.consumer.KafkaConsumer
import org.apache.kafka.clients.producer.{KafkaProducer, ProducerRecord, RecordMetadata}
import org.apache.kafka.common.TopicPartition
import org.apache.kafka.common.serialization.{ByteArrayDeserializer, ByteArraySerializer}
import scala.jdk.CollectionConverters.*

/** The real broker and registry, and the programs as processes. */
object Parts:
  private def need(name: String) =
    sys.env.getOrElse(name, throw AssertionError(s"$name is not set: run `make parts`, or `make test`"))
  lazy val kafka: String = need("HEADWATER_TEST_KAFKA")
  lazy val registry: String = need("HEADWATER_TEST_REGISTRY")

  val schema =
    """syntax = "proto3"; package headwater.event.v1; import "google/protobuf/timestamp.proto";
      |message Transaction { string transaction_id = 1; string account_number = 2; string transaction_reference = 3;
      |google.protobuf.Timestamp transaction_datetime = 4; double amount = 5; }""".stripMargin

  /** A topic of its own with the contract registered. */
  def topic(partitions: Int, register: Boolean = true): String =
    val name = s"scala-${UUID.randomUUID()}"
    val admin = Admin.create(JMap.of("bootstrap.servers", kafka))
    try admin.createTopics(JList.of(NewTopic(name, partitions, 1.toShort))).all.get(20, TimeUnit.SECONDS)
    finally admin.close()
    if register then registerSchema(name, schema)
    name

  def registerSchema(topic: String, text: String): Int =
    val body = JsonObject()
    body.addProperty("schemaType", "PROTOBUF")
    body.addProperty("schema", text)
    val request = HttpRequest
      .newBuilder(URI.create(s"$registry/subjects/$topic-value/versions"))
      .header("content-type", "application/json")
      .POST(HttpRequest.BodyPublishers.ofString(Gson().toJson(body)))
    val answer = HttpClient.newHttpClient.send(request.build(), HttpResponse.BodyHandlers.ofString)
    assert(answer.statusCode == 200, answer.body)
    JsonParser.parseString(answer.body).getAsJsonObject.get("id").getAsInt

  /** Sends records of one key, in their order, and says where they are. */
  def send(topic: String, values: Array[Byte]*): Seq[RecordMetadata] =
    val producer =
      KafkaProducer(JMap.of[String, Object]("bootstrap.servers", kafka), ByteArraySerializer(), ByteArraySerializer())
    try
      values
        .map(value => producer.send(ProducerRecord(topic, "foreign".getBytes, value)))
        .map(_.get(20, TimeUnit.SECONDS))
    finally producer.close()

  private def consumer() =
    KafkaConsumer(JMap.of[String, Object]("bootstrap.servers", kafka), ByteArrayDeserializer(), ByteArrayDeserializer())

  private def partitionsOf(consumer: KafkaConsumer[?, ?], topic: String) =
    consumer.partitionsFor(topic).asScala.map(info => TopicPartition(topic, info.partition)).asJava

  /** How many records a topic has. */
  def size(topic: String): Long =
    val c = consumer()
    try c.endOffsets(partitionsOf(c, topic)).values.asScala.map(_.toLong).sum
    finally c.close()

  /** The transactions of a topic, partition by partition in their order. */
  def read(topic: String): Seq[Transaction] =
    val c = consumer()
    try
      val partitions = partitionsOf(c, topic)
      c.assign(partitions)
      c.seekToBeginning(partitions)
      val ends = c.endOffsets(partitions)
      val found = Seq.newBuilder[(Int, Transaction)]
      while partitions.asScala.exists(p => c.position(p) < ends.get(p)) do
        c.poll(java.time.Duration.ofMillis(100)).forEach { record =>
          val bytes = record.value
          found += record.partition -> Transaction.parseFrom(bytes.drop(Frame.parse(bytes).messageOffset))
        }
      found.result().sortBy(_._1).map(_._2)
    finally c.close()

  /** The sums that a consumer must come to. */
  def sums(transactions: Seq[Transaction]): Map[String, String] =
    transactions
      .groupMapReduce(_.accountNumber)(tx => BigInteger.valueOf(Cents.of(tx.amount).get))(_.add(_))
      .view
      .mapValues(Cents.text)
      .toMap

  /** Waits until something holds. */
  def await(what: => String, seconds: Int = 20)(holds: => Boolean): Unit =
    val until = System.nanoTime + seconds * 1000000000L
    while !holds do
      if System.nanoTime > until then throw AssertionError(s"not within $seconds s: $what")
      Thread.sleep(20)

  final case class Ended(code: Int, out: String, err: String, summary: Option[JsonObject]):
    def figure(name: String): Long = summary.get.get(name).getAsLong
    def sums: Map[String, String] =
      summary.get.getAsJsonObject("sums").asMap.asScala.view.mapValues(_.getAsString).toMap

  final class Running(process: Process, out: Path, err: Path, summary: Path):
    def outText: String = Files.readString(out)
    def errText: String = Files.readString(err)
    def terminate(): Unit = process.destroy()
    def interrupt(): Unit = ProcessBuilder("kill", "-INT", process.pid.toString).start().waitFor(): Unit
    def kill(): Unit = process.destroyForcibly().waitFor(): Unit
    def end(): Ended =
      if !process.waitFor(60, TimeUnit.SECONDS) then
        process.destroyForcibly()
        throw AssertionError(s"still running: $errText")
      val json = Option.when(Files.size(summary) > 0)(JsonParser.parseString(Files.readString(summary)).getAsJsonObject)
      Ended(process.exitValue, outText, errText, json)

  def start(main: String, args: String*): Running =
    val List(out, err, summary) =
      List("out", "err", "json").map(name => Files.createTempFile("headwater-scala", name)): @unchecked
    val java = List(
      // Where SIGINT was ignored, as it is of what a shell runs in the background, a JVM would leave it so.
      "env",
      "--default-signal=INT",
      "java",
      "-Xmx256m",
      "-XX:+UseSerialGC",
      "-XX:TieredStopAtLevel=1",
      "-cp",
      sys.props.getOrElse("surefire.test.class.path", sys.props("java.class.path")),
      s"headwater.transactions.$main"
    )
    val process = ProcessBuilder((java ++ args ++ List("--summary", summary.toString)).asJava)
      .redirectOutput(out.toFile)
      .redirectError(err.toFile)
      .start()
    Running(process, out, err, summary)

  /** The producer, through another address of the broker or the registry where that is given. */
  def producing(topic: String, args: Seq[String], broker: String = kafka, registry: String = registry): Running =
    start("ProduceTransactions", List("-b", broker, "-s", registry, "-t", topic) ++ args*)
  def produce(topic: String, args: String*): Ended = producing(topic, args).end()

  /** What the producer does, within the test: what is not about the program needs no process. */
  def fill(topic: String, args: String*): Unit =
    val settings = ProduceTransactions.settings(List("-b", kafka, "-s", registry, "-t", topic, "--quiet") ++ args)
    val code = ProduceTransactions.run(settings, AtomicBoolean(false))
    assert(code == 0, s"exit code $code")

  def consumingBy(topic: String, group: String, args: Seq[String], broker: String = kafka): Running =
    start("ConsumeTransactions", List("-b", broker, "-s", registry, "-t", topic, "-g", group) ++ args*)
  def consuming(topic: String, group: String, args: String*): Running = consumingBy(topic, group, args)
