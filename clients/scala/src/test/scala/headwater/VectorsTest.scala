package headwater

import com.google.gson.{JsonObject, JsonParser}
import com.google.protobuf.{DynamicMessage, TimestampProto}
import com.google.protobuf.DescriptorProtos.FileDescriptorSet
import com.google.protobuf.Descriptors.FileDescriptor
import com.google.protobuf.util.JsonFormat
import headwater.event.v1.transaction.Transaction
import headwater.transactions.*
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path}
import java.util.HexFormat
import org.apache.kafka.clients.producer.KafkaProducer
import org.apache.kafka.common.serialization.ByteArraySerializer
import scala.collection.mutable
import scala.jdk.CollectionConverters.*

/** The bytes that every language agrees on, read and written. */
class VectorsTest extends munit.FunSuite:
  private val vectors = Path.of(sys.props("basedir")).resolve("../../tests/conformance/vectors")
  private val hex = HexFormat.of()

  private def all(file: String, name: String): Seq[JsonObject] =
    val list = JsonParser
      .parseString(Files.readString(vectors.resolve(file)))
      .getAsJsonObject
      .getAsJsonArray(name)
      .asScala
      .map(_.getAsJsonObject)
      .toSeq
    assert(list.nonEmpty, s"$file has no $name")
    list

  private val files = mutable.Map.empty[String, FileDescriptor]

  /** A schema's text as protoc reads it, with the build's own protoc. */
  private def compiled(text: String): FileDescriptor = files.getOrElseUpdate(
    text, {
      val folder = Files.createTempDirectory("headwater-scala-protoc")
      val timestamp = folder.resolve("google/protobuf/timestamp.proto")
      Files.createDirectories(timestamp.getParent)
      val resource = classOf[DynamicMessage].getResourceAsStream("/google/protobuf/timestamp.proto")
      try Files.copy(resource, timestamp)
      finally resource.close()
      Files.writeString(folder.resolve("vector.proto"), text)
      // As Maven has it, it may not be run.
      val kept = Files.list(Path.of(sys.props("protoc.folder"))).filter(_.toString.endsWith(".exe")).findAny.get
      val protoc = Files.copy(kept, folder.resolve("protoc"))
      protoc.toFile.setExecutable(true)
      val made = ProcessBuilder(protoc.toString, s"-I$folder", s"-o$folder/set", "vector.proto")
        .redirectErrorStream(true)
        .start()
      val said = String(made.getInputStream.readAllBytes())
      assertEquals(made.waitFor(), 0, said)
      val file = FileDescriptorSet.parseFrom(Files.readAllBytes(folder.resolve("set"))).getFile(0)
      FileDescriptor.buildFrom(file, Array(TimestampProto.getDescriptor).take(file.getDependencyCount))
    }
  )

  test("frames") {
    for vector <- all("frames.json", "frames") do
      val name = vector.get("name").getAsString
      val bytes = hex.parseHex(vector.get("frame_hex").getAsString)
      val payload = hex.parseHex(vector.get("payload_hex").getAsString)
      val indexes = vector.getAsJsonArray("message_indexes").asScala.map(_.getAsInt).toList
      val id = vector.get("schema_id").getAsInt
      val frame = Frame.parse(bytes)
      assertEquals((frame.schemaId, frame.indexes), (id, indexes), name)
      assertEquals(hex.formatHex(bytes.drop(frame.messageOffset)), hex.formatHex(payload), name)
      val fullName = vector.get("message").getAsString
      val schema = SchemaText.parse(vector.get("schema").getAsString)
      assertEquals(schema.nameAt(indexes), Some(fullName), name)
      assertEquals(schema.indexesOf(fullName), Some(indexes), name)
      if !Option(vector.get("read_only")).exists(_.getAsBoolean) then
        assertEquals(hex.formatHex(Frame.prefix(id, indexes) ++ payload), hex.formatHex(bytes), name)
      // What it means, by the vector's own schema.
      val descriptor =
        indexes.tail.foldLeft(compiled(vector.get("schema").getAsString).getMessageTypes.get(indexes.head))(
          _.getNestedTypes.get(_)
        )
      assertEquals(descriptor.getFullName, fullName, name)
      val meant = DynamicMessage.newBuilder(descriptor)
      JsonFormat.parser().merge(vector.get("value").toString, meant)
      assertEquals(DynamicMessage.parseFrom(descriptor, payload), meant.build(), name)
      // And by the contract that the programs are built with.
      if fullName == Transaction.scalaDescriptor.fullName then
        val known = DynamicMessage.newBuilder(Transaction.javaDescriptor)
        JsonFormat.parser().ignoringUnknownFields().merge(vector.get("value").toString, known)
        val read = Transaction.parseFrom(payload)
        assertEquals(read.discardUnknownFields, Transaction.parseFrom(known.build().toByteArray), name)
        if read.unknownFields.asMap.isEmpty then
          assertEquals(hex.formatHex(read.toByteArray), hex.formatHex(payload), name)
  }

  test("bytes that are no frame") {
    val says = Map("truncated" -> "cut off", "magic" -> "begins with the byte", "indexes" -> "message index")
    val reader = RecordReader(_ => fail("the registry was asked about what is no frame"))
    for vector <- all("frames.json", "bad") do
      val name = vector.get("name").getAsString
      reader.read(hex.parseHex(vector.get("frame_hex").getAsString)) match
        case skipped: RecordReader.Skipped =>
          assertEquals(skipped.reason, vector.get("reason").getAsString, name)
          assert(skipped.text.contains(says(vector.get("error").getAsString)), s"$name: ${skipped.text}")
        case counted: RecordReader.Counted => fail(s"$name: $counted")
    // A spelling that readers take.
    assertEquals(Frame.parse(hex.parseHex("00000000010200")).indexes, List(0))
  }

  test("keys") {
    val vectors = all("keys.json", "keys")
    val partitions = vectors.head.getAsJsonObject("partitions").keySet.asScala
    val broker = FakeBroker()
    try
      val properties = ProduceTransactions.properties(Common(broker.address))
      for count <- partitions do
        val producer = KafkaProducer(properties, ByteArraySerializer(), ByteArraySerializer())
        val sink = Sink(s"keys-$count", Encoder(1, List(0)), producer)
        try
          for vector <- vectors do
            sink.send(Transaction(accountNumber = String(hex.parseHex(vector.get("key_hex").getAsString), UTF_8)))
          sink.flush()
          assertEquals((sink.failure, sink.sent), (None, vectors.size.toLong))
        finally sink.close()
      val expected =
        for vector <- vectors; (count, partition) <- vector.getAsJsonObject("partitions").asMap.asScala
        yield (s"keys-$count", vector.get("key_hex").getAsString, partition.getAsInt)
      val sent = broker.kept.asScala.toSeq.map(record => (record.topic, hex.formatHex(record.key), record.partition))
      assertEquals(sent.sorted, expected.sorted)
    finally broker.close()
  }

  test("amounts") {
    for vector <- all("amounts.json", "amounts") do
      val amount =
        java.lang.Double.longBitsToDouble(java.lang.Long.parseUnsignedLong(vector.get("ieee_hex").getAsString, 16))
      val cents = vector.get("cents")
      assertEquals(Cents.of(amount), Option.when(!cents.isJsonNull)(cents.getAsLong), vector.toString)
  }

  test("names in a schema's text") {
    val text = """
      // message No {
      syntax = "proto3"; package a.b;
      option java_package = "message Fake {";
      enum E { Z = 0; }
      message First { enum In { A = 0; } message Inner { oneof x { string message = 1; } } message Second {} }
      /* message Never {} */
      message Last { option (o) = { name: "x" stats: { sum: { } } }; message Deep { message Deeper {} } }"""
    val schema = SchemaText.parse(text)
    assertEquals(schema.nameAt(List(0)), Some("a.b.First"))
    assertEquals(schema.nameAt(List(0, 1)), Some("a.b.First.Second"))
    assertEquals(schema.indexesOf("a.b.Last.Deep.Deeper"), Some(List(1, 0, 0)))
    assertEquals(schema.nameAt(List(2)), None)
  }
