package store_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"

	"carbonado.dev/carbonado/components/dataservice/manifest"
	"carbonado.dev/carbonado/components/dataservice/rows"
	"carbonado.dev/carbonado/components/dataservice/store"
	"carbonado.dev/carbonado/components/dataservice/storetest"
	"carbonado.dev/sdk/frame"
)

// BenchmarkAppend is 8 producers with one frame of 200 events of about 200 bytes each on its way, with segments cut meanwhile. One
// operation is one event.
func BenchmarkAppend(b *testing.B) {
	const producers, batchRows = 8, 200
	dir := b.TempDir()
	s, err := store.Open(store.Options{Dir: filepath.Join(dir, "data"), Segments: filepath.Join(dir, "segments"), Staging: filepath.Join(dir, "staging")})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	text, number := arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64
	st := storetest.NewStream(b, "s:1.0.0", arrow.Field{Name: "host", Type: text}, arrow.Field{Name: "service", Type: text}, arrow.Field{Name: "level", Type: text},
		arrow.Field{Name: "user", Type: text}, arrow.Field{Name: "message", Type: text}, arrow.Field{Name: "code", Type: arrow.PrimitiveTypes.Int32},
		arrow.Field{Name: "latency", Type: arrow.PrimitiveTypes.Float64}, arrow.Field{Name: "bytes", Type: number})
	target := manifest.Target{}
	for _, f := range st.Schema.Fields()[1:9] {
		typ, _ := rows.FromArrow(f.Type)
		target.Columns = append(target.Columns, manifest.TargetColumn{From: f.Name, To: rows.Column{Name: f.Name, Type: typ}})
	}
	if _, err := s.CreateTable("t", "", manifest.Schema{}, false); err != nil {
		b.Fatal(err)
	}
	if err := s.Bind(st.Name, "t", st.Info.Body, target); err != nil {
		b.Fatal(err)
	}
	var templates [16][]byte
	n := uint32(0)
	for i := range templates {
		var rs []storetest.Row
		for range batchRows {
			n++
			x := n * 2654435761
			rs = append(rs, storetest.Row{"_timestamp": 1_700_000_000_000 + int64(n/100), "host": fmt.Sprintf("host-%03d", x>>8%200), "service": fmt.Sprintf("service-%02d", x>>7%50),
				"level": []string{"DEBUG", "INFO", "WARN", "ERROR", "FATAL"}[x>>5%5], "user": fmt.Sprintf("user-%06d", x>>4%100000),
				"message": fmt.Sprintf("request %d to /api/v1/resource/%d finished after %d steps with outcome %d of class A", x, x>>3, x>>9%100, x>>11%10),
				"code":    int32(200 + x>>12%300), "latency": float64(x%100000) / 97, "bytes": int64(x >> 2 % 1000000)})
		}
		templates[i] = st.Frame(b, frame.Source{}, 0, rs)
	}
	b.SetBytes(int64(len(templates[0]) / batchRows))
	b.ResetTimer()
	begin := time.Now()
	var wg sync.WaitGroup
	for p := range producers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			done := make(chan error, 1)
			bufs := make([][]byte, len(templates))
			for i := range bufs {
				bufs[i] = bytes.Clone(templates[i])
			}
			for i := 0; i < b.N/producers; i += batchRows {
				buf := bufs[i/batchRows%len(bufs)]
				h, body, _, err := frame.Parse(buf)
				if err != nil {
					b.Error(err)
					return
				}
				h.Source, h.Counter, h.Parts = frame.Source{byte(p + 1)}, uint64(i/batchRows+1), 1
				s.Append(st.Name, h, buf, body, func(err error) { done <- err })
				if err := <-done; err != nil {
					b.Error(err)
					return
				}
			}
		}()
	}
	wg.Wait()
	acked := time.Since(begin)
	if err := s.Cut(context.Background(), "t"); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/acked.Seconds(), "acked/s")
	b.ReportMetric(float64(b.N)/time.Since(begin).Seconds(), "cut/s")
}
