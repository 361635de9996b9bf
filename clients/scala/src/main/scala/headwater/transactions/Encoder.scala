package headwater.transactions

import com.google.protobuf.CodedOutputStream
import headwater.event.v1.transaction.Transaction

/** Writes framed transactions under one schema. */
final class Encoder(val schemaId: Int, indexes: List[Int]):
  private val prefix = Frame.prefix(schemaId, indexes)

  def encode(tx: Transaction): Array[Byte] =
    val bytes = java.util.Arrays.copyOf(prefix, prefix.length + tx.serializedSize)
    val out = CodedOutputStream.newInstance(bytes, prefix.length, bytes.length - prefix.length)
    tx.writeTo(out)
    out.checkNoSpaceLeft()
    bytes

object Encoder:
  /** The encoder for a topic, by the latest schema of its subject. */
  def of(registry: Registry, topic: String): Encoder =
    val subject = s"$topic-value"
    val (id, text) = registry.latest(subject)
    val indexes = SchemaText
      .parse(text)
      .indexesOf(RecordReader.MessageName)
      .getOrElse(
        throw Failure.away(
          s"the subject $subject (schema $id) has no message ${RecordReader.MessageName}: " +
            "check --topic and --schema-registry"
        )
      )
    Encoder(id, indexes)
