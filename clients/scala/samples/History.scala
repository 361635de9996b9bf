package headwater.samples

import com.google.protobuf.timestamp.Timestamp
import headwater.client.*
import headwater.event.v1.transaction.Transaction
import headwater.stats.v1.stats.*

/** Prints an account's transactions of the last hour, page by page. */
@main def history(target: String, account: String): Unit =
  val client = HeadwaterClient(ClientOptions(target, token = sys.env.get("HEADWATER_TOKEN")))
  try
    val start = Timestamp(java.time.Instant.now.getEpochSecond - 3600, 0)
    val first = QueryHistoryRequest("transactions", startTime = Some(start), key = account, pageSize = 2)
    val pages = Iterator.unfold(Option(first)) {
      _.map { request =>
        val page = client.queryHistory(request)
        page -> Option.when(page.nextPageToken.nonEmpty)(request.copy(pageToken = page.nextPageToken))
      }
    }
    for page <- pages; stored <- page.events do
      val event = stored.getEvent.unpack[Transaction]
      println(s"${event.transactionId} ${event.amount}")
  finally client.close()
