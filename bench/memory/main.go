// Command memory measures the PSS of the whole process tree a minute after a million events, against as many empty components of the
// SDK under the same kernel. The sample's script runs every 15 seconds, so the tree is measured each second for as long and the mean is
// what counts; processes that come and go within it are in it. It must not know any component but by the package verbs that it calls.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"carbonado.dev/carbonado/bench/server"
)

func main() {
	events := flag.Int("events", 1_000_000, "events to send")
	pause := flag.Duration("pause", time.Minute, "rest before the measurement")
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := measure(*root, *events, *pause); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func measure(root string, events int, pause time.Duration) error {
	ctx := context.Background()
	full, most, processes, err := loaded(ctx, root, events, pause)
	if err != nil {
		return err
	}
	empty, err := empties(ctx, root, processes, pause)
	if err != nil {
		return err
	}
	fmt.Printf("memory-pss ratio=%.2f target=<=3 (%d MiB, %d at most, in %d processes and what they start, against %d MiB of as many empty components)\n",
		float64(full)/float64(empty), full>>20, most>>20, processes, empty>>20)
	return nil
}

// loaded runs the whole server, feeds it and measures.
func loaded(ctx context.Context, root string, events int, pause time.Duration) (mean, most int64, processes int, err error) {
	i, err := server.Lay(root)
	if err != nil {
		return 0, 0, 0, err
	}
	defer i.Remove()
	r, err := i.Start(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	defer r.Stop()
	feed := i.Command(ctx, "sample", "smart-home", "--rate", "0", "--count", strconv.Itoa(events))
	feed.Stdout, feed.Stderr = os.Stderr, os.Stderr
	if err := feed.Run(); err != nil {
		return 0, 0, 0, fmt.Errorf("sample: %w", err)
	}
	fmt.Fprintf(os.Stderr, "%d events are in; resting %s\n", events, pause)
	time.Sleep(pause)
	pids, err := i.Processes(ctx)
	if err != nil {
		return 0, 0, 0, err
	}
	for range period {
		sum, err := ofTree(pids)
		if err != nil {
			return 0, 0, 0, err
		}
		mean, most = mean+sum/period, max(most, sum)
		time.Sleep(time.Second)
	}
	return mean, most, len(pids), nil
}

// period in seconds of the sample's script.
const period = 15

// ofTree is the PSS of processes and of those that they have started. One of the latter may end between being found and being measured.
func ofTree(pids []int) (int64, error) {
	var failed error
	for range 10 {
		tree, err := server.Tree(pids)
		if err != nil {
			return 0, err
		}
		sum, err := server.PSS(tree)
		if err == nil {
			return sum, nil
		}
		failed = err
	}
	return 0, failed
}

// empties runs n empty components under a kernel and measures them alone, after the same rest: the SDK gives memory back at rest.
func empties(ctx context.Context, root string, n int, pause time.Duration) (int64, error) {
	i, err := server.Lay(root)
	if err != nil {
		return 0, err
	}
	defer i.Remove()
	plugins := filepath.Join(i.Home, "plugins")
	if err := os.RemoveAll(plugins); err != nil {
		return 0, err
	}
	exe := filepath.Join(i.Home, "empty")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", exe, "./bench/empty")
	build.Dir, build.Env, build.Stderr = root, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return 0, err
	}
	for k := range n {
		name := fmt.Sprintf("Empty%d", k)
		pkg := filepath.Join(i.Home, "packages", name)
		if err := os.MkdirAll(filepath.Join(pkg, "bin"), 0o755); err != nil {
			return 0, err
		}
		text := fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: Does nothing.\nexecutable: bin/%s\n", name, name)
		if err := os.WriteFile(filepath.Join(pkg, "component.yaml"), []byte(text), 0o644); err != nil {
			return 0, err
		}
		if err := os.Link(exe, filepath.Join(pkg, "bin", name)); err != nil {
			return 0, err
		}
		if out, err := i.Command(ctx, "plugin", "install", pkg).CombinedOutput(); err != nil {
			return 0, fmt.Errorf("install: %w\n%s", err, out)
		}
	}
	r, err := i.Start(ctx)
	if err != nil {
		return 0, err
	}
	defer r.Stop()
	time.Sleep(pause)
	pids, err := i.Processes(ctx)
	if err != nil {
		return 0, err
	}
	return server.PSS(pids[server.Own:])
}
