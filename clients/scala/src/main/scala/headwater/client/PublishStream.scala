package headwater.client

import headwater.ingest.v1.ingest.{IngestServiceGrpc, PublishStreamRequest, PublishStreamResponse}
import io.grpc.{Context, ManagedChannel, Status, StatusRuntimeException}
import io.grpc.stub.StreamObserver
import java.util.ArrayDeque
import java.util.concurrent.{ArrayBlockingQueue, CountDownLatch, ThreadLocalRandom, TimeUnit}
import scala.concurrent.duration.{DurationInt, FiniteDuration}

/** How to publish on a stream. Every field is a bound.
  *
  * `inFlight`: batches without an answer, 1 to 1024. `attemptsMax`: calls in a row that bring no answer. `backoffMin`,
  * `backoffMax`: the wait before the second of them, doubled for each further one; the server may ask for a longer one,
  * up to `pauseMax`. `answerTimeout`: silence that counts as a broken stream.
  */
final case class PublishOptions(
    inFlight: Int = 16,
    attemptsMax: Int = 8,
    backoffMin: FiniteDuration = 100.millis,
    backoffMax: FiniteDuration = 5.seconds,
    pauseMax: FiniteDuration = 60.seconds,
    answerTimeout: FiniteDuration = 30.seconds
):
  require(inFlight >= 1 && inFlight <= 1024, "inFlight: 1 to 1024")
  require(attemptsMax >= 1, "attemptsMax: 1 or more")

/** Batches over calls of PublishStream, until each has its answer: where a call breaks, those without one go out again
  * over the next, in their order.
  */
private[client] final class PublishStream(
    channel: ManagedChannel,
    batches: Iterator[PublishStreamRequest],
    options: PublishOptions
):
  import PublishStream.*

  private val waiting = ArrayDeque[PublishStreamRequest]
  private var link: Option[Link] = None
  private var attempts = 0
  private val closed = CountDownLatch(1)

  def answers: Iterator[PublishStreamResponse] = Iterator.unfold(())(_ => next().map(_ -> ()))

  def close(): Unit =
    closed.countDown()
    synchronized(link).foreach(_.cancel())

  @scala.annotation.tailrec
  private def next(): Option[PublishStreamResponse] =
    val on = link.getOrElse(open())
    while waiting.size < options.inFlight && batches.hasNext do
      val batch = batches.next()
      waiting.addLast(batch)
      on.requests.onNext(batch)
    if waiting.isEmpty then
      // Ending in order, so that the server does not take it for a caller that went away.
      on.requests.onCompleted()
      on.events.poll(GoodbyeMaxS, TimeUnit.SECONDS)
      on.cancel()
      None
    else
      Option(on.events.poll(options.answerTimeout.toMillis, TimeUnit.MILLISECONDS)) match
        case Some(answer: PublishStreamResponse) =>
          val oldest = waiting.removeFirst()
          if answer.sequence != oldest.sequence then
            val text = s"an answer to batch ${answer.sequence}, where ${oldest.sequence} is next"
            throw Status.INTERNAL.withDescription(text).asRuntimeException
          attempts = 0
          Some(answer)
        case Some(fault: StatusRuntimeException) =>
          pause(fault)
          next()
        case None =>
          pause(unavailable(s"no answer for ${options.answerTimeout}"))
          next()

  private def open(): Link =
    attempts += 1
    val opened = Link(channel, options.inFlight)
    synchronized { link = Some(opened) }
    if closed.getCount == 0 then opened.cancel()
    waiting.forEach(opened.requests.onNext(_))
    opened

  /** Waits before the next call, or throws what ended this one. */
  private def pause(fault: StatusRuntimeException): Unit =
    link.foreach(_.cancel())
    synchronized { link = None }
    val error = HeadwaterError.of(fault)
    val retryable = error.code match
      case Status.Code.UNAVAILABLE => true
      // A server or a proxy that goes away resets its streams. That, and no word of the server's, is like UNAVAILABLE.
      case Status.Code.CANCELLED => closed.getCount > 0 && error.getMessage.startsWith(ResetText)
      case Status.Code.RESOURCE_EXHAUSTED => error.retryDelay.nonEmpty
      case _ => false
    val asked = error.retryDelay.getOrElse(0.seconds)
    if !retryable || attempts >= options.attemptsMax || asked > options.pauseMax then throw fault
    val own = (options.backoffMin * (1L << math.max(0, math.min(attempts - 1, DoublingsMax)))).min(options.backoffMax)
    val jittered = own * (0.5 + ThreadLocalRandom.current.nextDouble / 2)
    if closed.await(jittered.max(asked).toMillis, TimeUnit.MILLISECONDS) then
      throw Status.CANCELLED.withDescription("the stream was closed").asRuntimeException
    channel.resetConnectBackoff()

private object PublishStream:
  private val GoodbyeMaxS = 1L
  private val DoublingsMax = 20
  private val ResetText = "RST_STREAM closed stream"

  private def unavailable(text: String) = Status.UNAVAILABLE.withDescription(text).asRuntimeException

  /** One call: what is sent, and what came of it; an end before every batch is answered is a fault. */
  private final class Link(channel: ManagedChannel, inFlight: Int):
    // One place more than can be answered, for the end.
    val events = ArrayBlockingQueue[PublishStreamResponse | StatusRuntimeException](inFlight + 1)
    private val context = Context.current.withCancellation()
    private val observer = new StreamObserver[PublishStreamResponse]:
      // A server that answers more than it was asked fills the queue: the rest says nothing new.
      def onNext(answer: PublishStreamResponse): Unit = events.offer(answer): Unit
      def onError(e: Throwable): Unit =
        events.offer(Status.fromThrowable(e).asRuntimeException(Status.trailersFromThrowable(e))): Unit
      def onCompleted(): Unit =
        events.offer(unavailable("the server ended the stream before every batch was answered")): Unit
    val requests: StreamObserver[PublishStreamRequest] =
      context.wrap(() => IngestServiceGrpc.stub(channel).publishStream(observer)).call()

    def cancel(): Unit = context.cancel(null): Unit
