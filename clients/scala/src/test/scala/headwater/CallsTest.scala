package headwater

import headwater.client.{ClientOptions, HeadwaterClient, HeadwaterError, PublishOptions}
import headwater.ingest.v1.ingest.*
import io.grpc.Status
import java.io.File
import java.nio.file.{Files, Path}
import java.security.KeyStore
import java.util.Base64
import io.grpc.netty.shaded.io.grpc.netty.GrpcSslContexts
import io.grpc.netty.shaded.io.netty.handler.ssl.SslContextBuilder
import javax.net.ssl.KeyManagerFactory
import scala.concurrent.duration.*
import scala.jdk.CollectionConverters.*

/** Calls that fail, against a server that fails as it is told: retries, streams that break, TLS. */
class CallsTest extends munit.FunSuite:
  override val munitTimeout = 60.seconds

  private def using[A](server: FakePlatform, options: ClientOptions => ClientOptions = identity)(
      work: HeadwaterClient => A
  ): A =
    val client = HeadwaterClient(options(ClientOptions(server.target)))
    try work(client)
    finally
      client.close()
      server.close()

  private def fault(work: => Any): HeadwaterError = intercept[HeadwaterError](work)

  test("what is away for a moment is asked again, as the service config says") {
    val server = FakePlatform()
    using(server) { client =>
      List.fill(2)(FakePlatform.unavailable).foreach(server.faults.add)
      assertEquals(client.publish(PublishRequest("transactions")).consistencyToken, "t")
      assertEquals(server.calls.get, 3)
    }
  }

  test("five attempts, and no more") {
    val server = FakePlatform()
    using(server) { client =>
      List.fill(9)(FakePlatform.unavailable).foreach(server.faults.add)
      assertEquals(fault(client.listStreams()).code, Status.Code.UNAVAILABLE)
      assertEquals(server.calls.get, 5)
    }
  }

  test("what a retry cannot mend is not asked again") {
    for status <- List(Status.INVALID_ARGUMENT, Status.INTERNAL, Status.DEADLINE_EXCEEDED) do
      val server = FakePlatform()
      using(server) { client =>
        server.faults.add(FakePlatform.fault(status))
        assertEquals(fault(client.listStreams()).code, status.getCode)
        assertEquals(server.calls.get, 1, status.toString)
      }
  }

  test("the server says when to ask again, or not to") {
    val server = FakePlatform()
    using(server) { client =>
      server.faults.add(FakePlatform.fault(Status.UNAVAILABLE, Some(700)))
      val began = System.nanoTime
      client.listStreams()
      assert(System.nanoTime - began >= 700e6, "asked again too early")
      assertEquals(server.calls.get, 2)
      server.faults.add(FakePlatform.fault(Status.UNAVAILABLE, Some(-1)))
      assertEquals(fault(client.listStreams()).code, Status.Code.UNAVAILABLE)
      assertEquals(server.calls.get, 3)
    }
  }

  test("a deadline ends a call, retries included") {
    val server = FakePlatform()
    using(server, _.copy(deadline = 300.millis)) { client =>
      server.faults.add(FakePlatform.fault(Status.UNAVAILABLE, Some(20000)))
      assertEquals(fault(client.listStreams()).code, Status.Code.DEADLINE_EXCEEDED)
    }
  }

  private val quick = PublishOptions(inFlight = 4, backoffMin = 5.millis, backoffMax = 50.millis)
  private def batches(count: Int) = (1 to count).iterator.map(n => PublishStreamRequest(n, s"batch-$n"))

  test("a stream that breaks is opened again: nothing is lost, the order is kept, what waits is bounded") {
    val server = FakePlatform()
    using(server) { client =>
      // The second breaks before it has answered anything.
      List(3, 0, 5).foreach(server.breaks.add)
      val answers = client.publishStream(batches(40), quick).toList
      assertEquals(answers.map(_.sequence), (1L to 40L).toList)
      assertEquals(server.calls.get, 4)
      val arrived = server.arrived.asScala.toSeq
      assert(arrived.size > 40, "nothing was sent again, so nothing was tested")
      assertEquals(arrived.distinct.map(_.sequence), (1L to 40L).toSeq)
      assert(server.mostWaiting > 1 && server.mostWaiting <= 4, s"${server.mostWaiting} waited")
      // What is sent again is what was sent: the same batches with the same ids.
      assert(arrived.forall(batch => batch.stream == s"batch-${batch.sequence}"))
    }
  }

  test("a server that comes back gets the rest, one that stays away is given up") {
    val first = FakePlatform()
    val port = first.target.split(':')(1).toInt
    val client = HeadwaterClient(ClientOptions(first.target))
    try
      val patient = quick.copy(attemptsMax = 200)
      val answers = client.publishStream(batches(20), patient)
      assertEquals(answers.next().sequence, 1L)
      first.close()
      val second = FakePlatform(port)
      assertEquals(answers.toList.map(_.sequence), (2L to 20L).toList)
      second.close()
      val ended = fault(client.publishStream(batches(1), quick.copy(attemptsMax = 3)).toList)
      assertEquals(ended.code, Status.Code.UNAVAILABLE)
    finally client.close()
  }

  test("CANCELLED as the server's word is the end of a stream") {
    val server = FakePlatform()
    using(server) { client =>
      server.breaks.add(2)
      server.breaksWith = FakePlatform.fault(Status.CANCELLED)
      val answers = client.publishStream(batches(9), quick)
      assertEquals(List.fill(2)(answers.next().sequence), List(1L, 2L))
      assertEquals(fault(answers.next()).code, Status.Code.CANCELLED)
      assertEquals(server.calls.get, 1)
    }
  }

  test("silence is a broken stream; a refusal and a closed stream are the end") {
    val server = FakePlatform()
    using(server) { client =>
      server.silent = true
      val options = quick.copy(attemptsMax = 2, answerTimeout = 200.millis)
      assert(fault(client.publishStream(batches(1), options).toList).getMessage.contains("no answer for"))
      assertEquals(server.calls.get, 2)
      val stream = client.publishStream(batches(1), quick)
      val closing = Thread(() =>
        while server.calls.get < 3 do Thread.sleep(5)
        stream.close()
      )
      closing.start()
      assertEquals(fault(stream.next()).code, Status.Code.CANCELLED)
    }
    val stranger = HeadwaterClient(ClientOptions("127.0.0.1:1"))
    try
      assertEquals(
        fault(stranger.publishStream(batches(1), quick.copy(attemptsMax = 2)).toList).code,
        Status.Code.UNAVAILABLE
      )
    finally stranger.close()
    intercept[IllegalArgumentException](PublishOptions(inFlight = 0))
  }

  /** A key of its own, with the certificate that it signs itself. */
  private def certificate(): (KeyManagerFactory, File) =
    val store = Files.createTempDirectory("headwater-scala-tls").resolve("key.p12")
    val words = List("-alias", "a", "-keystore", store.toString, "-storepass", "secret", "-storetype", "PKCS12")
    val make = List("-genkeypair", "-keyalg", "EC", "-dname", "CN=test", "-ext", "SAN=ip:127.0.0.1", "-validity", "2")
    val keytool = Path.of(sys.props("java.home"), "bin", "keytool").toString
    val made = ProcessBuilder((keytool :: make ::: words)*).redirectErrorStream(true).start()
    val said = String(made.getInputStream.readAllBytes())
    assertEquals(made.waitFor(), 0, said)
    val keys = KeyStore.getInstance(store.toFile, "secret".toCharArray)
    val factory = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm)
    factory.init(keys, "secret".toCharArray)
    val pem = store.resolveSibling("ca.pem")
    val text = Base64.getMimeEncoder.encodeToString(keys.getCertificate("a").getEncoded)
    Files.writeString(pem, s"-----BEGIN CERTIFICATE-----\n$text\n-----END CERTIFICATE-----\n")
    (factory, pem.toFile)

  test("TLS with the right authority, and with a wrong one") {
    val (keys, ca) = certificate()
    val (_, other) = certificate()
    def server() = FakePlatform(tls = Some(GrpcSslContexts.configure(SslContextBuilder.forServer(keys)).build()))
    using(server(), _.copy(tlsCaFile = Some(ca)))(client => assertEquals(client.listStreams().streams.size, 1))
    val refused = server()
    using(refused, _.copy(tlsCaFile = Some(other), deadline = 3.seconds)) { client =>
      val error = fault(client.listStreams())
      val causes = Iterator.iterate[Throwable](error)(_.getCause).takeWhile(_ != null).map(_.toString).mkString("\n")
      assert(causes.contains("certificate") || causes.contains("PKIX"), causes)
      assertEquals(refused.calls.get, 0)
    }
    val plain = server()
    using(plain, _.copy(deadline = 3.seconds)) { client =>
      fault(client.listStreams())
      assertEquals(plain.calls.get, 0)
    }
  }
