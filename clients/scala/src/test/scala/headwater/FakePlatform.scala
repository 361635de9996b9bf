package headwater

import headwater.ingest.v1.ingest.*
import io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContext
import io.grpc.{Metadata, Status, StatusRuntimeException}
import io.grpc.stub.StreamObserver
import java.net.InetSocketAddress
import java.util.concurrent.{ConcurrentLinkedQueue, Executors, TimeUnit}
import java.util.concurrent.atomic.AtomicInteger
import scala.concurrent.{ExecutionContext, Future}

/** A server of the ingest contract that fails as it is told, for what a real one does not do on demand. */
final class FakePlatform(port: Int = 0, tls: Option[SslContext] = None) extends AutoCloseable:
  /** Faults of the next unary calls. */
  val faults = ConcurrentLinkedQueue[StatusRuntimeException]

  /** How many batches the next streams answer before they break; the others answer all. */
  val breaks = ConcurrentLinkedQueue[Int]
  @volatile var breaksWith = FakePlatform.unavailable

  /** Batches of all streams, in their order, as they came; and how many at most had no answer. */
  val arrived = ConcurrentLinkedQueue[PublishStreamRequest]
  @volatile var mostWaiting = 0
  @volatile var silent = false
  val calls = AtomicInteger()
  private val later = Executors.newSingleThreadScheduledExecutor()

  private object ingest extends IngestServiceGrpc.IngestService:
    def publish(request: PublishRequest): Future[PublishResponse] = answer(PublishResponse(consistencyToken = "t"))
    def listStreams(request: ListStreamsRequest): Future[ListStreamsResponse] =
      answer(ListStreamsResponse(Seq(Stream(name = "transactions"))))

    def publishStream(answers: StreamObserver[PublishStreamResponse]): StreamObserver[PublishStreamRequest] =
      calls.incrementAndGet()
      val limit = Option(breaks.poll())
      new StreamObserver[PublishStreamRequest]:
        private var waiting = Vector.empty[PublishStreamRequest]
        private var answered = 0
        private var ended = false

        def onNext(batch: PublishStreamRequest): Unit = synchronized {
          if !ended then
            arrived.add(batch)
            waiting :+= batch
            mostWaiting = math.max(mostWaiting, waiting.size)
            // Answers come late, so that some batches are without one where a stream breaks.
            later.schedule((() => one()): Runnable, 5, TimeUnit.MILLISECONDS)
        }

        def onCompleted(): Unit = synchronized(if !ended then answers.onCompleted())
        def onError(e: Throwable): Unit = synchronized { ended = true }

        private def one(): Unit = synchronized {
          if !ended && !silent then
            if limit.contains(answered) then
              ended = true
              answers.onError(breaksWith)
            else
              answers.onNext(PublishStreamResponse(waiting.head.sequence))
              waiting = waiting.tail
              answered += 1
        }

    private def answer[A](value: A): Future[A] =
      calls.incrementAndGet()
      Option(faults.poll()).fold(Future.successful(value))(Future.failed)

  private val server =
    val builder = NettyServerBuilder
      .forAddress(InetSocketAddress("127.0.0.1", port))
      .addService(IngestServiceGrpc.bindService(ingest, ExecutionContext.global))
    tls.foreach(builder.sslContext)
    builder.build().start()

  val target = s"127.0.0.1:${server.getPort}"

  def close(): Unit =
    server.shutdownNow().awaitTermination()
    later.shutdownNow(): Unit

object FakePlatform:
  /** A fault, with what the server asks of the retry as trailers. */
  def fault(status: Status, pushbackMs: Option[Int] = None): StatusRuntimeException =
    val trailers = Metadata()
    val pushback = Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER)
    pushbackMs.foreach(ms => trailers.put(pushback, ms.toString))
    status.withDescription("as told").asRuntimeException(trailers)

  def unavailable: StatusRuntimeException = fault(Status.UNAVAILABLE)
