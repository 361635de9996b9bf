package headwater

import com.google.gson.{Gson, JsonObject, JsonParser}
import java.net.URI
import java.net.http.{HttpClient, HttpRequest, HttpResponse}
import java.nio.file.{Files, Path}
import java.util.{List as JList, Map as JMap, UUID}
import java.util.concurrent.TimeUnit
import org.apache.kafka.clients.admin.{Admin, NewTopic}
import org.apache.kafka.clients.producer.{KafkaProducer, ProducerRecord}
import org.apache.kafka.common.serialization.ByteArraySerializer
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

  def send(topic: String, values: Array[Byte]*): Unit =
    val producer =
      KafkaProducer(JMap.of[String, Object]("bootstrap.servers", kafka), ByteArraySerializer(), ByteArraySerializer())
    try
      values
        .map(value => producer.send(ProducerRecord(topic, "foreign".getBytes, value)))
        .foreach(_.get(20, TimeUnit.SECONDS))
    finally producer.close()

  final case class Ended(code: Int, out: String, err: String, summary: Option[JsonObject])

  final class Running(process: Process, out: Path, err: Path, summary: Path):
    def outText: String = Files.readString(out)
    def terminate(): Unit = process.destroy()
    def kill(): Unit = process.destroyForcibly()
    def end(): Ended =
      if !process.waitFor(60, TimeUnit.SECONDS) then
        process.destroyForcibly()
        throw AssertionError(s"still running: ${Files.readString(err)}")
      val json = Option.when(Files.size(summary) > 0)(JsonParser.parseString(Files.readString(summary)).getAsJsonObject)
      Ended(process.exitValue, outText, Files.readString(err), json)

  def start(main: String, args: String*): Running =
    val List(out, err, summary) =
      List("out", "err", "json").map(name => Files.createTempFile("headwater-scala", name)): @unchecked
    val java = List(
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

  def produce(topic: String, args: String*): Ended =
    start("ProduceTransactions", List("-b", kafka, "-s", registry, "-t", topic) ++ args*).end()
  def consuming(topic: String, group: String, args: String*): Running =
    start("ConsumeTransactions", List("-b", kafka, "-s", registry, "-t", topic, "-g", group) ++ args*)
