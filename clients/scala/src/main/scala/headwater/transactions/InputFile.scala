package headwater.transactions

import com.google.gson.{Gson, JsonElement, JsonObject, JsonPrimitive, Strictness}
import com.google.gson.stream.JsonReader
import com.google.protobuf.{DynamicMessage, InvalidProtocolBufferException}
import com.google.protobuf.Descriptors.FieldDescriptor
import com.google.protobuf.util.JsonFormat
import headwater.event.v1.transaction.Transaction
import java.io.{BufferedInputStream, ByteArrayOutputStream, FileInputStream, InputStream, StringReader}
import java.nio.ByteBuffer
import java.nio.charset.{CharacterCodingException, StandardCharsets}
import org.apache.commons.csv.{CSVFormat, CSVParser}
import scala.jdk.CollectionConverters.*

/** Reads transactions from CSV or NDJSON. Fields are found by the message's descriptor, so that a field that the
  * contract gains needs no new code here.
  */
object InputFile:
  /** A line that is none, with its number: what is refused. */
  final case class BadLine(line: Long, text: String)

  type Row = Either[BadLine, Transaction]

  /** Bytes of a line, or of a CSV record over several lines, at most. */
  val LineBytesMax = 1 << 20

  /** Columns that a CSV must have. */
  private val Required = List("transaction_id", "account_number", "transaction_datetime", "amount")

  private val descriptor = Transaction.javaDescriptor
  private val fields: Map[String, FieldDescriptor] =
    descriptor.getFields.asScala.flatMap(field => List(field.getName -> field, field.getJsonName -> field)).toMap
  private val parser = JsonFormat.parser()
  private val gson = Gson()

  final private class Refused(text: String) extends Exception(text, null, false, false)

  /** The rows of a file; "-" is stdin. A file that cannot be read at all is a failure. */
  def rows(path: String): Iterator[Row] =
    val in =
      if path == "-" then System.in
      else
        try FileInputStream(path)
        catch
          case e: java.io.IOException => throw Failure(Failure.Usage, s"--input: $path cannot be read: ${e.getMessage}")
    rows(in, csv = path.toLowerCase.endsWith(".csv"))

  def rows(in: InputStream, csv: Boolean): Iterator[Row] =
    val lines = Lines(BufferedInputStream(in, 1 << 16))
    if csv then csvRows(lines) else lines.filterNot(_.isBlank).map(line => row(line)(json(line.text)))

  private def csvRows(lines: Lines): Iterator[Row] =
    val records = CsvRecords(lines)
    if !records.hasNext then
      throw Failure(Failure.Usage, "--input: the file has no header; its first line must name the fields")
    val header =
      try cells(records.next().text).map(_.trim)
      catch case e: Refused => throw Failure(Failure.Usage, s"--input: the header cannot be read: ${e.getMessage}")
    val unknown = header.filterNot(fields.contains)
    if unknown.nonEmpty then
      throw Failure(
        Failure.Usage,
        s"--input: the header has ${unknown.map(name => s"\"$name\"").mkString(", ")}, which the contract has not; " +
          s"it has ${descriptor.getFields.asScala.map(_.getName).mkString(", ")}"
      )
    val missing = Required.filterNot(header.map(fields(_).getName).contains)
    if missing.nonEmpty then
      throw Failure(Failure.Usage, s"--input: the header has no ${missing.mkString(", ")}, which a transaction needs")
    header
      .groupBy(fields)
      .find(_._2.size > 1)
      .foreach((field, _) => throw Failure(Failure.Usage, s"--input: the header has ${field.getName} twice"))
    records
      .filterNot(_.isBlank)
      .map(record =>
        row(record) {
          val values = cells(record.text)
          if values.size != header.size then throw Refused(s"has ${values.size} columns; the header has ${header.size}")
          val json = JsonObject()
          // An empty cell is a field that is not set; an amount that nobody wrote is not taken for 0.
          for (name, value) <- header.zip(values) if value.nonEmpty do json.add(name, cell(fields(name), value))
          if !json.has("amount") then throw Refused("amount: is missing; give a number with at most two decimals")
          json
        }
      )

  private def cell(field: FieldDescriptor, value: String): JsonElement =
    if field.getJavaType == FieldDescriptor.JavaType.BOOLEAN && (value == "true" || value == "false") then
      JsonPrimitive(value == "true")
    else JsonPrimitive(value)

  private def cells(record: String): Vector[String] =
    try
      CSVParser
        .parse(record, CSVFormat.RFC4180)
        .getRecords
        .asScala
        .headOption
        .map(_.asScala.toVector)
        .getOrElse(Vector(""))
    catch case e: (java.io.IOException | java.io.UncheckedIOException) => throw Refused(s"is no CSV: ${e.getMessage}")

  private def row(line: Line)(json: => JsonObject): Row =
    try
      line.fault.foreach(fault => throw Refused(fault))
      val tx = Transaction.parseFrom(message(json).toByteArray)
      Rules.check(tx) match
        case broken: Rules.Broken => throw Refused(s"${broken.field}: ${broken.text}")
        case _: Long => Right(tx)
    catch case refused: Refused => Left(BadLine(line.number, refused.getMessage))

  private def json(text: String): JsonObject =
    try
      val reader = JsonReader(StringReader(text))
      reader.setStrictness(Strictness.STRICT)
      val element: JsonElement = gson.getAdapter(classOf[JsonElement]).read(reader)
      if reader.peek() != com.google.gson.stream.JsonToken.END_DOCUMENT then
        throw Refused("is no JSON: there is more after its end")
      if !element.isJsonObject then throw Refused("is no JSON object")
      element.getAsJsonObject
    catch
      case e: (java.io.IOException | com.google.gson.JsonParseException | IllegalStateException) =>
        throw Refused(s"is no JSON: ${Option(e.getMessage).getOrElse("").linesIterator.nextOption().getOrElse("")}")

  private def message(json: JsonObject): DynamicMessage =
    json.keySet.asScala
      .find(name => !fields.contains(name))
      .foreach(name => throw Refused(s"$name: the contract has no such field"))
    json.keySet.asScala
      .groupBy(fields)
      .find(_._2.size > 1)
      .foreach((field, _) => throw Refused(s"${field.getName}: is there twice"))
    // The library would take a number, or true, for a text.
    for entry <- json.entrySet.asScala if fields(entry.getKey).getJavaType == FieldDescriptor.JavaType.STRING do
      val value = entry.getValue
      if !value.isJsonNull && !(value.isJsonPrimitive && value.getAsJsonPrimitive.isString) then
        throw Refused(s"${fields(entry.getKey).getName}: $value is not a text")
    val whole = DynamicMessage.newBuilder(descriptor)
    try parser.merge(json.toString, whole)
    catch
      case e: InvalidProtocolBufferException =>
        // Which field it was is not said: each is tried by itself.
        json.entrySet.asScala.foreach { entry =>
          val one = JsonObject()
          one.add(entry.getKey, entry.getValue)
          try parser.merge(one.toString, DynamicMessage.newBuilder(descriptor))
          catch
            case e: InvalidProtocolBufferException => throw Refused(s"${fields(entry.getKey).getName}: ${e.getMessage}")
        }
        throw Refused(e.getMessage)
    whole.build()

  /** A line of text with its number; `fault` says why it cannot be read. */
  final private case class Line(number: Long, text: String, fault: Option[String]):
    def isBlank: Boolean = fault.isEmpty && text.isBlank

  final private class Lines(in: InputStream) extends Iterator[Line]:
    private var number = 0L
    private var ahead = in.read()

    def hasNext: Boolean = ahead >= 0

    def next(): Line =
      number += 1
      val bytes = ByteArrayOutputStream(256)
      var tooLong = false
      while ahead >= 0 && ahead != '\n' do
        if bytes.size < LineBytesMax then bytes.write(ahead) else tooLong = true
        ahead = in.read()
      if ahead == '\n' then ahead = in.read()
      if tooLong then Line(number, "", Some(s"is longer than $LineBytesMax bytes"))
      else
        try
          val text =
            StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes.toByteArray)).toString.stripSuffix("\r")
          Line(number, if number == 1 then text.stripPrefix("\ufeff") else text, None)
        catch case _: CharacterCodingException => Line(number, "", Some("is not UTF-8"))

  /** Records of CSV: a quoted cell may run over lines. Each is parsed by itself, so that a bad one spoils no other. */
  final private class CsvRecords(lines: Lines) extends Iterator[Line]:
    def hasNext: Boolean = lines.hasNext

    def next(): Line =
      val first = lines.next()
      var record = first
      while record.fault.isEmpty && record.text.count(_ == '"') % 2 == 1 && lines.hasNext do
        val more = lines.next()
        val text = record.text + "\n" + more.text
        record = first.copy(
          text = text,
          fault = more.fault.orElse(Option.when(text.length > LineBytesMax)(s"is longer than $LineBytesMax bytes"))
        )
      if record.fault.isEmpty && record.text.count(_ == '"') % 2 == 1 then
        record.copy(fault = Some("is no CSV: a quote is not closed"))
      else record
