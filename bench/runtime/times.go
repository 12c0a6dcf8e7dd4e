package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"carbonado.dev/carbonado/bench/server"
)

// patience bounds every wait of measureTimes.
const patience = time.Minute

// stage is a server with a provider, Oracle, and a component that calls it all the time, Caller.
type stage struct {
	*server.Installation
	exe string
	ctx context.Context
}

// measureTimes prints what an operator waits for: from kill -9 to served again, the longest stall of a caller during an update and during
// an upgrade of the kernel, and from a dropped package to ACTIVE. Medians and worst; they depend on the machine, so they have no target.
func measureTimes(o options) (err error) {
	i, err := server.LayEmpty(o.root)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, i.Remove()) }()
	s := &stage{Installation: i, exe: filepath.Join(filepath.Dir(i.Home), "music"), ctx: context.Background()}
	if err := build(o.root, s.exe, "./bench/music"); err != nil {
		return err
	}
	if err := s.Package(s.exe, "Oracle", oracle("1.0.0")); err != nil {
		return err
	}
	caller := strings.Replace(node("Caller", "Oracle"), "version: 1.0.0\n", "version: 1.0.0\nconfig: {properties: {call: {type: boolean, default: true}}}\n", 1)
	if err := s.Package(s.exe, "Caller", caller); err != nil {
		return err
	}
	r, err := s.Start(s.ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Stop()) }()
	steps := []struct {
		name string
		do   func(round int) error
	}{
		{"kill-to-serving", s.kill},
		{"stall-of-update", s.update},
		{"stall-of-kernel-upgrade", func(n int) error { return s.upgrade(o.root, n) }},
	}
	for _, step := range steps {
		var stalls []time.Duration
		for n := range o.rounds {
			began := time.Now()
			if err := step.do(n); err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			stall, err := s.longest(began)
			if err != nil {
				return fmt.Errorf("%s: %w", step.name, err)
			}
			stalls = append(stalls, stall)
		}
		middle, worst := seconds(stalls)
		fmt.Printf("%s median=%.3fs worst=%.3fs (longest call of a caller that never stops, %d times; calls under 5 ms count as 0)\n", step.name, middle, worst, o.rounds)
	}
	return s.drops(o.rounds)
}

func build(root, out, pkg string, flags ...string) error {
	cmd := exec.Command("go", append(append([]string{"build", "-trimpath", "-o", out}, flags...), pkg)...)
	cmd.Dir, cmd.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, text)
	}
	return nil
}

// oracle is the provider's descriptor; its budget lets it be killed often.
func oracle(version string) string {
	text := strings.Replace(node("Oracle", ""), "version: 1.0.0\nsummary", "version: "+version+"\nsummary", 1)
	return strings.Replace(text, "executable:", "restart: {budget: 1000, per: 10m}\nexecutable:", 1)
}

func (s *stage) pid(name string) (int, string, error) {
	list, err := s.Components(s.ctx)
	if err != nil {
		return 0, "", err
	}
	for _, c := range list {
		if c.Name == name && c.State == "ACTIVE" {
			return c.Pid, c.Version, nil
		}
	}
	return 0, "", fmt.Errorf("%s is not ACTIVE", name)
}

// until looks again every millisecond or so until ok holds.
func until(what string, ok func() bool) error {
	for began := time.Now(); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Since(began) > patience {
			return fmt.Errorf("%s did not come within %s", what, patience)
		}
	}
	return nil
}

func (s *stage) kill(int) error {
	pid, _, err := s.pid("Oracle")
	if err != nil {
		return err
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		return err
	}
	return until("another process of Oracle", func() bool {
		now, _, err := s.pid("Oracle")
		return err == nil && now != pid
	})
}

func (s *stage) update(n int) error {
	version := fmt.Sprintf("1.%d.0", n+1)
	if err := s.Package(s.exe, "Oracle", oracle(version)); err != nil {
		return err
	}
	return until("version "+version+" of Oracle", func() bool {
		_, now, err := s.pid("Oracle")
		return err == nil && now == version
	})
}

func (s *stage) upgrade(root string, n int) error {
	file := filepath.Join(filepath.Dir(s.Home), "next")
	if err := build(root, file, "./runtime/cmd/carbonado", "-ldflags", fmt.Sprintf("-s -w -X main.version=9.0.%d", n)); err != nil {
		return err
	}
	before, _, err := s.pid("Oracle")
	if err != nil {
		return err
	}
	if out, err := s.Command(s.ctx, "upgrade", file).CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	after, _, err := s.pid("Oracle")
	if err == nil && before != after {
		err = errors.New("the kernel did not take the components over")
	}
	return err
}

// longest is the longest call of Caller that began or was under way after a time; a failed call is an error.
func (s *stage) longest(since time.Time) (time.Duration, error) {
	f, err := os.Open(filepath.Join(s.Home, "repository", "data", "Caller", "calls"))
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var most time.Duration
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var began, took int64
		var failure string
		if n, _ := fmt.Sscan(lines.Text(), &began, &took, &failure); n < 3 {
			continue // it is being written
		}
		if time.Unix(0, began+took).Before(since) {
			continue
		}
		if failure != "<nil>" {
			return 0, fmt.Errorf("a call failed: %s", lines.Text())
		}
		most = max(most, time.Duration(took))
	}
	return most, nil
}

// drops measures from the rename of a signed package into dropins until its component is ACTIVE.
func (s *stage) drops(rounds int) error {
	dir := filepath.Dir(s.Home)
	run := func(args ...string) error {
		if out, err := s.Command(s.ctx, args...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), err, out)
		}
		return nil
	}
	key := filepath.Join(dir, "key")
	if err := errors.Join(run("plugin", "keygen", "-o", key), run("plugin", "trust", key+".pub")); err != nil {
		return err
	}
	var times []time.Duration
	for n := range rounds {
		name := fmt.Sprintf("Dropped%d", n)
		file := filepath.Join(dir, name+".carbonado")
		if err := s.Folder(s.exe, name, node(name, "")); err != nil {
			return err
		}
		pack := s.Command(s.ctx, "plugin", "pack", "-o", file)
		pack.Dir = filepath.Join(dir, "packages", name)
		if out, err := pack.CombinedOutput(); err != nil {
			return fmt.Errorf("pack: %w\n%s", err, out)
		}
		if err := run("plugin", "sign", file, "--key", key); err != nil {
			return err
		}
		began := time.Now()
		if err := os.Rename(file, filepath.Join(s.Home, "repository", "components", "dropins", filepath.Base(file))); err != nil {
			return err
		}
		if err := until(name, func() bool { _, _, err := s.pid(name); return err == nil }); err != nil {
			return err
		}
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	middle, worst := seconds(times)
	fmt.Printf("drop-to-serving median=%.3fs worst=%.3fs (a signed package renamed into dropins until its component is ACTIVE, %d times)\n", middle, worst, rounds)
	return nil
}
