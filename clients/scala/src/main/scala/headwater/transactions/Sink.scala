package headwater.transactions

import headwater.event.v1.transaction.Transaction
import java.nio.charset.StandardCharsets.UTF_8
import java.time.Duration
import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.{AtomicLong, AtomicReference}
import org.apache.kafka.clients.producer.{Callback, Producer, ProducerRecord, RecordMetadata}
import org.apache.kafka.common.KafkaException

/** The client with its acknowledgements counted: the path that every record takes, from one thread.
  *
  * A delivery without an offset is none: brokers call records duplicates that they never had. Such a record goes out
  * again with the next one or at the end, `AttemptsMax` times in all; its transaction_id stays, so a copy counts once.
  */
final class Sink(topic: String, encoder: Encoder, producer: Producer[Array[Byte], Array[Byte]]):
  import Sink.*

  private val acknowledged = AtomicLong()
  private val first = AtomicReference[Exception]()
  private val again = ConcurrentLinkedQueue[Sending]

  def send(tx: Transaction): Unit =
    sendAgain()
    Sending(tx.accountNumber, encoder.encode(tx)).send()

  /** How many the broker has. */
  def sent: Long = acknowledged.get
  def failure: Option[Exception] = Option(first.get)

  /** Waits until each record is acknowledged or has failed. */
  def flush(): Unit =
    producer.flush()
    while failure.isEmpty && !again.isEmpty do
      sendAgain()
      producer.flush()

  def close(): Unit = producer.close(Duration.ofSeconds(1))

  private def sendAgain(): Unit =
    var next = again.poll()
    while next != null do
      next.send()
      next = again.poll()

  /** What is kept of each record until its answer: as little as can be, for there are many. */
  private final class Sending(account: String, value: Array[Byte]) extends Callback:
    private var attempts = 0

    def send(): Unit =
      attempts += 1
      try producer.send(ProducerRecord(topic, account.getBytes(UTF_8), value), this): Unit
      catch case e: KafkaException => first.compareAndSet(null, e): Unit

    def onCompletion(metadata: RecordMetadata, error: Exception): Unit =
      if error != null then first.compareAndSet(null, error): Unit
      else if metadata.hasOffset then acknowledged.incrementAndGet(): Unit
      else if attempts < AttemptsMax then again.add(this): Unit
      else first.compareAndSet(null, KafkaException(s"$AttemptsMax deliveries of a record have no offset")): Unit

object Sink:
  val AttemptsMax = 5
