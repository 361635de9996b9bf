package headwater.transactions

import java.util.{Timer, TimerTask}

/** Says each second how many records are sent so far, and how many a second since it was last said. */
final class Progress(sent: () => Long, say: String => Unit) extends AutoCloseable:
  import Progress.*

  private val timer = Timer("progress", true)
  private val tick = new TimerTask:
    private var last = 0L
    private var lastAt = System.nanoTime
    def run(): Unit =
      val (now, at) = (sent(), System.nanoTime)
      say(f"$now sent, ${(now - last) * 1e9 / (at - lastAt)}%.0f/s")
      last = now
      lastAt = at
  timer.schedule(tick, EveryMs, EveryMs)

  def close(): Unit = timer.cancel()

object Progress:
  private val EveryMs = 1000L
