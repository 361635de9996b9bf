package headwater

import headwater.transactions.{Cents, InputFile}
import java.io.ByteArrayInputStream
import java.math.BigInteger

/** Input files, good and bad. */
class InputTest extends munit.FunSuite:
  private def rows(text: String, csv: Boolean) =
    InputFile.rows(ByteArrayInputStream(text.getBytes("UTF-8")), csv).toList
  private val header = "transaction_id,account_number,transaction_reference,transaction_datetime,amount\n"
  private def refusal(row: InputFile.Row) =
    row.left.toOption.map(bad => s"${bad.line}: ${bad.text}").getOrElse(s"accepted: $row")

  test("a csv with quotes, a quoted line break and an empty line") {
    val good = rows(
      header + "a,ACC-1,\"say \"\"hi\"\", twice\nor so\",2026-01-02T03:04:05Z,-12.50\n\n" +
        "b,ACC-1,,2026-01-02T03:04:05Z,1\n",
      csv = true
    )
    assertEquals(
      good.map(_.map(tx => (tx.transactionReference, tx.amount))),
      List(Right(("say \"hi\", twice\nor so", -12.5)), Right(("", 1.0)))
    )
  }

  test("a bad line of a csv is refused by its number, and the next is read") {
    val read = rows(
      header + ",ACC-1,,2026-01-02T03:04:05Z,1\na,ACC-1,,2026-01-02T03:04:05Z,1.005\n" +
        "a,ACC-1,,2026-01-02T03:04:05Z,NaN\n" +
        "a,ACC-1,,yesterday,1\na,b\n" +
        "a,ACC-1,,2026-01-02T03:04:05Z,Infinity\na,ACC-1,,2026-01-02T03:04:05Z,7.25\n",
      csv = true
    )
    val starts = List(
      "2: transaction_id: is missing",
      "3: amount: 1.005",
      "4: amount: is NaN",
      "5: transaction_datetime: ",
      "6: has 2 columns",
      "7: amount: is Infinity"
    )
    for (row, start) <- read.zip(starts) do assert(refusal(row).startsWith(start), refusal(row))
    assertEquals(read.last.map(_.amount), Right(7.25))
  }

  test("a csv whose header has an unknown field is refused whole") {
    def fails(text: String) = intercept[headwater.transactions.Failure](rows(text, csv = true)).getMessage
    assert(fails("transaction_id,colour\nx,y\n").contains("'colour'"))
    assert(
      fails("transaction_id,accountNumber,transaction_datetime\nx,y,\n").endsWith("amount: the column is missing")
    )
  }

  test("an amount that nobody wrote is refused in a csv, and 0 in ProtoJSON") {
    val cells = rows(header + "a,ACC-1,,2026-01-02T03:04:05Z,\nb,ACC-1,,2026-01-02T03:04:05Z,0\n", csv = true)
    assertEquals(refusal(cells.head), "2: amount: is missing; give a number with at most two decimals")
    assertEquals(cells.last.map(_.amount), Right(0.0))
    val json = """{"transaction_id":"a","account_number":"b","transaction_datetime":"2026-01-02T03:04:05Z"}"""
    assertEquals(rows(json, csv = false).map(_.map(_.amount)), List(Right(0.0)))
  }

  test("ndjson, both spellings of names, and what is none") {
    val read = rows(
      """{"transaction_id":"a","accountNumber":"b","transactionDatetime":"2026-01-02T03:04:05Z","amount":0.29}
        |{"transaction_id":"a","colour":1}
        |{"transaction_id":
        |[1]
        |{"transaction_id":"a","account_number":"b","transaction_datetime":"2026-01-02T03:04:05Z","amount":NaN}
        |{"transaction_id":"a","account_number":"b","transaction_datetime":"2026-01-02T03:04:05Z","amount":"much"}
        |{"transaction_id":"a","account_number":"b","amount":1}""".stripMargin,
      csv = false
    )
    assertEquals(read.head.map(_.amount), Right(0.29))
    val starts = List(
      "2: colour: the contract",
      "3: is not JSON",
      "4: is not a JSON object",
      "5: ",
      "6: amount: ",
      "7: transaction_datetime: is missing"
    )
    for (row, start) <- read.tail.zip(starts) do assert(refusal(row).startsWith(start), refusal(row))
  }

  test("cents as people write them") {
    assertEquals(
      List(-1250L, 5L, 0L, -5L).map(n => Cents.text(BigInteger.valueOf(n))),
      List("-12.50", "0.05", "0.00", "-0.05")
    )
  }
