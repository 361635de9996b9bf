package headwater.bench

import headwater.bench.Throughput.{Moment, Side, Taken}
import headwater.event.v1.transaction.Transaction
import headwater.transactions.*
import com.google.protobuf.CodedInputStream
import com.google.protobuf.timestamp.Timestamp
import java.nio.charset.StandardCharsets.UTF_8
import java.nio.file.Files
import java.time.{Duration, Instant}
import java.util.{HashMap, List as JList, Map as JMap, SplittableRandom, UUID}
import java.util.concurrent.atomic.AtomicLong
import org.apache.kafka.clients.consumer.{ConsumerConfig, ConsumerInterceptor, ConsumerRecords, KafkaConsumer}
import org.apache.kafka.clients.consumer.OffsetAndMetadata
import org.apache.kafka.clients.producer.{Callback, KafkaProducer, ProducerRecord}
import org.apache.kafka.common.TopicPartition
import org.apache.kafka.common.serialization.{ByteArrayDeserializer, ByteArraySerializer}

/** The programs as they run, and beside each the bare Kafka client with the generated code, with the same settings. */
final class Sides(common: Common, written: String, messages: Int):
  private val pool = Throughput.Pool()
  private val prefix = Frame.prefix(1, List(0))

  def ourProducer(topic: String): Side = () =>
    measured {
      val settings = ProduceTransactions.Settings(common = common.copy(topic = topic))
      val rows = Iterator.range(0, messages).map(at => Right(pool(at)))
      Throughput.silently(ProduceTransactions.run(settings, rows, _))
    }

  val ourMadeUp: Side = () =>
    measured {
      val settings = ProduceTransactions.Settings(common = common.copy(topic = written), count = messages)
      Throughput.silently(ProduceTransactions.run(settings, _))
    }

  val peerProducer: Side = () => measured(sendAll(pool(_)))

  val peerMadeUp: Side = () =>
    measured {
      val random = SplittableRandom()
      sendAll { at =>
        val now = Instant.now()
        val when = Some(Timestamp(now.getEpochSecond, now.getNano))
        val account = s"ACC-${random.nextInt(20)}"
        Transaction(UUID.randomUUID.toString, account, s"reference $at", when, random.nextInt(100000) / 100.0)
      }
    }

  def ourConsumer(withState: Boolean): Side = () =>
    val folder = Files.createTempDirectory("headwater-bench")
    val file = folder.resolve("state.db")
    val settings = ConsumeTransactions.Settings(
      common = common.copy(extra = FirstRecord.property),
      group = UUID.randomUUID.toString,
      state = Option.when(withState)(file.toString),
      count = messages
    )
    FirstRecord.seen = null
    Throughput.silently(ConsumeTransactions.run(settings, _))
    val taken = FirstRecord.seen.taken
    Files.list(folder).forEach(Files.delete(_))
    Files.delete(folder)
    taken

  val peerConsumer: Side = () =>
    val settings = ConsumeTransactions.properties(common.copy(extra = FirstRecord.property), UUID.randomUUID.toString)
    settings.put(ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, "true")
    settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest")
    val consumer = KafkaConsumer(settings, ByteArrayDeserializer(), ByteArrayDeserializer())
    val sums = HashMap[String, java.lang.Long]
    var read = 0
    FirstRecord.seen = null
    try
      consumer.subscribe(JList.of(common.topic))
      while read < messages do
        val polled = consumer.poll(Duration.ofMillis(100))
        polled.forEach { record =>
          val value = record.value
          val tx =
            Transaction.parseFrom(CodedInputStream.newInstance(value, prefix.length, value.length - prefix.length))
          sums.merge(tx.accountNumber, Math.round(tx.amount * 100), java.lang.Long.sum(_, _)): Unit
        }
        read += polled.count
    finally consumer.close()
    if sums.size != 20 then throw IllegalStateException(s"${sums.size} accounts")
    FirstRecord.seen.taken

  private def sendAll(next: Int => Transaction): Unit =
    val settings = ProduceTransactions.properties(common)
    val producer = KafkaProducer[Array[Byte], Array[Byte]](settings, ByteArraySerializer(), ByteArraySerializer())
    // Without a look at the answers nobody would know what was sent.
    val acknowledged = AtomicLong()
    val answer: Callback = (_, error) => if error == null then acknowledged.incrementAndGet(): Unit
    try
      var at = 0
      while at < messages do
        val tx = next(at)
        val message = tx.toByteArray
        val value = java.util.Arrays.copyOf(prefix, prefix.length + message.length)
        System.arraycopy(message, 0, value, prefix.length, message.length)
        producer.send(ProducerRecord(written, tx.accountNumber.getBytes(UTF_8), value), answer)
        at += 1
      producer.flush()
      if acknowledged.get != messages then throw IllegalStateException(s"${acknowledged.get} of $messages acknowledged")
    finally producer.close()

  private def measured(run: => Unit): Taken =
    val began = Moment()
    run
    began.taken

/** Remembers when a consumer got its first records: joining the group is no part of the figures. */
final class FirstRecord extends ConsumerInterceptor[Array[Byte], Array[Byte]]:
  def onConsume(records: ConsumerRecords[Array[Byte], Array[Byte]]): ConsumerRecords[Array[Byte], Array[Byte]] =
    if FirstRecord.seen == null && !records.isEmpty then FirstRecord.seen = Moment()
    records
  def onCommit(offsets: JMap[TopicPartition, OffsetAndMetadata]): Unit = ()
  def close(): Unit = ()
  def configure(configs: JMap[String, ?]): Unit = ()

object FirstRecord:
  @volatile var seen: Moment = null
  val property: Map[String, String] = Map(ConsumerConfig.INTERCEPTOR_CLASSES_CONFIG -> classOf[FirstRecord].getName)
