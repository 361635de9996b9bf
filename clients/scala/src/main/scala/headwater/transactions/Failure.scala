package headwater.transactions

/** Ends a program with an exit code and a sentence that says what to do. */
final class Failure(val exitCode: Int, message: String) extends Exception(message)

object Failure:
  val Refused = 1
  val Usage = 2
  val Away = 3

  def away(message: String) = Failure(Away, message)
