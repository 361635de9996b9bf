package headwater.transactions

import com.google.protobuf.InvalidProtocolBufferException
import headwater.event.v1.transaction.Transaction
import com.google.protobuf.CodedInputStream

/** Reads a record's value, whatever it is: a transaction, or the platform's reason why it is none. */
final class RecordReader(schemaText: Int => Option[String]):
  import RecordReader.*

  /** What was found out about schemas and paths: bounded, because foreign records can carry any id. */
  private val known = new java.util.LinkedHashMap[(Int, List[Int]), Verdict](64, 0.75f, true):
    override def removeEldestEntry(eldest: java.util.Map.Entry[(Int, List[Int]), Verdict]) = size > KnownMax
  private var lastId = 0
  private var lastIndexes = List.empty[Int]
  private var lastVerdict: Verdict = None

  def read(value: Array[Byte]): Counted | Skipped =
    try
      val frame = Frame.parse(value)
      // Nearly every record has the schema of the one before.
      if frame.schemaId != lastId || frame.indexes != lastIndexes then
        val key = (frame.schemaId, frame.indexes)
        if !known.containsKey(key) then known.put(key, judge(frame))
        lastVerdict = known.get(key)
        lastId = frame.schemaId
        lastIndexes = frame.indexes
      lastVerdict match
        case Some(skipped) => skipped
        case None =>
          val size = value.length - frame.messageOffset
          val tx = Transaction.parseFrom(CodedInputStream.newInstance(value, frame.messageOffset, size))
          Rules.check(tx) match
            case cents: Long => Counted(tx.accountNumber, cents, tx.unknownFields.asMap.nonEmpty)
            case broken: Rules.Broken => Skipped(broken.reason, s"${broken.field}: ${broken.text}")
    catch
      case bad: Frame.Bad => Skipped("BAD_FRAME", bad.getMessage)
      case bad: InvalidProtocolBufferException =>
        Skipped("MALFORMED", s"the message cannot be decoded: ${bad.getMessage}")

  private def judge(frame: Frame): Verdict =
    val id = Integer.toUnsignedString(frame.schemaId)
    schemaText(frame.schemaId).map(SchemaText.parse) match
      case None => Some(Skipped("UNKNOWN_SCHEMA", s"the registry has no schema with the id $id"))
      case Some(schema) =>
        val path = frame.indexes.mkString("[", ",", "]")
        schema.nameAt(frame.indexes) match
          case Some(MessageName) => None
          case Some(other) =>
            Some(Skipped("WRONG_SCHEMA", s"the message $path of schema $id is $other, not $MessageName"))
          case None => Some(Skipped("WRONG_SCHEMA", s"schema $id has no message $path"))

object RecordReader:
  private type Verdict = Option[Skipped]

  val MessageName: String = Transaction.scalaDescriptor.fullName
  private val KnownMax = 1000

  final case class Skipped(reason: String, text: String)

  /** A transaction that counts; `newer` where it carries fields that this program does not know. */
  final case class Counted(account: String, cents: Long, newer: Boolean)
