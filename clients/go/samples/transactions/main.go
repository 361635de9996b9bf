// Publishes transactions, and reads what their accounts hold once they are counted.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	eventv1 "headwater/clients/go/gen/headwater/event/v1"
	ingestv1 "headwater/clients/go/gen/headwater/ingest/v1"
	statsv1 "headwater/clients/go/gen/headwater/stats/v1"
)

func main() {
	address := "127.0.0.1:50051"
	if len(os.Args) > 1 {
		address = os.Args[1]
	}
	if err := run(address); err != nil {
		log.Fatal(err)
	}
}

func run(address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	connection, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	records, err := transactions()
	if err != nil {
		return err
	}

	// Ten lines: publish, and read with the token, which waits until what was published is counted.
	published, err := ingestv1.NewIngestServiceClient(connection).Publish(ctx, &ingestv1.PublishRequest{Stream: "transactions", Records: records})
	if err != nil {
		return err
	}
	queries := []*statsv1.StatQuery{total("GO-0001"), total("GO-0002")}
	read, err := statsv1.NewStatsServiceClient(connection).GetStats(ctx, &statsv1.GetStatsRequest{Queries: queries, AtLeast: published.ConsistencyToken})
	if err != nil {
		return err
	}

	for place, result := range published.Results {
		if result.GetAccepted() == nil {
			return fmt.Errorf("record %d was not accepted: %v", place, result)
		}
	}
	for _, result := range read.Results {
		for _, value := range result.Values {
			// The platform sums integers of cents and spells them: sums of doubles would not be exact.
			fmt.Println(value.Key, value.Text)
		}
	}
	return nil
}

// What an account holds. Without a key, the answer is the accounts that hold most.
func total(account string) *statsv1.StatQuery {
	return &statsv1.StatQuery{Stream: "transactions", Stat: "account_total", By: account}
}

// Two of one account and one of another. An id counts once, so that each run has ids of its own.
func transactions() ([]*ingestv1.Record, error) {
	now := time.Now()
	var records []*ingestv1.Record
	for place, one := range []struct {
		account string
		amount  float64
	}{{"GO-0001", 0.10}, {"GO-0001", 0.20}, {"GO-0002", 123.45}} {
		event, err := anypb.New(&eventv1.Transaction{
			TransactionId:        fmt.Sprintf("go-%d-%d", now.UnixNano(), place),
			AccountNumber:        one.account,
			TransactionReference: "a sample in Go",
			TransactionDatetime:  timestamppb.New(now),
			Amount:               one.amount,
		})
		if err != nil {
			return nil, err
		}
		records = append(records, &ingestv1.Record{Event: event})
	}
	return records, nil
}
