package supervisor

import (
	"cmp"
	"context"
	"time"

	"carbonado.dev/carbonado/runtime/component"
)

const (
	// DefaultWatchdog is how long a process may give no sign of life: with PingTimeout on top, a frozen one is replaced well within
	// a minute.
	DefaultWatchdog = 30 * time.Second
	// watchdogAsks is how often a process is asked within that time, so that one lost answer ends nobody.
	watchdogAsks = 3
)

// watchdog asks for signs of life until done is closed or none came for the time given; then it returns the length of the silence. It
// counts answers missed, not time: when the kernel itself was held up (a stopped machine, a laptop asleep), that is nobody's silence.
func watchdog(done <-chan struct{}, most time.Duration, ping func(context.Context) error) (silent time.Duration, bites bool) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		select {
		case <-done:
			cancel()
		case <-ctx.Done():
		}
	}()
	every := most / watchdogAsks
	pause := every
	tick := time.NewTimer(pause)
	defer tick.Stop()
	last, missed := time.Now(), 0
	for {
		began := time.Now()
		select {
		case <-ctx.Done():
			return 0, false
		case <-tick.C:
		}
		if time.Since(began)-pause > every {
			missed = 0 // we slept, not they
		}
		asked := time.Now()
		err := within(ctx, min(every, PingTimeout), ping)
		switch {
		case ctx.Err() != nil:
			return 0, false
		case err == nil:
			last, missed = time.Now(), 0
		default:
			if missed++; missed >= watchdogAsks {
				return time.Since(last), true
			}
		}
		pause = max(0, every-time.Since(asked))
		tick.Reset(pause)
	}
}

func within(ctx context.Context, d time.Duration, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	return f(ctx)
}

// guard ends an instance that lives and gives no sign of it.
func (s *Supervisor) guard(i *Instance) {
	if i.spec.Watchdog < 0 {
		return
	}
	silent, bites := watchdog(i.done, cmp.Or(i.spec.Watchdog, DefaultWatchdog), i.Ping)
	if !bites {
		return
	}
	s.conf.Log.Warn("a component gives no sign of life and is replaced", "component", i.spec.Name, "pid", i.PID(), "silent", silent.Round(time.Second))
	i.Kill(s.life, component.ResultWatchdog)
}
