package headwater.samples

import headwater.client.*
import headwater.stats.v1.stats.*

/** Prints what became of a transaction, once what the token stands for is stored. */
@main def explain(target: String, id: String, token: String): Unit =
  val client = HeadwaterClient(ClientOptions(target, token = sys.env.get("HEADWATER_TOKEN")))
  try
    val answer = client.explainVerdict(ExplainVerdictRequest("transactions", id, token))
    for record <- answer.records do
      println(s"partition ${record.partition}, offset ${record.offset}: ${record.outcome}")
  finally client.close()
