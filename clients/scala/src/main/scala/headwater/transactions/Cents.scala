package headwater.transactions

import java.math.BigInteger

/** Amounts of money as whole cents, exactly. */
object Cents:
  /** 2^53: every integer below it is a double. */
  private val ExactMax = 9007199254740992.0

  /** The cents that a double stands for, or None: it must be the double nearest to n / 100 with |n| < 2^53, the same
    * rule in every language.
    */
  def of(amount: Double): Option[Long] =
    // The comparison is false for NaN, and the division tells whether the amount is the double nearest to n / 100.
    val n = roundHalfAway(amount * 100.0)
    if math.abs(n) < ExactMax && n / 100.0 == amount then Some(n.toLong) else None

  /** Why `of` has no answer. */
  def reason(amount: Double): String =
    if amount.isNaN || amount.isInfinite then s"is $amount; a finite amount with two decimal places is needed"
    else s"$amount is no amount with two decimal places, or too great to be exact"

  /** As people write it: "-12.50". */
  def text(cents: BigInteger): String = java.math.BigDecimal(cents, 2).toPlainString

  private def roundHalfAway(x: Double): Double =
    val whole = if x < 0 then math.ceil(x) else math.floor(x)
    if math.abs(x - whole) >= 0.5 then whole + math.signum(x) else whole
