package headwater.transactions

import java.io.{BufferedInputStream, ByteArrayOutputStream, InputStream}
import java.nio.ByteBuffer
import java.nio.charset.{CharacterCodingException, StandardCharsets}

/** Lines of a file that are not blank. With `quotes` they are records of CSV, which go on over lines within quotes. */
final class Lines(in: InputStream, quotes: Boolean) extends Iterator[Lines.Line]:
  import Lines.*

  private val source = BufferedInputStream(in, 1 << 16)
  private var number = 0L
  private var found = Option.empty[Line]

  def hasNext: Boolean =
    while found.isEmpty && read() do ()
    found.isDefined

  def next(): Line =
    if !hasNext then throw java.util.NoSuchElementException("no more lines")
    val line = found.get
    found = None
    line

  /** Reads one, which is left out where it is blank; false at the file's end. */
  private def read(): Boolean =
    number += 1
    val first = number
    val bytes = ByteArrayOutputStream(256)
    var length = 0L
    var state = State.Start
    var byte = source.read()
    val more = byte >= 0
    while byte >= 0 && (byte != '\n' || state == State.Quoted) do
      if byte == '\n' then number += 1
      if length < BytesMax then bytes.write(byte)
      length += 1
      if quotes then state = after(state, byte)
      byte = source.read()
    if more then found = Some(line(first, bytes.toByteArray, length > BytesMax)).filterNot(_.isBlank)
    more

object Lines:
  /** Bytes of a line, or of a CSV record over several lines, at most. */
  val BytesMax = 1 << 20

  /** A line's text with its number, a record's first one; or why it cannot be read. */
  final case class Line(number: Long, text: Either[String, String]):
    private[Lines] def isBlank: Boolean = text.exists(_.forall(" \t\r\n".contains(_)))

  private def line(number: Long, bytes: Array[Byte], tooLong: Boolean): Line =
    if tooLong then Line(number, Left(s"is longer than $BytesMax bytes"))
    else
      try
        val text = StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(bytes)).toString
        Line(number, Right(if number == 1 then text.stripPrefix("\ufeff") else text))
      catch case _: CharacterCodingException => Line(number, Left("is not UTF-8"))

  // Where in a record of CSV: at a cell's beginning, in one without quotes, in quotes, behind a quote that closes (or is
  // one of two, which stand for one), and where it is no CSV, or ends.
  private enum State:
    case Start, Plain, Quoted, Closed, Done
  import State.*

  private def after(state: State, byte: Int): State = (state, byte) match
    case (Quoted, '"') => Closed
    case (Quoted, _) => Quoted
    case (Done, _) | (_, '\r') => Done
    case (_, ',') => Start
    case (Start | Closed, '"') => Quoted
    case (Closed, _) => Done
    case _ => Plain

  /** The cells of a record, or why it is none. */
  def cells(record: String): Either[String, Vector[String]] =
    val cells = Vector.newBuilder[String]
    val text = record.stripSuffix("\r")
    var at = 0
    var wrong = Option.empty[String]
    while wrong.isEmpty && at <= text.length do
      val end =
        if text.startsWith("\"", at) then closing(text, at + 1)
        else comma(text, at)
      val cell = text.substring(at, math.max(end, at))
      if end < 0 then wrong = Some("a quote is not closed")
      else if end < text.length && text(end) != ',' then wrong = Some("there is text after a closing quote")
      else if cell.startsWith("\"") then cells += cell.substring(1, cell.length - 1).replace("\"\"", "\"")
      else if cell.contains('\r') then wrong = Some("there is a carriage return within a line")
      else cells += cell
      at = end + 1
    wrong.map("is not CSV: " + _).toLeft(cells.result())

  /** Where a cell without quotes ends. */
  private def comma(text: String, from: Int): Int =
    val at = text.indexOf(',', from)
    if at < 0 then text.length else at

  /** Behind the quote that closes a cell, or -1. */
  private def closing(text: String, from: Int): Int =
    val quote = text.indexOf('"', from)
    if quote >= 0 && text.startsWith("\"", quote + 1) then closing(text, quote + 2)
    else if quote < 0 then -1
    else quote + 1
