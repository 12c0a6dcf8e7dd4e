package reconcile

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	sdk "carbonado.dev/sdk/component"
)

// TestAProcessThatNeverAnswersHoldsNobodyUp: others are settled and are told so; a provider that somebody waits for is waited for.
func TestAProcessThatNeverAnswersHoldsNobodyUp(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	answer := make(chan struct{})
	mute := func(*sdk.C) error { <-answer; return nil }
	w.mu.Lock()
	w.starts["Mute"] = mute
	w.packages = append(w.packages, newWorldPackages(t, consumer("Mute", "0..1"))...)
	w.mu.Unlock()
	w.apply()
	w.until("Mute", component.Starting)
	late, err := w.r.WaitMostSettled(ctx(t), 20*time.Millisecond)
	if err != nil || !slices.Equal(late, []string{"Mute"}) {
		t.Errorf("late: %v %v", late, err)
	}
	short, cancel := context.WithTimeout(ctx(t), 50*time.Millisecond)
	defer cancel()
	if _, err := w.r.WaitMostSettled(short, time.Hour); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it was not waited for within the patience: %v", err)
	}
	close(answer)
	if late, err := w.r.WaitMostSettled(ctx(t), time.Hour); err != nil || len(late) > 0 {
		t.Errorf("late: %v %v", late, err)
	}
	w.until("Mute", component.Active)
}

func TestAProviderThatIsWaitedForIsNotLate(t *testing.T) {
	w := newWorld(t)
	answer := make(chan struct{})
	w.mu.Lock()
	w.starts["Oracle"] = func(*sdk.C) error { <-answer; return nil }
	w.packages = newWorldPackages(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.mu.Unlock()
	w.apply()
	w.until("Oracle", component.Starting)
	w.until("Asker", component.Waiting)
	short, cancel := context.WithTimeout(ctx(t), 100*time.Millisecond)
	defer cancel()
	if late, err := w.r.WaitMostSettled(short, time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("late: %v %v", late, err)
	}
	close(answer)
	if late, err := w.r.WaitMostSettled(ctx(t), time.Hour); err != nil || len(late) > 0 {
		t.Errorf("late: %v %v", late, err)
	}
	w.until("Asker", component.Active)
}
