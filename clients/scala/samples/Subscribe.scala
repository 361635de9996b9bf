package headwater.samples

import headwater.client.*
import headwater.stats.v1.stats.*

/** Prints an account's total, and again whenever it changes, so many times. */
@main def subscribe(target: String, account: String, times: Int): Unit =
  val client = HeadwaterClient(ClientOptions(target, token = sys.env.get("HEADWATER_TOKEN")))
  val query = StatQuery(stream = "transactions", stat = "account_total", by = account)
  val answers = client.subscribeStats(SubscribeStatsRequest(Seq(query)))
  try answers.take(times).foreach(answer => println(answer.results.head.values.map(_.text).mkString))
  finally
    answers.close()
    client.close()
