package headwater.bench

import com.sun.management.OperatingSystemMXBean
import headwater.event.v1.transaction.Transaction
import headwater.transactions.*
import java.io.{OutputStream, PrintStream}
import java.lang.management.ManagementFactory
import java.util.{List as JList, Map as JMap, UUID}
import java.util.concurrent.TimeUnit
import java.util.concurrent.atomic.AtomicBoolean
import org.apache.kafka.clients.admin.{Admin, NewTopic}

/** Messages a second of the producer and the consumer, each beside the least that anybody would write by hand: wall
  * time and CPU time of the process. The two sides take turns in one JVM; the first rounds only warm up. It ends by
  * itself.
  */
object Throughput:
  private val Partitions = 4
  private val Customers = 20
  private val PoolSize = 10000
  private val WarmUpRounds = 2

  /** What a side did in a round. */
  final case class Taken(wallS: Double, cpuS: Double)

  /** A side: a name, and a run over all messages, whose first measured moment it says itself. */
  type Side = () => Taken

  private val cpu = ManagementFactory.getOperatingSystemMXBean.asInstanceOf[OperatingSystemMXBean]

  /** A moment by both clocks. */
  final class Moment:
    private val wall = System.nanoTime
    private val used = cpu.getProcessCpuTime
    def taken: Taken = Taken((System.nanoTime - wall) / 1e9, (cpu.getProcessCpuTime - used) / 1e9)

  def main(args: Array[String]): Unit =
    val number = (at: Int, default: Int) => args.lift(at).map(_.toInt).getOrElse(default)
    val (messages, rounds, only) = (number(0, 500000), number(1, 5), args.lift(2))
    val kafka = sys.env("HEADWATER_TEST_KAFKA")
    val registry = sys.env("HEADWATER_TEST_REGISTRY")
    val List(full, written) = List.fill(2)(s"scala-bench-${UUID.randomUUID()}"): @unchecked
    val admin = Admin.create(JMap.of("bootstrap.servers", kafka))
    val topics = JList.of(full, written)
    try
      admin.createTopics(topics.stream.map(NewTopic(_, Partitions, 1.toShort)).toList).all.get(20, TimeUnit.SECONDS)
      topics.forEach(headwater.Parts.registerSchema(_, headwater.Parts.schema): Unit)
      val common = Common(broker = kafka, registry = registry, topic = full, quiet = true)
      val sides = Sides(common, written, messages)
      sides.ourProducer(full)()
      println(s"$rounds rounds of $messages messages, medians; CPU is user and system of the process")
      println(
        f"${""}%-24s${"ours/s"}%10s${"bare/s"}%10s${"ratio"}%7s${"ours/CPU s"}%12s${"bare/CPU s"}%12s${"ratio"}%7s"
      )
      val pairs = List[(String, Side, Side)](
        ("producer", sides.ourProducer(written), sides.peerProducer),
        ("producer, made-up input", sides.ourMadeUp, sides.peerMadeUp),
        ("consumer", sides.ourConsumer(withState = false), sides.peerConsumer),
        ("consumer --state", sides.ourConsumer(withState = true), sides.peerConsumer)
      )
      for (name, ours, peer) <- pairs if only.forall(_ == name) do row(name, ours, peer, messages, rounds)
    finally
      admin.deleteTopics(topics).all.get(20, TimeUnit.SECONDS)
      admin.close()

  private def row(name: String, ours: Side, peer: Side, messages: Int, rounds: Int): Unit =
    val taken = (1 to WarmUpRounds + rounds)
      .map { round =>
        // Who is first changes too.
        if round % 2 == 0 then
          val first = ours()
          (first, peer())
        else
          val first = peer()
          (ours(), first)
      }
      .drop(WarmUpRounds)
    def median(values: Seq[Double]) = values.sorted.apply(values.size / 2)
    def rate(seconds: ((Taken, Taken)) => Double) = messages / median(taken.map(seconds))
    val wall = (rate(_._1.wallS), rate(_._2.wallS))
    val perCpu = (rate(_._1.cpuS), rate(_._2.cpuS))
    println(
      f"$name%-24s${wall._1}%10.0f${wall._2}%10.0f${wall._1 / wall._2}%7.2f" +
        f"${perCpu._1}%12.0f${perCpu._2}%12.0f${perCpu._1 / perCpu._2}%7.2f"
    )

  /** Transactions that are ready, the same ones over and over. */
  final class Pool:
    private val made =
      val generator = Generator(Customers, 7)
      Array.fill(PoolSize)(generator.next())
    def apply(at: Int): Transaction = made(at % PoolSize)

  /** Runs one of our programs with what it prints thrown away. */
  def silently(run: AtomicBoolean => Int): Unit =
    val (out, err) = (System.out, System.err)
    val nowhere = PrintStream(OutputStream.nullOutputStream)
    System.setOut(nowhere)
    System.setErr(nowhere)
    val code =
      try run(AtomicBoolean(false))
      finally
        System.setOut(out)
        System.setErr(err)
    if code != 0 then throw IllegalStateException(s"exit code $code")
