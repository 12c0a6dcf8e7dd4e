// Command compare runs the same benchmarks of two checkouts in turn and fails where the second has lost more than a tenth. It must not know
// what the benchmarks measure: it reads their lines.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// loss is how much worse the head may be than the base.
const loss = 0.10

// result is one benchmark's ratios of one side.
type result struct {
	ratios []float64
	// more: a larger ratio is better (target >=).
	more bool
}

var lineForm = regexp.MustCompile(`^(\S+) ratio=([0-9.]+) target=(<=|>=)`)

func main() {
	base := flag.String("base", "", "the checkout to compare with, built")
	head := flag.String("head", ".", "the checkout to compare, built")
	rounds := flag.Int("rounds", 5, "pairs of runs")
	flag.Parse()
	if err := compare(*base, *head, *rounds, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// compare runs each program (a path within a checkout, with arguments after it) on both sides, in turn, first one and then the other first.
func compare(base, head string, rounds int, program []string) error {
	sides := map[string]map[string]*result{base: {}, head: {}}
	for n := range rounds {
		order := []string{base, head}
		if n%2 == 1 {
			slices.Reverse(order)
		}
		for _, side := range order {
			if err := run(side, program, sides[side]); err != nil {
				return err
			}
		}
		fmt.Fprintf(os.Stderr, "round %d of %d\n", n+1, rounds)
	}
	var lost []string
	for _, name := range slices.Sorted(keys(sides[head])) {
		h, b := sides[head][name], sides[base][name]
		if b == nil {
			fmt.Printf("%s head=%.3f (not in the base)\n", name, median(h.ratios))
			continue
		}
		// Pairs are compared, not sides: what troubled the machine troubled both runs of a pair.
		var changes []float64
		for i := range min(len(h.ratios), len(b.ratios)) {
			change := h.ratios[i]/b.ratios[i] - 1
			if h.more {
				change = b.ratios[i]/h.ratios[i] - 1
			}
			changes = append(changes, change)
		}
		fmt.Printf("%s base=%.3f head=%.3f worse=%+.1f%% (%s of each pair)\n", name, median(b.ratios), median(h.ratios), 100*median(changes), percent(changes))
		if isLoss(changes) {
			lost = append(lost, name)
		}
	}
	for name := range sides[base] {
		if sides[head][name] == nil {
			lost = append(lost, name+" (gone)")
		}
	}
	if len(lost) > 0 {
		return fmt.Errorf("lost more than %.0f %%: %v", 100*loss, lost)
	}
	return nil
}

// isLoss tells whether pairs say that the head is worse: the middle one lost more than a tenth, and three in four lost at all. One pair that
// the machine troubled is not enough.
func isLoss(changes []float64) bool {
	worse := 0
	for _, c := range changes {
		if c > 0 {
			worse++
		}
	}
	return median(changes) > loss && 4*worse >= 3*len(changes)
}

func percent(changes []float64) string {
	var out []string
	for _, c := range changes {
		out = append(out, fmt.Sprintf("%+.0f%%", 100*c))
	}
	return strings.Join(out, " ")
}

func run(side string, program []string, into map[string]*result) error {
	dir, err := filepath.Abs(side)
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(dir, program[0]), program[1:]...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("%s of %s: %w", program[0], side, err)
	}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		m := lineForm.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		ratio, err := strconv.ParseFloat(m[2], 64)
		if err != nil || ratio == 0 {
			return fmt.Errorf("%s: %q has no ratio", side, lines.Text())
		}
		if into[m[1]] == nil {
			into[m[1]] = &result{more: m[3] == ">="}
		}
		into[m[1]].ratios = append(into[m[1]].ratios, ratio)
	}
	return nil
}

func keys(m map[string]*result) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
