package headwater.samples

import com.google.protobuf.any.Any as ProtoAny
import headwater.client.*
import headwater.event.v1.transaction.Transaction
import headwater.ingest.v1.ingest.*

/** Publishes a transaction and prints what became of it, and the token to read it back. */
@main def publish(target: String): Unit =
  val now = com.google.protobuf.timestamp.Timestamp(java.time.Instant.now.getEpochSecond, 0)
  val event = Transaction(java.util.UUID.randomUUID.toString, "ACC-0001", "sample", Some(now), 12.5)
  val client = HeadwaterClient(ClientOptions(target, token = sys.env.get("HEADWATER_TOKEN")))
  try
    val answer = client.publish(PublishRequest("transactions", Seq(Record(Some(ProtoAny.pack(event))))))
    println(s"${answer.results.head.getAccepted.id} ${answer.consistencyToken}")
  finally client.close()
