// Command start measures the time from exec of the kernel to all components ACTIVE, against as many bare go-plugin plugins started in
// parallel, in turn within one run. It must not know any component.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"slices"
	"time"

	"carbonado.dev/carbonado/bench/bare"
	"carbonado.dev/carbonado/bench/server"
)

func main() {
	if bare.Main() {
		return
	}
	rounds := flag.Int("rounds", 7, "pairs of starts")
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := measure(*root, *rounds); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(root string, rounds int) error {
	i, err := server.Lay(root)
	if err != nil {
		return err
	}
	defer i.Remove()
	ctx := context.Background()
	var ratios []float64
	var last time.Duration
	for n := range rounds + 1 {
		r, err := i.Start(ctx)
		if err != nil {
			return err
		}
		pids, err := i.Processes(ctx)
		if err != nil {
			return err
		}
		if err := r.Stop(); err != nil {
			return err
		}
		components := len(pids) - server.Own
		plain, err := bare.Start(components)
		if err != nil {
			return err
		}
		if n == 0 {
			continue // the first start makes keys, users and tables
		}
		ratios = append(ratios, r.Took.Seconds()/plain.Seconds())
		last = r.Took
	}
	slices.Sort(ratios)
	fmt.Printf("start-to-active ratio=%.2f target=<=5 (median of %d pairs; the last start took %s)\n", ratios[len(ratios)/2], rounds, last.Round(time.Millisecond))
	return nil
}
