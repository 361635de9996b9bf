package headwater.transactions

import com.google.gson.stream.{JsonReader, JsonToken}
import com.google.gson.{Gson, JsonElement, JsonPrimitive, Strictness}
import com.google.protobuf.Descriptors.FieldDescriptor
import headwater.event.v1.transaction.Transaction
import headwater.transactions.Fields.Refused
import java.io.{FileInputStream, InputStream, StringReader}
import scala.collection.mutable.ArrayBuffer

/** Reads transactions from CSV or NDJSON. */
object InputFile:
  /** A line that is none, with its number: what is refused. */
  final case class BadLine(line: Long, text: String)

  type Row = Either[BadLine, Transaction]

  /** Columns that a CSV must have. */
  private val Required = List("transaction_id", "account_number", "transaction_datetime", "amount")

  private val elements = Gson().getAdapter(classOf[JsonElement])

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
    val lines = Lines(in, quotes = csv)
    if csv then csvRows(lines) else lines.map(row(_)(text => Fields.transaction(members(text))))

  private def row(line: Lines.Line)(read: String => Transaction): Row =
    try
      val tx = read(line.text.fold(fault => throw Refused(fault), identity))
      Rules.check(tx) match
        case broken: Rules.Broken => throw Refused(s"${broken.field}: ${broken.text}")
        case _: Long => Right(tx)
    catch case refused: Refused => Left(BadLine(line.number, refused.getMessage))

  /** The members of an object of JSON, a name as often as it is there. */
  private def members(text: String): Iterable[(String, JsonElement)] =
    // The library would take a byte order mark within the file.
    if text.startsWith("\ufeff") then throw Refused("is not JSON: there is a byte order mark")
    val reader = JsonReader(StringReader(text))
    reader.setStrictness(Strictness.STRICT)
    try
      val members = ArrayBuffer[(String, JsonElement)]()
      val isObject = reader.peek() == JsonToken.BEGIN_OBJECT
      if isObject then
        reader.beginObject()
        while reader.hasNext do members += reader.nextName() -> elements.read(reader)
        reader.endObject()
      else elements.read(reader)
      if reader.peek() != JsonToken.END_DOCUMENT then throw Refused("is not JSON: there is more after its end")
      if !isObject then throw Refused("is not a JSON object: write one transaction a line")
      members
    catch
      case e: (java.io.IOException | com.google.gson.JsonParseException | IllegalStateException) =>
        throw Refused(s"is not JSON: ${Option(e.getMessage).getOrElse("").linesIterator.nextOption().getOrElse("")}")

  private def csvRows(lines: Lines): Iterator[Row] =
    val columns = lines.nextOption().filter(_.number == 1).map(_.text.flatMap(Lines.cells)) match
      case None => throw Failure(Failure.Usage, s"--input: line 1: the header is missing; it names ${Fields.Names}")
      case Some(header) =>
        header.flatMap(named).fold(problem => throw Failure(Failure.Usage, s"--input: line 1: $problem"), identity)
    lines.map(row(_) { text =>
      val cells = Lines.cells(text).fold(problem => throw Refused(problem), identity)
      if cells.size != columns.size then throw Refused(s"has ${cells.size} columns, the header has ${columns.size}")
      // An empty cell is a field that is not there; but in a table an amount that nobody wrote is a mistake.
      val (empty, written) = columns.zip(cells).partition(_._2.isEmpty)
      if empty.exists(_._1.getName == "amount") then
        throw Refused("amount: is missing; give a number with at most two decimals")
      Fields.transaction(written.map((column, cell) => column.getName -> value(column, cell)))
    })

  /** The columns' fields, or what is wrong with the header. */
  private def named(header: Vector[String]): Either[String, Vector[FieldDescriptor]] =
    val columns = header.flatMap(Fields.ByName.get)
    def unknown = header
      .find(!Fields.ByName.contains(_))
      .map(name => s"column '$name': the contract has no such field; it has ${Fields.Names}")
    // A field's two spellings are one column.
    def twice = header.indices
      .find(at => columns.indexOf(columns(at)) < at)
      .map(at => s"column '${header(at)}': is there twice")
    def missing = Required.find(name => !columns.exists(_.getName == name)).map(_ + ": the column is missing")
    unknown.orElse(twice).orElse(missing).toLeft(columns)

  private def value(column: FieldDescriptor, cell: String): JsonElement =
    if column.getJavaType == FieldDescriptor.JavaType.BOOLEAN && (cell == "true" || cell == "false") then
      JsonPrimitive(cell == "true")
    else JsonPrimitive(cell)
