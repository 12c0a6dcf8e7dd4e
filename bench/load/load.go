// Package load is the stream, the sink and the events that benches of the ingest path share. It must not know how they are sent.
package load

import (
	"fmt"
	"strings"
	"time"

	"carbonado.dev/sdk/agent"
	"carbonado.dev/sdk/databridge/streamdef"
)

// Stream is what the bench publishes: events of about 200 bytes on the wire.
var Stream = &streamdef.Definition{
	Name: "org.acme.bench", Version: "1.0.0",
	Meta: []streamdef.Attribute{{Name: "host", Type: streamdef.String}},
	Payload: []streamdef.Attribute{
		{Name: "serial", Type: streamdef.Long}, {Name: "metro_area", Type: streamdef.String}, {Name: "state", Type: streamdef.String}, {Name: "device_id", Type: streamdef.Int},
		{Name: "power_reading", Type: streamdef.Float}, {Name: "price", Type: streamdef.Double}, {Name: "is_peak", Type: streamdef.Bool}, {Name: "note", Type: streamdef.String},
	},
}

// Names that follow from the stream's.
const (
	SinkName  = "org_acme_bench"
	TableName = "ORG_ACME_BENCH"
)

// SinkFile is the sink of Stream; indexed makes metro_area an indexed column.
func SinkFile(indexed bool) string {
	var b strings.Builder
	b.WriteString("<EventStoreConfiguration><TableSchema>")
	for _, c := range Stream.Columns() {
		typ := map[streamdef.Type]string{streamdef.Int: "INTEGER", streamdef.Long: "LONG", streamdef.Float: "FLOAT", streamdef.Double: "DOUBLE", streamdef.Bool: "BOOLEAN", streamdef.String: "STRING"}[c.Type]
		fmt.Fprintf(&b, "<ColumnDefinition><Name>%s</Name><EnableIndexing>%v</EnableIndexing><Type>%s</Type></ColumnDefinition>", c.Name, indexed && c.Name == "metro_area", typ)
	}
	fmt.Fprintf(&b, "</TableSchema><Source><StreamId>%s</StreamId></Source></EventStoreConfiguration>", Stream.ID())
	return b.String()
}

var areas = [...][2]string{{"New York", "NY"}, {"Los Angeles", "CA"}, {"Chicago", "IL"}, {"Houston", "TX"}, {"Seattle", "WA"}}

// Event is event i.
func Event(i int) agent.Event {
	p := areas[i%len(areas)]
	return agent.Event{Stream: Stream.ID(), Time: start + int64(i), Values: []any{
		fmt.Sprintf("host-%02d", i%40), int64(i), p[0], p[1], int32(i % 7), float32(i%1000) / 3, float64(i) * 1.25, i%2 == 0, fmt.Sprintf("%s %d", filler, i%977),
	}}
}

// start is the time of the first event: 1 November 2026.
var start = time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).UnixMilli()

const filler = "reading of the hour, taken by the meter and sent unchanged"

// poolSize is how many different events a run publishes over and over.
const poolSize = 10_000

// Pool makes the events of a run beforehand, so that making them is not measured.
func Pool() []agent.Event {
	out := make([]agent.Event, poolSize)
	for i := range out {
		out[i] = Event(i)
	}
	return out
}
