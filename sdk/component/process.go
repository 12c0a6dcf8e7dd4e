package component

import (
	"runtime"
	"runtime/metrics"

	"carbonado.dev/sdk/telemetry"
)

// processMetrics adds what only the process itself knows of its Go runtime; the kernel sees the rest from outside.
func processMetrics(r *telemetry.Registry) {
	read := func(name string) float64 {
		s := []metrics.Sample{{Name: name}}
		metrics.Read(s)
		switch s[0].Value.Kind() {
		case metrics.KindUint64:
			return float64(s[0].Value.Uint64())
		case metrics.KindFloat64:
			return s[0].Value.Float64()
		}
		return 0
	}
	r.Gauge("carbonado_go_goroutines", "Goroutines of the component.", func() float64 { return float64(runtime.NumGoroutine()) })
	r.Gauge("carbonado_go_heap_bytes", "Bytes of live and not yet swept objects on the Go heap.", func() float64 { return read("/memory/classes/heap/objects:bytes") })
	r.Counter("carbonado_go_gc_cycles_total", "Garbage collections of the Go runtime.", func() float64 { return read("/gc/cycles/total:gc-cycles") })
	r.Counter("carbonado_go_gc_cpu_seconds_total", "CPU time of garbage collection, as the Go runtime estimates it.", func() float64 { return read("/cpu/classes/gc/total:cpu-seconds") })
}
