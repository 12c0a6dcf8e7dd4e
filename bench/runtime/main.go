// Command runtime measures the component runtime: lines NAME ratio=R target=…, each ratio against a peer or against itself at a tenth of
// the size, in the same run; and, printed beside, times of what an operator waits for. It must not know any component.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"carbonado.dev/carbonado/bench/bare"
)

// line is one measurement. It prints its own result.
type line struct {
	name string
	run  func(o options) error
}

type options struct {
	root   string
	rounds int
}

var lines = []line{
	{"call", measureCall},
	{"plan", measurePlan},
	{"graph", measureGraph},
	{"start", measureStart},
	{"times", measureTimes},
}

func main() {
	if bare.Main() || callMain() {
		return
	}
	var o options
	flag.StringVar(&o.root, "root", ".", "the repository")
	flag.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement; medians count")
	only := flag.String("only", "", "lines to run, with commas; all if empty")
	flag.Parse()
	status := 0
	for _, l := range lines {
		if *only != "" && !slices.Contains(strings.Split(*only, ","), l.name) {
			continue
		}
		if err := l.run(o); err != nil {
			fmt.Fprintf(os.Stderr, "%s: %v\n", l.name, err)
			status = 1
		}
	}
	os.Exit(status)
}

// print writes one line in the form that all benchmarks have.
func print(name string, ratio, target float64, remark string, args ...any) {
	fmt.Printf("%s ratio=%.2f target=<=%g (%s)\n", name, ratio, target, fmt.Sprintf(remark, args...))
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

func seconds(d []time.Duration) (middle, worst float64) {
	return median(d).Seconds(), slices.Max(d).Seconds()
}
