package headwater.transactions

import java.io.ByteArrayOutputStream

/** The Confluent frame of a Protobuf message: a zero byte, the schema's id (4 bytes, big-endian), the path to the
  * message within the schema (a count and that many indexes, each a zigzag varint; `[0]` is written as one zero byte),
  * the message.
  *
  * The serializer that does this is not on Maven Central; `tests/conformance` holds the bytes that every language
  * agrees on.
  */
final case class Frame(schemaId: Int, indexes: List[Int], messageOffset: Int)

object Frame:
  /** Messages may be nested that deep, at most. */
  val IndexesMax = 16
  private val VarintBytesMax = 5
  private val First = List(0)

  final class Bad(message: String) extends Exception(message, null, false, false)

  /** What goes before a message. */
  def prefix(schemaId: Int, indexes: List[Int]): Array[Byte] =
    val out = ByteArrayOutputStream(16)
    out.write(0)
    for shift <- List(24, 16, 8, 0) do out.write(schemaId >>> shift)
    if indexes == First then out.write(0)
    else (indexes.size :: indexes).foreach(putVarint(out, _))
    out.toByteArray

  /** Takes a frame apart. Throws `Bad` where the bytes are no frame; the message itself is not looked at. */
  def parse(bytes: Array[Byte]): Frame =
    if bytes == null || bytes.length < 6 || bytes(0) != 0 then throw noFrame(bytes)
    val schemaId = (bytes(1) & 0xff) << 24 | (bytes(2) & 0xff) << 16 | (bytes(3) & 0xff) << 8 | bytes(4) & 0xff
    if bytes(5) == 0 then Frame(schemaId, First, 6) else withPath(bytes, schemaId)

  private def withPath(bytes: Array[Byte], schemaId: Int): Frame =
    val cursor = Cursor(bytes, 5)
    val count = cursor.varint()
    if count < 0 || count > IndexesMax then throw Bad(s"the frame has $count message indexes; 0 to $IndexesMax can be")
    val indexes = List.fill(count)(cursor.varint())
    indexes.find(_ < 0).foreach(index => throw Bad(s"the frame has the message index $index, which is negative"))
    Frame(schemaId, if indexes.isEmpty then First else indexes, cursor.at)

  private def noFrame(bytes: Array[Byte]): Bad =
    if bytes == null then Bad("the record has no value")
    else if bytes.length > 0 && bytes(0) != 0 then Bad(s"the frame begins with the byte ${bytes(0) & 0xff}, not with 0")
    else cutOff(bytes)

  private def cutOff(bytes: Array[Byte]) = Bad(s"the frame is cut off after ${bytes.length} bytes")

  private def putVarint(out: ByteArrayOutputStream, value: Int): Unit =
    var zigzag = (value << 1) ^ (value >> 31)
    while (zigzag & ~0x7f) != 0 do
      out.write(zigzag & 0x7f | 0x80)
      zigzag >>>= 7
    out.write(zigzag)

  private final class Cursor(bytes: Array[Byte], var at: Int):
    def varint(): Int =
      var zigzag = 0
      var place = 0
      var more = true
      while more do
        if at >= bytes.length then throw cutOff(bytes)
        val byte = bytes(at)
        at += 1
        // The fifth byte has room for four bits, and no sixth may follow.
        if place == VarintBytesMax - 1 && (byte & 0xf0) != 0 then
          throw Bad("the frame has a message index that is no number")
        zigzag |= (byte & 0x7f) << (7 * place)
        place += 1
        more = byte < 0
      (zigzag >>> 1) ^ -(zigzag & 1)
