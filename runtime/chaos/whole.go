package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/component"
)

// pause is how long whole waits between two looks.
const pause = 100 * time.Millisecond

// whole waits until the node is whole: RUNNING, every component that should run ACTIVE and replaced as asked, and nothing wrong by
// look. kernel is the pid that the kernel had; where the step ended it, it must be another. At the deadline it says what is not so.
func (r *run) whole(ctx context.Context, kernel int, replaced func(admin.Component) bool) error {
	ctx, cancel := context.WithTimeout(ctx, r.Whole)
	defer cancel()
	last := errors.New("the node was not asked yet")
	for {
		err := r.look(ctx, kernel, replaced)
		if err == nil {
			return nil
		}
		if ctx.Err() == nil {
			last = err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return ErrBroken.Wrap(last, "not whole after %s", r.Whole)
		}
	}
}

func (r *run) look(ctx context.Context, kernel int, replaced func(admin.Component) bool) error {
	status, err := r.node.Status(ctx)
	if err != nil {
		return err
	}
	if status.State != "RUNNING" {
		return fmt.Errorf("the node is %s", status.State)
	}
	if replaced == nil && kernel != 0 && status.KernelPid == kernel {
		return fmt.Errorf("the kernel is still process %d", kernel)
	}
	list, err := r.node.Components(ctx)
	if err != nil {
		return err
	}
	pids := map[int]string{status.KernelPid: "the kernel"}
	active := map[string]bool{"kernel": true}
	for _, c := range list {
		if c.State == "DISABLED" || c.DisabledBy != "" {
			continue
		}
		switch {
		case c.State != "ACTIVE":
			return fmt.Errorf("%s is %s%s", c.Name, c.State, because(c.Cause))
		case c.Health == "CRITICAL" || c.Health == "TEMPORARILY_UNAVAILABLE":
			return fmt.Errorf("%s is ACTIVE and %s%s", c.Name, c.Health, because(c.Cause))
		case replaced != nil && !replaced(c):
			return fmt.Errorf("%s still has process %d", c.Name, c.Pid)
		case pids[c.Pid] != "":
			return fmt.Errorf("%s and %s have the same process %d", c.Name, pids[c.Pid], c.Pid)
		case syscall.Kill(c.Pid, 0) != nil:
			return fmt.Errorf("%s has process %d, which does not live", c.Name, c.Pid)
		}
		pids[c.Pid], active[c.Name] = c.Name, true
		if err := r.history(ctx, c.Name); err != nil {
			return err
		}
	}
	services, err := r.node.Services(ctx)
	if err != nil {
		return err
	}
	for _, s := range services {
		if !active[s.Provider] {
			return fmt.Errorf("%s of %s is registered, and its provider does not serve", s.Service, s.Provider)
		}
	}
	return orphans(status.GuardianPid, pids)
}

func because(c *admin.Cause) string {
	if c == nil {
		return ""
	}
	return ": " + c.Code + " " + c.Text
}

// history holds that a component went by the table only, each generation for itself.
func (r *run) history(ctx context.Context, name string) error {
	list, err := r.node.History(ctx, name)
	if err != nil {
		return err
	}
	moves := make([]component.Transition, len(list))
	for i, t := range list {
		moves[i] = component.Transition{Seq: t.Seq, Time: t.Time, Reason: t.Reason, Actor: t.Actor, Generation: t.Generation, Beside: t.Beside}
		if err := errors.Join(moves[i].From.UnmarshalText([]byte(t.From)), moves[i].To.UnmarshalText([]byte(t.To))); err != nil {
			return err
		}
	}
	if err := component.Check(moves); err != nil {
		return fmt.Errorf("history of %s: %w", name, err)
	}
	return nil
}

// orphans holds that every child of the guardian is the kernel or a component's process: what a dead process left behind falls to the
// guardian, which is their reaper.
func orphans(guardian int, known map[int]string) error {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return err
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			continue // it ended meanwhile
		}
		text := string(b)
		end := strings.LastIndexByte(text, ')')
		fields := strings.Fields(text[end+1:])
		if end < 0 || len(fields) < 2 {
			continue
		}
		parent, _ := strconv.Atoi(fields[1])
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(f)))
		if parent == guardian && known[pid] == "" && fields[0] != "Z" {
			return fmt.Errorf("process %d %s is nobody's", pid, text[strings.IndexByte(text, '('):end+1])
		}
	}
	return nil
}
