package headwater

import com.google.gson.{JsonObject, JsonParser}
import com.google.protobuf.DynamicMessage
import com.google.protobuf.util.JsonFormat
import headwater.event.v1.transaction.Transaction
import headwater.transactions.{Cents, Frame, RecordReader, SchemaText}
import java.nio.file.{Files, Path}
import java.util.HexFormat
import org.apache.kafka.clients.producer.internals.BuiltInPartitioner
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
      if frame.messageOffset == bytes.length - payload.length && !(bytes(5) == 2 && bytes(6) == 0) then
        assertEquals(hex.formatHex(Frame.prefix(id, indexes) ++ payload), hex.formatHex(bytes), name)
      if fullName == "headwater.event.v1.Transaction" && vector.has("value") then
        val meant = DynamicMessage.newBuilder(Transaction.javaDescriptor)
        JsonFormat.parser().ignoringUnknownFields().merge(vector.get("value").toString, meant)
        val read = Transaction.parseFrom(payload)
        assertEquals(read.discardUnknownFields, Transaction.parseFrom(meant.build().toByteArray), name)
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
    for vector <- all("keys.json", "keys") do
      val key = hex.parseHex(vector.get("key_hex").getAsString)
      for (count, partition) <- vector.getAsJsonObject("partitions").asMap.asScala do
        assertEquals(BuiltInPartitioner.partitionForKey(key, count.toInt), partition.getAsInt, vector.toString)
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
