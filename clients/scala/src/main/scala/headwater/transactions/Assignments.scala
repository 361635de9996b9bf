package headwater.transactions

import java.time.Duration
import java.util.Collection as JCollection
import org.apache.kafka.clients.consumer.{Consumer, ConsumerRebalanceListener, OffsetAndMetadata}
import org.apache.kafka.common.{KafkaException, TopicPartition}
import scala.collection.mutable
import scala.jdk.CollectionConverters.*

/** Which offset each assigned partition goes on from, and what Kafka is told of it. With a state file the file decides,
  * and Kafka's offset is a hint.
  */
final class Assignments(
    consumer: Consumer[Array[Byte], Array[Byte]],
    state: Option[StateLedger],
    latest: Boolean,
    timeout: Duration,
    onChange: String => Unit
) extends ConsumerRebalanceListener:
  import Assignments.*

  private val next = mutable.HashMap.empty[TopicPartition, Long]
  private val done = mutable.HashMap.empty[TopicPartition, Long]
  private var committedAt = System.nanoTime
  private val metadata = state.map(s => s"state:${s.stateId}").getOrElse("")
  // Python's client sends the zero byte that ends a string, and reads on behind the text where there is none.
  private val committedMetadata = metadata + "\u0000"

  def nextOf(partition: TopicPartition): Long = next.getOrElse(partition, -1L)

  def moveTo(partition: TopicPartition, offset: Long): Unit =
    next(partition) = offset
    done(partition) = offset

  /** Another member took the partition over and has moved it on: follow it. */
  def follow(partition: TopicPartition): Unit = state.foreach { s =>
    val offset =
      s.nextOf(partition.partition, consumer.beginningOffsets(java.util.List.of(partition), timeout).get(partition))
    // Given away meanwhile: whoever has it begins where the file is.
    if consumer.assignment.contains(partition) then
      next(partition) = offset
      consumer.seek(partition, offset)
    else forget(partition)
  }

  /** Tells Kafka now and then. */
  def commitLater(): Unit = if done.nonEmpty && System.nanoTime - committedAt > CommitEveryNs then
    committedAt = System.nanoTime
    consumer.commitAsync(offsets(done.keys), null)
    done.clear()

  def commitNow(partitions: Iterable[TopicPartition] = next.keys): Unit =
    // All positions, so that what an earlier, unanswered commit carried is carried again.
    val known = partitions.filter(next.contains)
    if known.nonEmpty then
      try consumer.commitSync(offsets(known), timeout)
      catch
        case e: KafkaException =>
          if state.isEmpty then
            onChange(s"the offsets could not be committed: ${e.getMessage}; these records will be counted again")
      done.clear()

  def onPartitionsAssigned(assigned: JCollection[TopicPartition]): Unit = if !assigned.isEmpty then
    val partitions = java.util.HashSet(assigned)
    val committed = consumer.committed(partitions, timeout).asScala.filter(_._2 != null)
    state.foreach { s =>
      for (partition, offset) <- committed do
        val mark = offset.metadata.stripSuffix("\u0000")
        if mark.startsWith("state:") && mark != metadata then
          throw Failure.away(
            s"--state: the group's offset of $partition was written with another state file ($mark; this one is " +
              s"$metadata): sums would be doubled or lost. Use that file, or another --group"
          )
    }
    lazy val low = consumer.beginningOffsets(partitions, timeout)
    lazy val start = if latest then consumer.endOffsets(partitions, timeout) else low
    for partition <- assigned.asScala do
      val offset: Long = state match
        case Some(s) => s.nextOf(partition.partition, start.get(partition))
        case None => committed.get(partition).map(_.offset).getOrElse(start.get(partition))
      next(partition) = offset
      consumer.seek(partition, offset)
    onChange(s"assigned ${assigned.asScala.map(_.partition).toSeq.sorted.mkString(", ")}")

  def onPartitionsRevoked(revoked: JCollection[TopicPartition]): Unit = if !revoked.isEmpty then
    commitNow(revoked.asScala)
    revoked.forEach(partition => forget(partition))
    onChange(s"gave up ${revoked.asScala.map(_.partition).toSeq.sorted.mkString(", ")}")

  override def onPartitionsLost(lost: JCollection[TopicPartition]): Unit = lost.forEach(partition => forget(partition))

  private def forget(partition: TopicPartition): Unit =
    next.remove(partition)
    done.remove(partition)

  private def offsets(partitions: Iterable[TopicPartition]) =
    partitions.map(partition => partition -> OffsetAndMetadata(next(partition), committedMetadata)).toMap.asJava

object Assignments:
  private val CommitEveryNs = 1_000_000_000L
