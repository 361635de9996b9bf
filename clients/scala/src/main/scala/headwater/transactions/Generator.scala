package headwater.transactions

import com.google.protobuf.timestamp.Timestamp
import headwater.event.v1.transaction.Transaction
import java.time.Instant
import java.util.{SplittableRandom, UUID}

/** Transactions made up: the same accounts, references and amounts for the same seed. Ids and times are always new. */
final class Generator(customers: Int, seed: Long):
  private val random = SplittableRandom(seed)
  private val accounts = Array.tabulate(customers)(n => f"ACC-${n + 1}%04d")
  private var made = 0L

  /** So many of them, as rows. */
  def take(limit: Long): Iterator[Right[Nothing, Transaction]] = new:
    def hasNext: Boolean = made < limit
    def next(): Right[Nothing, Transaction] = Right(Generator.this.next())

  def next(): Transaction =
    // Each of the first uses another account, so that all occur.
    val account = accounts(if made < customers then made.toInt else random.nextInt(customers))
    val cents = random.nextLong(-50000, 100001)
    made += 1
    val now = Instant.now()
    Transaction(
      transactionId = UUID.randomUUID().toString,
      accountNumber = account,
      transactionReference = s"reference $made",
      transactionDatetime = Some(Timestamp(now.getEpochSecond, now.getNano)),
      amount = cents / 100.0
    )
