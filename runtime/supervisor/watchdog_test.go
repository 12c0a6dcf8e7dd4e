package supervisor

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// mute never answers: it is what a frozen process looks like.
func mute(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func TestWatchdogBitesOnSilenceWithinAMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := 20
		began := time.Now()
		var fell time.Time
		silent, bites := watchdog(make(chan struct{}), DefaultWatchdog, func(ctx context.Context) error {
			if answers--; answers >= 0 {
				fell = time.Now()
				return nil
			}
			return mute(ctx)
		})
		if !bites {
			t.Fatal("it did not bite")
		}
		if after := time.Since(fell); after < DefaultWatchdog || after > time.Minute-PingTimeout {
			t.Errorf("it bit %s after the last sign of life", after)
		}
		if silent != time.Since(fell) || fell.Sub(began) != 20*DefaultWatchdog/watchdogAsks {
			t.Errorf("silent for %s; the last sign of life at %s", silent, fell.Sub(began))
		}
	})
}

func TestWatchdogForgivesWhatComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		asked := 0
		go func() {
			time.Sleep(time.Hour)
			close(done)
		}()
		// Two of three are lost, again and again; a refused answer counts as none.
		_, bites := watchdog(done, time.Minute, func(ctx context.Context) error {
			switch asked++; asked % 3 {
			case 0:
				return nil
			case 1:
				return errors.New("connection refused")
			}
			return mute(ctx)
		})
		if bites || asked < 150 {
			t.Errorf("bites %t after %d questions", bites, asked)
		}
	})
}

func TestWatchdogEndsWithTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		began := time.Now()
		_, bites := watchdog(done, time.Minute, func(ctx context.Context) error {
			close(done)
			return mute(ctx)
		})
		if took := time.Since(began); bites || took != time.Minute/watchdogAsks {
			t.Errorf("bites %t after %s", bites, took)
		}
	})
}

// A machine that stood still looks like a timer that fires late.
func TestWatchdogDoesNotBiteForTheKernelsOwnSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		done := make(chan struct{})
		asked := 0
		_, bites := watchdog(done, time.Minute, func(ctx context.Context) error {
			switch asked++; asked {
			case 1, 2, 4, 5: // the answers are lost on the way into sleep and out of it
				return mute(ctx)
			case 3: // asleep: the call itself comes back hours late
				time.Sleep(3 * time.Hour)
				return nil
			case 7:
				close(done)
			}
			return nil
		})
		if bites {
			t.Error("it bit")
		}
	})
}
