package headwater.transactions

import com.google.gson.{JsonObject, JsonParser}
import java.io.IOException
import java.net.{URI, URLDecoder, URLEncoder}
import java.net.http.{HttpClient, HttpRequest, HttpResponse}
import java.nio.charset.StandardCharsets.UTF_8
import java.time.Duration
import java.util.Base64
import scala.util.control.NonFatal

/** The schema registry, of which programs only read: no client registers a schema. */
final class Registry(address: String, timeoutS: Double):
  import Registry.*

  private val base = address.stripSuffix("/")
  private val uri =
    try
      val uri = URI.create(base)
      if !Set("http", "https")(String.valueOf(uri.getScheme).toLowerCase) || uri.getHost == null then
        throw IllegalArgumentException()
      uri
    catch
      case NonFatal(_) =>
        throw Failure(
          Failure.Usage,
          s"--schema-registry: \"${withoutUser(base)}\" is no address; give one such as http://127.0.0.1:8081"
        )
  private val http = HttpClient.newBuilder.connectTimeout(Duration.ofMillis(RequestTimeoutMs)).build()

  // The address as it is said and asked: the name and password before the host go as a header, and nowhere else.
  private val shown = base.replaceFirst("//[^/@]*@", "//")
  private val basicAuth = Option(uri.getRawUserInfo).map { user =>
    val plain = URLDecoder.decode(user.replace("+", "%2B"), UTF_8)
    s"Basic ${Base64.getEncoder.encodeToString(plain.getBytes(UTF_8))}"
  }

  /** The latest schema of a subject: its id and its text. */
  def latest(subject: String): (Int, String) =
    get(s"/subjects/${URLEncoder.encode(subject, UTF_8)}/versions/latest") match
      case Some(answer) => answered(answer)(json => (json.get("id").getAsInt, json.get("schema").getAsString))
      case None =>
        throw Failure.away(
          s"the schema registry at $shown has no subject $subject: start the platform, which registers its " +
            "contracts, or check --topic and --schema-registry"
        )

  /** The text of a schema, or None where the registry knows no such id. */
  def byId(id: Int): Option[String] =
    get(s"/schemas/ids/${Integer.toUnsignedString(id)}").map(answered(_)(_.get("schema").getAsString))

  private def answered[A](answer: JsonObject)(take: JsonObject => A): A =
    try take(answer)
    catch
      case NonFatal(_) =>
        throw Failure.away(s"what answers at $shown is no schema registry: it gives no schema; check --schema-registry")

  private def get(path: String): Option[JsonObject] =
    val request = HttpRequest
      .newBuilder(URI.create(shown + path))
      .timeout(Duration.ofMillis(RequestTimeoutMs))
    request.header("accept", "application/vnd.schemaregistry.v1+json, application/json")
    basicAuth.foreach(request.header("authorization", _))
    val deadline = System.nanoTime + (timeoutS * 1e9).toLong
    var waitMs = RetryFirstMs
    var answer: Option[Option[JsonObject]] = None
    while answer.isEmpty do
      val trouble =
        try
          val response = http.send(request.build(), HttpResponse.BodyHandlers.ofString(UTF_8))
          response.statusCode match
            case 200 =>
              answer = Some(Some(JsonParser.parseString(response.body).getAsJsonObject))
              ""
            case 404 if isOfApi(response.body) =>
              answer = Some(None)
              ""
            case 404 =>
              throw Failure.away(
                s"there is no registry's API at $shown: it answers 404. Apicurio's is below /apis/ccompat/v7"
              )
            case status if status == 429 || status >= 500 => s"it answers with status $status"
            case status =>
              throw Failure.away(
                s"the schema registry at $shown refuses $path with status $status: ${response.body.take(200)}"
              )
        catch
          case e: IOException => Option(e.getMessage).getOrElse(e.getClass.getSimpleName)
          case e: RuntimeException =>
            throw Failure.away(
              s"what answers at $shown is no schema registry: ${e.getMessage}; check --schema-registry"
            )
      if answer.isEmpty then
        if System.nanoTime + waitMs * 1000000L > deadline then
          throw Failure.away(
            f"the schema registry at $shown is away for $timeoutS%.0f s: $trouble; start it, or check --schema-registry"
          )
        Thread.sleep(waitMs)
        waitMs = math.min(2 * waitMs, RetryLastMs)
    answer.get

object Registry:
  private val RequestTimeoutMs = 5000L
  private val RetryFirstMs = 100L
  private val RetryLastMs = 2000L

  /** What may be shown of an address, whether it is one or not: nothing that stands before an @. */
  private def withoutUser(address: String): String = address.replaceFirst("(?s)^([A-Za-z][A-Za-z0-9+.-]*://)?.*@", "$1")

  /** Whether a 404 is the API's answer, with a code of its own such as 40401, and not a path that nobody knows. */
  private def isOfApi(body: String): Boolean =
    try JsonParser.parseString(body).getAsJsonObject.get("error_code").getAsInt / 100 == 404
    catch case NonFatal(_) => false
