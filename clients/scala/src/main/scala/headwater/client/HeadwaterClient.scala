package headwater.client

import com.google.gson.Gson
import headwater.ingest.v1.ingest.*
import headwater.stats.v1.stats.*
import io.grpc.{ClientInterceptor, Context, ManagedChannel, Metadata}
import io.grpc.netty.shaded.io.grpc.netty.{GrpcSslContexts, NettyChannelBuilder}
import io.grpc.stub.MetadataUtils
import java.io.InputStreamReader
import java.nio.charset.StandardCharsets.UTF_8
import java.util.concurrent.TimeUnit
import scala.concurrent.duration.{DurationInt, FiniteDuration}

/** How to reach the platform. `tlsCaFile` makes it TLS; a token goes as `authorization: Bearer`. */
final case class ClientOptions(
    target: String = "127.0.0.1:50051",
    tlsCaFile: Option[java.io.File] = None,
    token: Option[String] = None,
    deadline: FiniteDuration = 10.seconds
)

/** Publishes events and reads what was counted. Unary calls have a deadline, retries included; what may be called again
  * is in `service-config.json`. A failure is a `HeadwaterError`.
  */
final class HeadwaterClient(options: ClientOptions = ClientOptions()) extends AutoCloseable:
  import HeadwaterClient.*

  private val channel: ManagedChannel =
    val builder = NettyChannelBuilder
      .forTarget(options.target)
      .enableRetry()
      .defaultServiceConfig(serviceConfig)
      .userAgent("headwater-scala")
    options.tlsCaFile match
      case Some(file) => builder.sslContext(GrpcSslContexts.forClient().trustManager(file).build())
      case None => builder.usePlaintext()
    options.token.foreach(token => builder.intercept(bearer(token)))
    builder.build()

  private def ingest =
    IngestServiceGrpc.blockingStub(channel).withDeadlineAfter(options.deadline.toMillis, TimeUnit.MILLISECONDS)
  private def stats =
    StatsServiceGrpc.blockingStub(channel).withDeadlineAfter(options.deadline.toMillis, TimeUnit.MILLISECONDS)

  def publish(request: PublishRequest): PublishResponse = HeadwaterError.guarded(ingest.publish(request))
  def listStreams(request: ListStreamsRequest = ListStreamsRequest()): ListStreamsResponse =
    HeadwaterError.guarded(ingest.listStreams(request))
  def listStats(request: ListStatsRequest = ListStatsRequest()): ListStatsResponse =
    HeadwaterError.guarded(stats.listStats(request))
  def getStats(request: GetStatsRequest): GetStatsResponse = HeadwaterError.guarded(stats.getStats(request))
  def queryHistory(request: QueryHistoryRequest): QueryHistoryResponse =
    HeadwaterError.guarded(stats.queryHistory(request))
  def explainVerdict(request: ExplainVerdictRequest): ExplainVerdictResponse =
    HeadwaterError.guarded(stats.explainVerdict(request))

  /** Figures whenever they change, without end: close it. It has no deadline. */
  def subscribeStats(request: SubscribeStatsRequest): Subscription[SubscribeStatsResponse] =
    val context = Context.current.withCancellation()
    val answers = context.wrap(() => StatsServiceGrpc.blockingStub(channel).subscribeStats(request)).call()
    Subscription(answers, () => context.cancel(null))

  /** Publishes batch after batch and gives the answers in order; the next batch is drawn only as answers are taken. A
    * call that breaks is made again, after a wait, with what has no answer: an event that was kept before counts once,
    * by its id. What ends it for good is a `HeadwaterError`; a record whose result is `retry` is the caller's to send.
    */
  def publishStream(
      batches: Iterator[PublishStreamRequest],
      options: PublishOptions = PublishOptions()
  ): Subscription[PublishStreamResponse] =
    val stream = PublishStream(channel, batches, options)
    Subscription(stream.answers, () => stream.close())

  def close(): Unit = channel.shutdownNow().awaitTermination(CloseWaitS, TimeUnit.SECONDS): Unit

/** A stream of answers, as an iterator that can be ended early. */
final class Subscription[A](answers: Iterator[A], cancel: () => Unit) extends Iterator[A], AutoCloseable:
  def hasNext: Boolean = guarded(answers.hasNext)
  def next(): A = guarded(answers.next())
  def close(): Unit = cancel()

  private def guarded[B](step: => B): B = HeadwaterError.guarded(step)

object HeadwaterClient:
  private val CloseWaitS = 5L

  private def serviceConfig: java.util.Map[String, Object] =
    val in = getClass.getResourceAsStream("/service-config.json")
    if in == null then throw IllegalStateException("service-config.json is missing from the jar")
    val reader = InputStreamReader(in, UTF_8)
    try Gson().fromJson(reader, classOf[java.util.Map[String, Object]])
    finally reader.close()

  private def bearer(token: String): ClientInterceptor =
    val metadata = Metadata()
    metadata.put(Metadata.Key.of("authorization", Metadata.ASCII_STRING_MARSHALLER), s"Bearer $token")
    MetadataUtils.newAttachHeadersInterceptor(metadata)
