package simulation

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
)

// TestCase13TwoThousandUnits: installed and started from 50 goroutines, all are ACTIVE, without an error and within a time.
func TestCase13TwoThousandUnits(t *testing.T) {
	const units, goroutines, cap = 2000, 50, 2 * time.Minute
	w := New()
	ctx, cancel := context.WithTimeout(context.Background(), cap)
	defer cancel()
	defer w.Reconciler.Shutdown(context.WithoutCancel(ctx))
	var order sync.Mutex // a plan is applied before a newer one is made
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			var names []string
			for i := range units / goroutines {
				name := fmt.Sprintf("U%d", g*units/goroutines+i)
				names = append(names, name)
				if err := w.Install(fmt.Sprintf("name: %s\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nprovides: [{service: test.v1.%s, version: 1.0.0}]\n", name, name)); err != nil {
					t.Error(err)
				}
			}
			order.Lock()
			w.Apply()
			order.Unlock()
			for _, name := range names {
				if err := w.Reconciler.Start(ctx, name, "ann"); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		})
	}
	wg.Wait()
	active := 0
	for _, v := range w.Reconciler.Views() {
		if v.State == component.Active && v.Restarts == 0 && v.Generation > 0 {
			active++
		}
	}
	if active != units {
		t.Errorf("%d of %d are ACTIVE", active, units)
	}
}
