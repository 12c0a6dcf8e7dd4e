package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"carbonado.dev/carbonado/components/indexing/lucene"
	"carbonado.dev/carbonado/components/indexing/search"
	"carbonado.dev/carbonado/components/indexing/segment"
	"carbonado.dev/carbonado/components/indexing/shard"
)

// kinds are the queries that -queries times, from the text on.
var kinds = []struct {
	name, query string
	sort        []search.Sort
}{
	{"term", "message:w17", nil},
	{"common term", "message:w0", nil},
	{"OR of three", "message:w1 message:w30 message:w200", nil},
	{"AND", "+message:w0 +message:w30 +_service:service-7", nil},
	{"phrase", `message:"w1 w2"`, nil},
	{"sloppy phrase", `message:"w1 w2"~4`, nil},
	{"number range", "bytes:[1000 TO 50000]", nil},
	{"term and time", "+message:w1 +_timestamp:[1700000100000 TO 1700000500000]", nil},
	{"prefix", "message:w12*", nil},
	{"wildcard", "message:w1?3*", nil},
	{"leading wildcard", "message:*123*", nil},
	{"fuzzy ~2", "message:w1234~2", nil},
	{"regexp", "message:/w[0-9]*77/", nil},
	{"newest ten", "*:*", []search.Sort{{Field: segment.Time, Kind: segment.Int, Descending: true}}},
	{"term by number", "message:w1", []search.Sort{{Field: "bytes", Kind: segment.Int, Descending: true}}},
	{"term by text", "message:w1", []search.Sort{{Field: "_summary", Kind: segment.Keyword}}},
	{"all by text", "*:*", []search.Sort{{Field: "_message", Kind: segment.Keyword}}},
}

func fieldOf(name string) (lucene.Type, bool) {
	switch name {
	case "message", "summary", "service":
		return lucene.String, true
	case "_message", "_summary", "_service":
		return lucene.Keyword, true
	case "bytes", segment.Time, segment.Seq:
		return lucene.Long, true
	}
	return 0, false
}

// timeQueries prints the median and the worst of each kind's top ten with its total.
func timeQueries(s *shard.Shard) error {
	snap := s.Acquire()
	defer snap.Release()
	fmt.Printf("# %d documents in %d segments: milliseconds, median and worst of 21\n", snap.Documents(), len(snap.Parts))
	for _, k := range kinds {
		var took []time.Duration
		total := 0
		for range 21 {
			start := time.Now()
			n, err := lucene.Parse(k.query, lucene.Options{Field: fieldOf, AllowLeadingWildcard: true})
			if err != nil {
				return err
			}
			r, err := search.Run(context.Background(), snap, search.Request{Node: n, Count: 10, Sort: k.sort})
			if err != nil {
				return err
			}
			took, total = append(took, time.Since(start)), r.Total
		}
		slices.Sort(took)
		fmt.Printf("# query %-18s %8.3f %8.3f  %d hits\n", k.name, took[10].Seconds()*1e3, took[20].Seconds()*1e3, total)
	}
	return nil
}
