"""Transactions straight from and to Kafka: a producer and a consumer that sums them by account."""
