package headwater

import java.io.{DataInputStream, DataOutputStream, IOException}
import java.net.{InetAddress, ServerSocket, Socket}
import java.nio.ByteBuffer
import java.util.concurrent.ConcurrentHashMap
import java.util.concurrent.atomic.AtomicInteger
import scala.jdk.CollectionConverters.*

/** A way to the real broker that can be cut. The broker tells its clients its own address, so the port in what it
  * answers is changed to this one's: in no answer do the length or a checksum depend on it.
  */
final class KafkaProxy(broker: String) extends AutoCloseable:
  private val Array(host, port) = broker.split(':'): @unchecked
  private val listening = ServerSocket(0, 50, InetAddress.getByName("127.0.0.1"))
  private val open = ConcurrentHashMap.newKeySet[Socket]()
  @volatile private var isCut = false

  /** Connections that found it cut. */
  val refused = AtomicInteger()

  val address = s"127.0.0.1:${listening.getLocalPort}"

  private val theirs = told(port.toInt)
  private val ours = told(listening.getLocalPort)
  daemon(() => accept())

  /** Ends every connection, and each new one at once. */
  def cut(): Unit =
    isCut = true
    open.asScala.foreach(_.close())

  def heal(): Unit = isCut = false

  def close(): Unit =
    listening.close()
    open.asScala.foreach(_.close())

  /** How a broker's address stands in an answer: the host's text, and the port as four bytes. */
  private def told(port: Int): Array[Byte] = host.getBytes ++ ByteBuffer.allocate(4).putInt(port).array

  private def accept(): Unit =
    try
      while true do
        val client = listening.accept()
        if isCut then
          client.close()
          refused.incrementAndGet()
        else
          val server = Socket(host, port.toInt)
          open.add(client)
          open.add(server)
          // It was cut meanwhile, and nobody else closes these.
          if isCut then List(client, server).foreach(_.close())
          daemon(() => pump(client, server)(client.getInputStream.transferTo(server.getOutputStream): Unit))
          daemon(() => pump(client, server)(answers(server, client)))
    catch case _: IOException => () // Closed.

  private def pump(sockets: Socket*)(work: => Unit): Unit =
    try work
    catch case _: IOException => () // Cut.
    finally
      sockets.foreach { socket =>
        socket.close()
        open.remove(socket)
      }

  private def answers(server: Socket, client: Socket): Unit =
    val in = DataInputStream(server.getInputStream)
    val out = DataOutputStream(client.getOutputStream)
    while true do
      val answer = in.readNBytes(in.readInt())
      var at = 0
      while at + theirs.length <= answer.length do
        if java.util.Arrays.equals(answer, at, at + theirs.length, theirs, 0, theirs.length) then
          System.arraycopy(ours, 0, answer, at, ours.length)
        at += 1
      val framed = ByteBuffer.allocate(4 + answer.length).putInt(answer.length).put(answer).array
      out.write(framed)
      out.flush()

  private def daemon(work: Runnable): Unit =
    val thread = Thread(work)
    thread.setDaemon(true)
    thread.start()
