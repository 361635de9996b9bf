package headwater.transactions

import com.google.gson.{Gson, JsonElement}
import java.nio.file.{Files, Path}
import java.util.concurrent.atomic.AtomicBoolean
import sun.misc.Signal

/** What both programs do alike: end cleanly on a signal, and turn a failure into its exit code. */
object Program:
  /** Runs a program. SIGINT and SIGTERM set the flag that it looks at; a second one ends it at once. */
  def run(name: String)(body: AtomicBoolean => Int): Unit =
    val stopping = AtomicBoolean(false)
    for signal <- List("INT", "TERM") do
      Signal.handle(Signal(signal), _ => if stopping.getAndSet(true) then Runtime.getRuntime.halt(130))
    val code =
      try body(stopping)
      catch
        case failure: Failure =>
          System.err.println(s"$name: ${failure.getMessage}")
          failure.exitCode
    System.out.flush()
    System.exit(code)

  def writeSummary(path: Option[String], summary: JsonElement): Unit =
    path.foreach(file =>
      try Files.writeString(Path.of(file), Gson().toJson(summary) + "\n")
      catch case e: java.io.IOException => throw Failure(Failure.Usage, s"--summary: $file cannot be written: $e")
    )
