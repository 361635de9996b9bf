package headwater

import com.google.gson.{JsonObject, JsonParser}
import headwater.transactions.{Failure, InputFile, Lines, Rules}
import java.io.ByteArrayInputStream
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.{Files, Path}
import java.util.HexFormat
import scala.jdk.CollectionConverters.*

/** The lines that every language reads alike, or refuses (tests/conformance/vectors/lines.json). */
class LinesTest extends munit.FunSuite:
  private val vectors =
    val file = Path.of(sys.props("basedir")).resolve("../../tests/conformance/vectors/lines.json")
    JsonParser.parseString(Files.readString(file)).getAsJsonObject
  private val header = text(vectors, "csv_header")

  private def all(name: String) = vectors.getAsJsonArray(name).asScala.map(_.getAsJsonObject).toList
  private def text(row: JsonObject, name: String) = row.get(name).getAsString
  private def bytes(row: JsonObject, name: String) =
    if row.has(s"${name}_hex") then HexFormat.of().parseHex(text(row, s"${name}_hex"))
    else text(row, name).getBytes(UTF_8)
  private def rows(bytes: Array[Byte], csv: Boolean) = InputFile.rows(ByteArrayInputStream(bytes), csv).toList

  private def check(vector: JsonObject, found: List[InputFile.Row], line: Long): Unit =
    val name = text(vector, "name")
    found match
      case List(Right(tx)) =>
        val means = JsonObject()
        means.addProperty("transaction_id", tx.transactionId)
        means.addProperty("account_number", tx.accountNumber)
        means.addProperty("transaction_reference", tx.transactionReference)
        means.addProperty("seconds", tx.getTransactionDatetime.seconds)
        means.addProperty("nanos", tx.getTransactionDatetime.nanos)
        Rules.check(tx) match
          case cents: Long => means.addProperty("cents", cents)
          case broken: Rules.Broken => fail(s"$name: $broken")
        // By their texts: a number that was read is of another kind than one that is made.
        assertEquals(means.toString, Option(vector.get("means")).fold("refused")(_.toString), name)
      case List(Left(bad)) =>
        assertEquals(bad.line, line, name)
        assert(vector.has("refused") && bad.text.startsWith(text(vector, "refused")), s"$name: ${bad.text}")
      case others => fail(s"$name: $others")

  test("a line of JSON") {
    for vector <- all("ndjson") do check(vector, rows(bytes(vector, "line"), csv = false), 1)
  }

  test("a row of CSV") {
    for vector <- all("csv") do
      check(vector, rows((header + "\n").getBytes(UTF_8) ++ bytes(vector, "row"), csv = true), 2)
  }

  test("a header that is none") {
    for vector <- all("headers") do
      val failure = intercept[Failure](rows(bytes(vector, "header"), csv = true))
      assert(failure.getMessage.contains(text(vector, "says")), s"${text(vector, "name")}: ${failure.getMessage}")
  }

  test("lines are numbered, and one that is too long spoils no other") {
    val good = text(all("ndjson").head, "line")
    val (longest, row) = (Lines.BytesMax, "t,A,2026-11-21T10:00:00Z,1,")
    val spaces = " " * longest
    val lines = List("\ufeff" + good, " \t\r", good + spaces, good + spaces.drop(good.length), good)
    val cells = List(header, row + "x" * longest, " \t", row + "\"a\n" + "\n" * longest + "\"", row)
    for (made, csv, bad) <- List((lines, false, List(3)), (cells, true, List(2, 4))) do
      val refused = rows(made.mkString("\n").getBytes(UTF_8), csv).flatMap(_.left.toOption)
      assertEquals(refused, bad.map(number => InputFile.BadLine(number, s"is longer than $longest bytes")))
  }
