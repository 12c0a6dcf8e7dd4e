package main

import (
	"fmt"
	"math/rand"
	"runtime"
	"strings"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/profile"
)

// planRounds is how often planning is measured at least: a round takes some hundredths of a second, and the median of five was off by a tenth.
const planRounds = 41

// measurePlan is the growth of planning time from 500 to 5,000 components as Equinox's StatePerformanceTest makes them: seed 0, up to
// four services each, up to four uses and four requirements of components made before, one in ten optional.
func measurePlan(o options) error {
	// Ten small ones, each planned once a round, are as much memory as the large one: a plan is made once, not again and again in a warm cache.
	var small [10]plan.Input
	for seed := range small {
		var err error
		if small[seed], err = randomState(500, int64(seed)); err != nil {
			return err
		}
	}
	large, err := randomState(5000, 0)
	if err != nil {
		return err
	}
	var few, many []time.Duration
	for range max(o.rounds, planRounds) {
		runtime.GC()
		began := processorTime()
		for _, in := range small {
			plan.Build(in)
		}
		few = append(few, (processorTime()-began)/time.Duration(len(small)))
		runtime.GC()
		began = processorTime()
		p := plan.Build(large)
		many = append(many, processorTime()-began)
		if n := len(p.Running()); n != 5000 {
			return fmt.Errorf("%d of 5000 components run", n)
		}
	}
	print("plan-growth", median(many).Seconds()/median(few).Seconds(), 12, "500 to 5,000 components, time of the processor, garbage collection included; %s and %s", median(few).Round(10*time.Microsecond), median(many).Round(100*time.Microsecond))
	middle, worst := seconds(many)
	fmt.Printf("planning-time median=%.4fs worst=%.4fs (5,000 components, time of the processor, %d times)\n", middle, worst, len(many))
	return nil
}

// processorTime is what this process has used so far: planning waits for nothing, and others on the machine are not to be measured.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // RUSAGE_SELF can't fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func randomState(n int, seed int64) (plan.Input, error) {
	random := rand.New(rand.NewSource(seed))
	in := plan.Input{Profile: "default", Decide: func(string) profile.Decision { return profile.Decision{Enabled: true, Rule: "default"} }}
	offers := make([]int, n)
	for i := range n {
		offers[i] = 1 + random.Intn(4)
		var b strings.Builder
		fmt.Fprintf(&b, "name: C%d\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides:\n", i)
		for k := range offers[i] {
			fmt.Fprintf(&b, "  - {service: test.c%d.v1.S%d, version: 1.0.0}\n", i, k)
		}
		if uses := random.Intn(5) + random.Intn(5); i > 0 && uses > 0 {
			b.WriteString("requires:\n")
			for k := range uses {
				from := random.Intn(i)
				cardinality := "1..1"
				if random.Intn(10) == 0 {
					cardinality = "0..1"
				}
				fmt.Fprintf(&b, "  - {name: r%d, service: test.c%d.v1.S%d, version: \"[1.0,2)\", cardinality: %s}\n", k, from, random.Intn(offers[from]), cardinality)
			}
		}
		d, err := catalog.ParseDescriptor("component.yaml", []byte(b.String()))
		if err != nil {
			return in, err
		}
		in.Packages = append(in.Packages, &catalog.Package{Name: d.Name, Version: "1.0.0", Descriptor: d})
	}
	return in, nil
}
