package headwater.samples

import headwater.client.*
import headwater.stats.v1.stats.*

/** Prints the total of ACC-0001, once what the token stands for is counted. */
@main def totals(target: String, token: String): Unit =
  val client = HeadwaterClient(ClientOptions(target, token = sys.env.get("HEADWATER_TOKEN")))
  try
    val query = StatQuery(stream = "transactions", stat = "account_total", by = "ACC-0001")
    for value <- client.getStats(GetStatsRequest(Seq(query), token)).results.head.values do
      println(s"${value.key} ${value.text}")
  finally client.close()
