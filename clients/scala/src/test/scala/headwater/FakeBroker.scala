package headwater

import java.io.{DataInputStream, DataOutputStream, IOException}
import java.net.{InetAddress, ServerSocket, Socket}
import java.nio.ByteBuffer
import java.util.List as JList
import java.util.concurrent.ConcurrentLinkedQueue
import java.util.concurrent.atomic.AtomicInteger
import org.apache.kafka.common.message.*
import org.apache.kafka.common.protocol.{ApiKeys, ByteBufferAccessor, Errors, Message}
import org.apache.kafka.common.record.MemoryRecords
import org.apache.kafka.common.requests.*
import scala.jdk.CollectionConverters.*

/** A broker that takes what a producer sends and keeps it in order, for what a real one does not do on demand. It has
  * every topic, with as many partitions as its name ends in: "t-7" has 7.
  */
final class FakeBroker extends AutoCloseable:
  final case class Kept(topic: String, partition: Int, key: Array[Byte], value: Array[Byte])

  val kept = ConcurrentLinkedQueue[Kept]

  /** So many batches more are not kept, but said to be duplicates: kafka-clients then gives no offset. */
  val doubted = AtomicInteger()
  private val listening = ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"))
  val address = s"127.0.0.1:${listening.getLocalPort}"
  daemon(while true do { val socket = listening.accept(); daemon(serve(socket)) })

  def close(): Unit = listening.close()

  private def daemon(work: => Unit): Unit =
    val thread = Thread(() =>
      try work
      catch case _: IOException => () // Closed.
    )
    thread.setDaemon(true)
    thread.start()

  private def serve(socket: Socket): Unit =
    val in = DataInputStream(socket.getInputStream)
    val out = DataOutputStream(socket.getOutputStream)
    while true do
      val bytes = ByteBuffer.wrap(in.readNBytes(in.readInt()))
      val header = RequestHeader.parse(bytes)
      val request = AbstractRequest.parseRequest(header.apiKey, header.apiVersion, ByteBufferAccessor(bytes)).request
      val to = header.toResponseHeader
      val answer = RequestUtils.serialize(to.data, to.headerVersion, answered(request), header.apiVersion)
      out.writeInt(answer.remaining)
      out.write(answer.array, answer.arrayOffset + answer.position(), answer.remaining)
      out.flush()

  private def answered(request: AbstractRequest): Message = request match
    case _: ApiVersionsRequest =>
      val known = ApiVersionsResponseData.ApiVersionCollection()
      for key <- List(ApiKeys.API_VERSIONS, ApiKeys.METADATA, ApiKeys.INIT_PRODUCER_ID, ApiKeys.PRODUCE) do
        val version = ApiVersionsResponse.toApiVersion(key)
        // From 13 on a topic has an id in place of its name.
        known.add(if key == ApiKeys.PRODUCE then version.setMaxVersion(12) else version)
      ApiVersionsResponseData().setApiKeys(known)
    case metadata: MetadataRequest =>
      val brokers = MetadataResponseData.MetadataResponseBrokerCollection()
      val broker = MetadataResponseData.MetadataResponseBroker().setNodeId(1)
      brokers.add(broker.setHost("127.0.0.1").setPort(listening.getLocalPort))
      val topics = MetadataResponseData.MetadataResponseTopicCollection()
      Option(metadata.topics).foreach(_.forEach(name => topics.add(topic(name)): Unit))
      MetadataResponseData().setBrokers(brokers).setControllerId(1).setTopics(topics)
    case _: InitProducerIdRequest => InitProducerIdResponseData().setProducerId(1).setProducerEpoch(0)
    case produce: ProduceRequest =>
      val answers = ProduceResponseData.TopicProduceResponseCollection()
      produce.data.topicData.forEach { topic =>
        val of = topic.partitionData.asScala.map { partition =>
          val answer = ProduceResponseData.PartitionProduceResponse().setIndex(partition.index)
          if doubted.getAndUpdate(n => math.max(0, n - 1)) > 0 then
            answer.setErrorCode(Errors.DUPLICATE_SEQUENCE_NUMBER.code).setBaseOffset(-1)
          else
            val at = kept.size
            partition.records.asInstanceOf[MemoryRecords].records.forEach { record =>
              val List(key, value) = List(record.key, record.value).map { part =>
                val bytes = new Array[Byte](part.remaining)
                part.get(bytes)
                bytes
              }: @unchecked
              kept.add(Kept(topic.name, partition.index, key, value)): Unit
            }
            answer.setBaseOffset(at)
        }
        answers.add(
          ProduceResponseData.TopicProduceResponse().setName(topic.name).setPartitionResponses(of.asJava)
        ): Unit
      }
      ProduceResponseData().setResponses(answers)
    case other => throw IOException(s"${other.apiKey} is not known here")

  private def topic(name: String) =
    val partitions = (0 until name.split('-').last.toInt).map { index =>
      val one = JList.of[Integer](1)
      MetadataResponseData
        .MetadataResponsePartition()
        .setPartitionIndex(index)
        .setLeaderId(1)
        .setReplicaNodes(one)
        .setIsrNodes(one)
    }
    MetadataResponseData.MetadataResponseTopic().setName(name).setPartitions(partitions.asJava)
