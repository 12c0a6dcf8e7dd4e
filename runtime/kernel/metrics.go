package kernel

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"google.golang.org/grpc"

	"carbonado.dev/carbonado/runtime/reconcile"
	diagv1 "carbonado.dev/sdk/proto/carbonado/diag/v1"
)

// metricsPatience is how long a component may take to tell its counters; one that takes longer is left out this time.
const metricsPatience = 2 * time.Second

// metrics is what GET /metrics shows: the kernel's own numbers, and those of each component under the label component.
type metrics struct {
	k           *Kernel
	registry    *prometheus.Registry
	transitions *prometheus.CounterVec
	plans       prometheus.Histogram
	requests    *prometheus.CounterVec
	seconds     *prometheus.HistogramVec
}

func newMetrics(k *Kernel) *metrics {
	m := &metrics{
		k: k, registry: prometheus.NewRegistry(),
		transitions: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "carbonado_transitions_total", Help: "Moves of components from one state to another."}, []string{"component", "to"}),
		plans: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "carbonado_plan_seconds", Help: "Time to read the installation and to plan.",
			Buckets: []float64{0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5}}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "carbonado_gateway_requests_total", Help: "Requests that the gateway has answered."}, []string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "carbonado_gateway_request_seconds", Help: "Duration of requests through the gateway.",
			Buckets: []float64{0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10}}, []string{"route"}),
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{Name: "carbonado_build_info", Help: "1, with the version as label.", ConstLabels: prometheus.Labels{"version": k.options.Version}})
	build.Set(1)
	m.registry.MustRegister(m.transitions, m.plans, m.requests, m.seconds, build, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), looker{m})
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second, ErrorHandling: promhttp.ContinueOnError})
}

func (m *metrics) transition(component, to string) {
	m.transitions.WithLabelValues(component, to).Inc()
}

func (m *metrics) planned(took time.Duration) { m.plans.Observe(took.Seconds()) }

func (m *metrics) request(route string, status int, took time.Duration) {
	m.requests.WithLabelValues(route, strconv.Itoa(status)).Inc()
	m.seconds.WithLabelValues(route).Observe(took.Seconds())
}

// looker collects what is so at the moment of a look. Its families are not known before: components have numbers of their own.
type looker struct{ m *metrics }

// Describe implements prometheus.Collector: none in advance.
func (looker) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (l looker) Collect(out chan<- prometheus.Metric) {
	k := l.m.k
	if k.reconciler == nil {
		return
	}
	number := func(name, help string, kind prometheus.ValueType, v float64, labels prometheus.Labels) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, labels), kind, v)
	}
	for _, v := range k.reconciler.Views() {
		if v.Planned == nil {
			continue
		}
		c, labels := k.line(v), prometheus.Labels{"component": v.Name}
		number("carbonado_component_state", "1 for the state that the component is in.", prometheus.GaugeValue, 1, prometheus.Labels{"component": v.Name, "state": c.State})
		number("carbonado_component_health", "1 for the health that the component has.", prometheus.GaugeValue, 1, prometheus.Labels{"component": v.Name, "health": c.Health})
		number("carbonado_component_restarts_total", "Unasked ends of the component's process.", prometheus.CounterValue, float64(v.Restarts), labels)
		if p, ok := processOf(v.Pid); ok {
			number("carbonado_component_cpu_seconds_total", "CPU time of the component's process.", prometheus.CounterValue, p.cpu.Seconds(), labels)
			number("carbonado_component_resident_bytes", "Resident memory of the component's process.", prometheus.GaugeValue, float64(p.rss), labels)
			number("carbonado_component_threads", "Threads of the component's process.", prometheus.GaugeValue, float64(p.threads), labels)
			number("carbonado_component_open_files", "Open descriptors of the component's process.", prometheus.GaugeValue, float64(p.files), labels)
		}
	}
	for name, list := range k.counters(context.Background()) {
		for _, m := range list {
			for _, s := range m.Samples {
				if x := constMetric(name, m, s); x != nil {
					out <- x
				}
			}
		}
	}
}

// constMetric turns a component's sample into one of Prometheus; nil if it can't be one.
func constMetric(component string, m *diagv1.Metric, s *diagv1.Sample) prometheus.Metric {
	labels := prometheus.Labels{}
	maps.Copy(labels, s.Labels)
	labels["component"] = component
	desc := prometheus.NewDesc(m.Name, m.Help, nil, labels)
	var x prometheus.Metric
	var err error
	switch m.Kind {
	case diagv1.Metric_KIND_HISTOGRAM:
		buckets := map[float64]uint64{}
		for _, b := range s.Buckets {
			buckets[b.UpperBound] = b.Count
		}
		x, err = prometheus.NewConstHistogram(desc, s.Count, s.Value, buckets)
	case diagv1.Metric_KIND_COUNTER:
		x, err = prometheus.NewConstMetric(desc, prometheus.CounterValue, s.Value)
	default:
		x, err = prometheus.NewConstMetric(desc, prometheus.GaugeValue, s.Value)
	}
	if err != nil {
		return nil // a name that Prometheus does not take
	}
	return x
}

// counters asks all components at once for their counters; those that don't answer are left out.
func (k *Kernel) counters(ctx context.Context) map[string][]*diagv1.Metric {
	ctx, cancel := context.WithTimeout(ctx, metricsPatience)
	defer cancel()
	var (
		mu  sync.Mutex
		wg  sync.WaitGroup
		out = map[string][]*diagv1.Metric{}
	)
	conns := k.reconciler.Conns()
	for _, name := range slices.Sorted(maps.Keys(conns)) {
		wg.Go(func() {
			r, err := diagv1.NewDiagnosticsClient(conns[name]).Metrics(ctx, &diagv1.MetricsRequest{}, grpc.MaxCallRecvMsgSize(16<<20))
			if err != nil {
				return
			}
			mu.Lock()
			defer mu.Unlock()
			out[name] = r.Metrics
		})
	}
	wg.Wait()
	out[reconcile.KernelName] = k.telemetry.Metrics()
	return out
}
