package headwater.client

import com.google.rpc.{BadRequest, ErrorInfo, RetryInfo}
import io.grpc.{Status, StatusRuntimeException}
import io.grpc.protobuf.StatusProto
import scala.concurrent.duration.{DurationLong, FiniteDuration}
import scala.jdk.CollectionConverters.*

/** A call that failed: the platform's reason (a page of `docs/errors` each; empty where the fault is not the
  * platform's), the fields at fault, and how long to wait where a retry can help.
  */
final class HeadwaterError(
    val code: Status.Code,
    val reason: String,
    val violations: Seq[HeadwaterError.Violation],
    val retryDelay: Option[FiniteDuration],
    message: String,
    cause: Throwable
) extends Exception(message, cause)

object HeadwaterError:
  final case class Violation(field: String, description: String)

  def of(e: StatusRuntimeException): HeadwaterError =
    val details = Option(StatusProto.fromThrowable(e)).toSeq.flatMap(_.getDetailsList.asScala)
    def all[A <: com.google.protobuf.Message](kind: Class[A]) = details.filter(_.is(kind)).map(_.unpack(kind))
    HeadwaterError(
      e.getStatus.getCode,
      all(classOf[ErrorInfo]).headOption.map(_.getReason).getOrElse(""),
      all(classOf[BadRequest])
        .flatMap(_.getFieldViolationsList.asScala)
        .map(v => Violation(v.getField, v.getDescription)),
      all(classOf[RetryInfo]).headOption.map(info =>
        info.getRetryDelay.getSeconds.seconds + info.getRetryDelay.getNanos.toLong.nanos
      ),
      Option(e.getStatus.getDescription).getOrElse(e.getStatus.getCode.toString),
      e
    )

  private[client] def guarded[A](call: => A): A =
    try call
    catch case e: StatusRuntimeException => throw of(e)
