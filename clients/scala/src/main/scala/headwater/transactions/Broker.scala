package headwater.transactions

import java.util.{List as JList, Properties}
import java.util.concurrent.ExecutionException
import org.apache.kafka.clients.admin.{Admin, AdminClientConfig}
import org.apache.kafka.common.KafkaException
import org.apache.kafka.common.config.ConfigException
import org.apache.kafka.common.errors.{InvalidTopicException, UnknownTopicOrPartitionException}

/** What both programs ask of Kafka before they begin. */
object Broker:
  /** Settings of the client: ours, then the user's `-X name=value`. */
  def properties(ours: Map[String, Any], extra: Map[String, String]): Properties =
    val all = Properties()
    ours.foreach((name, value) => all.put(name, value.toString))
    extra.foreach((name, value) => all.put(name, value))
    all

  /** Partitions of a topic, which is never made here. */
  def partitions(brokers: String, topic: String, timeoutS: Double, extra: Map[String, String]): Int =
    val timeoutMs = (timeoutS * 1000).toInt
    val settings = Map(
      AdminClientConfig.BOOTSTRAP_SERVERS_CONFIG -> brokers,
      AdminClientConfig.DEFAULT_API_TIMEOUT_MS_CONFIG -> timeoutMs,
      AdminClientConfig.REQUEST_TIMEOUT_MS_CONFIG -> math.min(timeoutMs, 10000)
    )
    guarded(brokers, topic, timeoutS) {
      val admin =
        Admin.create(properties(settings, extra.filter((name, _) => AdminClientConfig.configNames.contains(name))))
      try admin.describeTopics(JList.of(topic)).allTopicNames.get.get(topic).partitions.size
      finally admin.close(java.time.Duration.ZERO)
    }

  /** Says of a fault of Kafka which part is away, and what to do. */
  def guarded[A](brokers: String, topic: String, timeoutS: Double)(work: => A): A =
    try work
    catch
      case e: ExecutionException => throw failure(brokers, topic, timeoutS, e.getCause)
      case e: KafkaException => throw failure(brokers, topic, timeoutS, e)

  private def failure(brokers: String, topic: String, timeoutS: Double, cause: Throwable): Failure = cause match
    // Thrown while partitions were assigned: the client wraps it.
    case e: KafkaException if e.getCause.isInstanceOf[Failure] => e.getCause.asInstanceOf[Failure]
    case _: UnknownTopicOrPartitionException =>
      Failure.away(
        s"the broker at $brokers has no topic $topic: start the platform, which makes its topics, make it by hand, " +
          "or check --topic"
      )
    case _: InvalidTopicException => Failure(Failure.Usage, s"--topic: \"$topic\" is no name for a topic")
    case e: ConfigException => Failure(Failure.Usage, s"--broker or -X: ${e.getMessage}")
    case e: KafkaException if e.getCause.isInstanceOf[ConfigException] =>
      Failure(Failure.Usage, s"--broker or -X: ${e.getCause.getMessage}")
    case e: org.apache.kafka.common.errors.TimeoutException =>
      Failure.away(f"the broker at $brokers is away for $timeoutS%.0f s: ${e.getMessage}; start it, or check --broker")
    case e => Failure.away(s"the broker at $brokers refuses: ${e.getMessage}")
