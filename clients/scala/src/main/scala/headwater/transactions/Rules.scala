package headwater.transactions

import com.google.protobuf.timestamp.Timestamp
import headwater.event.v1.transaction.Transaction

/** What the contract asks of a transaction; the platform checks the same, and keeps what breaks it as a dead letter. */
object Rules:
  final case class Broken(reason: String, field: String, text: String)

  private val TransactionIdMax = 128
  private val AccountNumberMax = 64
  private val ReferenceMax = 256
  private val SecondsMin = -62_135_596_800L
  private val SecondsMax = 253_402_300_799L

  /** The year 2000. */
  private val AncientSeconds = 946_684_800L
  private val NanosMax = 999_999_999

  /** The cents of a transaction that keeps every rule, or the first rule that it breaks. */
  def check(tx: Transaction): Long | Broken =
    if !hasLength(tx.transactionId, 1, TransactionIdMax) then
      wrongLength("transaction_id", tx.transactionId, 1, TransactionIdMax)
    else if !hasLength(tx.accountNumber, 1, AccountNumberMax) then
      wrongLength("account_number", tx.accountNumber, 1, AccountNumberMax)
    else if !hasLength(tx.transactionReference, 0, ReferenceMax) then
      wrongLength("transaction_reference", tx.transactionReference, 0, ReferenceMax)
    else if tx.transactionDatetime.isEmpty then invalid("transaction_datetime", "is missing; say when it was made")
    else if !isATime(tx.transactionDatetime.get) then
      invalid("transaction_datetime", "is no time of the years 1 to 9999")
    else if tx.amount.isNaN || tx.amount.isInfinite then invalid("amount", Cents.reason(tx.amount))
    else if tx.transactionDatetime.get.seconds < AncientSeconds then
      Broken("TIME_ANCIENT", "transaction_datetime", "is before the year 2000")
    else if hasNul(tx.transactionId) then nul("transaction_id")
    else if hasNul(tx.accountNumber) then nul("account_number")
    else if hasNul(tx.transactionReference) then nul("transaction_reference")
    else
      Cents.of(tx.amount) match
        case Some(cents) => cents
        case None => Broken("NOT_IN_SCALE", "amount", Cents.reason(tx.amount))

  /** What Protobuf's Timestamp can say; more can be encoded. */
  private def isATime(when: Timestamp): Boolean =
    when.seconds >= SecondsMin && when.seconds <= SecondsMax && when.nanos >= 0 && when.nanos <= NanosMax

  // A string has at most as many code points as UTF-16 units: most are settled without counting.
  private def hasLength(text: String, min: Int, max: Int): Boolean =
    text.length >= min && (text.length <= max || text.codePointCount(0, text.length) <= max)

  private def wrongLength(field: String, text: String, min: Int, max: Int): Broken =
    if text.isEmpty then invalid(field, s"is missing; $min to $max characters are needed")
    else invalid(field, s"has ${text.codePointCount(0, text.length)} characters; at most $max can be")

  private def hasNul(text: String): Boolean = text.indexOf(0) >= 0

  private def nul(field: String) = invalid(field, "holds the character NUL, which a table cannot")

  private def invalid(field: String, text: String) = Broken("INVALID_FIELD", field, text)
