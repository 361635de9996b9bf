package headwater.transactions

import com.google.gson.{JsonElement, JsonObject, JsonPrimitive}
import com.google.protobuf.Descriptors.FieldDescriptor
import com.google.protobuf.Descriptors.FieldDescriptor.JavaType
import com.google.protobuf.util.JsonFormat
import com.google.protobuf.{DynamicMessage, InvalidProtocolBufferException}
import headwater.event.v1.transaction.Transaction
import java.nio.charset.StandardCharsets
import java.time.LocalDateTime
import java.time.format.DateTimeParseException
import scala.collection.mutable
import scala.jdk.CollectionConverters.*

/** A transaction of named values, as ProtoJSON has them. What a value is, is looked at before the library reads it,
  * which takes a list of a number for the number. Fields are found by the message's descriptor, so that a field that
  * the contract gains needs no new code here.
  */
object Fields:
  /** What is wrong with a line; it begins with the field, where it is one's. */
  final class Refused(text: String) extends Exception(text, null, false, false)

  private val descriptor = Transaction.javaDescriptor
  private val parser = JsonFormat.parser()

  /** By both spellings. */
  val ByName: Map[String, FieldDescriptor] =
    descriptor.getFields.asScala.flatMap(field => List(field.getName -> field, field.getJsonName -> field)).toMap

  /** The names, for people. */
  val Names: String = descriptor.getFields.asScala.map(_.getName).mkString(", ")

  private val NotFinite = Set("NaN", "Infinity", "-Infinity")
  private val Number = "-?[0-9]+(\\.[0-9]+)?([eE][+-]?[0-9]+)?".r
  private val Time = ("([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})" +
    "(?:\\.[0-9]{1,9})?(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])").r

  /** The transaction of fields by either spelling of their names; null is a field that is not there. */
  def transaction(values: Iterable[(String, JsonElement)]): Transaction =
    val whole = DynamicMessage.newBuilder(descriptor)
    val seen = mutable.Set[FieldDescriptor]()
    for (name, value) <- values do
      val field = ByName.getOrElse(name, throw Refused(s"$name: the contract has no such field; it has $Names"))
      if !seen.add(field) then throw Refused(s"${field.getName}: is there twice")
      if !value.isJsonNull then
        def refused(problem: String) = throw Refused(s"${field.getName}: $value is not valid: $problem")
        val one = JsonObject()
        one.add(field.getName, if field.isRepeated then value else checked(field, value).fold(refused, identity))
        try parser.merge(one.toString, whole)
        catch case e: InvalidProtocolBufferException => refused(e.getMessage)
    Transaction.parseFrom(whole.build().toByteArray)

  /** The value as the library is to read it, or what is wrong with it. */
  private def checked(field: FieldDescriptor, value: JsonElement): Either[String, JsonElement] =
    val text = Option(value).collect { case one: JsonPrimitive if one.isString => one.getAsString }
    field.getJavaType match
      case JavaType.STRING => text.toRight("it is no text").filterOrElse(isWhole, "half a character").map(_ => value)
      case JavaType.DOUBLE | JavaType.FLOAT if !text.exists(NotFinite) =>
        Option(value)
          .collect { case one: JsonPrimitive if !one.isBoolean => one.getAsString }
          .filter(Number.matches)
          .toRight("it is no number")
          .map(_.toDouble)
          .filterOrElse(_.abs <= Double.MaxValue, "it is too great")
          .map(JsonPrimitive(_))
      case JavaType.BOOLEAN if text.isDefined => Left("it is a text")
      case JavaType.MESSAGE if field.getMessageType.getFullName == "google.protobuf.Timestamp" =>
        Either.cond(text.exists(isTime), value, "write a time as 2026-01-02T03:04:05Z")
      case _ => Right(value)

  private def isWhole(text: String): Boolean = StandardCharsets.UTF_8.newEncoder().canEncode(text)

  private def isTime(text: String): Boolean = text match
    case Time(local) =>
      try LocalDateTime.parse(local) != null
      catch case _: DateTimeParseException => false
    case _ => false
