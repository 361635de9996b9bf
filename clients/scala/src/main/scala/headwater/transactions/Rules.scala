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
  private val NanosMax = 999_999_999

  /** The cents of a transaction that keeps every rule. */
  def check(tx: Transaction): Either[Broken, Long] =
    val field = length("transaction_id", tx.transactionId, 1, TransactionIdMax)
      .orElse(length("account_number", tx.accountNumber, 1, AccountNumberMax))
      .orElse(length("transaction_reference", tx.transactionReference, 0, ReferenceMax))
      .orElse(
        if tx.transactionDatetime.isEmpty then Some(invalid("transaction_datetime", "is missing; say when it was made"))
        else None
      )
      .orElse(
        if tx.transactionDatetime.forall(isATime) then None
        else Some(invalid("transaction_datetime", "is no time of the years 1 to 9999"))
      )
      .orElse(
        if tx.amount.isNaN || tx.amount.isInfinite then Some(invalid("amount", Cents.reason(tx.amount))) else None
      )
    field match
      case Some(broken) => Left(broken)
      case None         => Cents.of(tx.amount).toRight(Broken("NOT_IN_SCALE", "amount", Cents.reason(tx.amount)))

  /** What Protobuf's Timestamp can say; more can be encoded. */
  private def isATime(when: Timestamp): Boolean =
    when.seconds >= SecondsMin && when.seconds <= SecondsMax && when.nanos >= 0 && when.nanos <= NanosMax

  private def length(field: String, text: String, min: Int, max: Int): Option[Broken] =
    // A string has at most as many code points as UTF-16 units: most are settled without counting.
    if text.isEmpty && min > 0 then Some(invalid(field, s"is missing; $min to $max characters are needed"))
    else if text.length <= max || text.codePointCount(0, text.length) <= max then None
    else Some(invalid(field, s"has ${text.codePointCount(0, text.length)} characters; at most $max can be"))

  private def invalid(field: String, text: String) = Broken("INVALID_FIELD", field, text)
