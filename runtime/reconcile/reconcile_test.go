package reconcile

import (
	sdk "carbonado.dev/sdk/component"
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/registry"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func TestConsumerStartsAfterItsProviderAndCallsIt(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	if err := w.r.WaitSettled(ctx(t)); err != nil {
		t.Fatal(err)
	}
	w.until("Asker", component.Active)
	if got := strings.Join(w.order, ", "); got != "Oracle ACTIVE, Asker ACTIVE" {
		t.Errorf("order: %s", got)
	}
	if _, err := analyticsv1.NewAuthorizerClient(w.context("Asker").Ref("ref")).Authorize(ctx(t), &analyticsv1.AuthorizeRequest{}); err != nil {
		t.Error(err)
	}
	v, _ := w.r.View("Asker")
	if len(v.Bindings) != 1 || v.Bindings[0].Provider != "Oracle" {
		t.Errorf("bindings: %v", v.Bindings)
	}
}

func TestAProvidersCrashLeavesItsConsumersActive(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	before := w.r.Registry.Find(registry.Query{Service: service})[0]
	w.proc("Oracle").crash()
	// A call made while the provider is away waits for the next generation.
	if _, err := analyticsv1.NewAuthorizerClient(w.context("Asker").Ref("ref")).Authorize(ctx(t), &analyticsv1.AuthorizeRequest{}); err != nil {
		t.Error(err)
	}
	w.until("Oracle", component.Active)
	after := w.r.Registry.Find(registry.Query{Service: service})[0]
	if after.ID != before.ID || after.Generation != before.Generation+1 {
		t.Errorf("the service has id %d generation %d, was %d %d", after.ID, after.Generation, before.ID, before.Generation)
	}
	if v, _ := w.r.View("Asker"); v.Generation != 1 || v.Restarts != 0 || v.State != component.Active {
		t.Errorf("the consumer was touched: %+v", v)
	}
	if v, _ := w.r.View("Oracle"); v.Restarts != 1 || v.Last.Signal != "SIGKILL" {
		t.Errorf("the provider's end is not told: %+v", v.Last)
	}
}

func TestWithoutABudgetTheFirstCrashIsTheLast(t *testing.T) {
	w := newWorld(t, strings.Replace(provider("Oracle"), "budget: 3", "budget: 0", 1))
	w.until("Oracle", component.Active)
	w.proc("Oracle").crash()
	if v := w.until("Oracle", component.Failed); v.Generation != 1 || v.Cause == nil || v.Cause.Code != ErrBudget.ID() {
		t.Errorf("generation %d, cause %v", v.Generation, v.Cause)
	}
}

func TestASpentBudgetFailsTheProviderAndItsConsumersWait(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	for i := uint64(1); i <= 4; i++ {
		w.untilView("Oracle", func(v View) bool {
			return v.State == component.Active && v.Generation == i || v.State == component.Failed
		})
		if v, _ := w.r.View("Oracle"); v.State == component.Failed {
			break
		}
		w.proc("Oracle").crash()
		w.untilView("Oracle", func(v View) bool { return v.Generation > i || v.State == component.Failed })
	}
	failed := w.until("Oracle", component.Failed)
	if failed.Cause == nil || failed.Cause.Code != ErrBudget.ID() || len(failed.Cause.Chain) == 0 {
		t.Errorf("cause: %v", failed.Cause)
	}
	waiting := w.until("Asker", component.Waiting)
	if waiting.Cause == nil || !strings.Contains(waiting.Cause.String(), "Oracle is FAILED") {
		t.Errorf("the consumer's cause does not lead to the leaf: %v", waiting.Cause)
	}
	if err := w.r.Start(ctx(t), "Oracle", "operator"); err != nil {
		t.Fatal(err)
	}
	w.until("Asker", component.Active)
}

func TestStoppingAProviderStopsThoseThatNeedItFirst(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), consumer("Optional", "0..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	w.until("Optional", component.Active)
	if err := w.r.Stop(ctx(t), "Oracle", "ann"); err != nil {
		t.Fatal(err)
	}
	w.until("Asker", component.Waiting)
	if v, _ := w.r.View("Optional"); v.State != component.Active || v.Generation != 1 {
		t.Errorf("an optional consumer was stopped: %v", v.State)
	}
	w.mu.Lock()
	order := slices.Clone(w.order[len(w.order)-2:])
	w.mu.Unlock()
	if order[0] != "Oracle DRAINING" && order[0] != "Asker DRAINING" || order[1] != "Oracle DRAINING" {
		t.Errorf("order: %v", order)
	}
	if err := w.r.Start(ctx(t), "Oracle", "ann"); err != nil {
		t.Fatal(err)
	}
	w.until("Asker", component.Active)
}

func TestRestartKeepsServicesAndConsumers(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	before := w.r.Registry.Find(registry.Query{Service: service})[0]
	if err := w.r.Restart(ctx(t), "Oracle", "ann", false); err != nil {
		t.Fatal(err)
	}
	after := w.r.Registry.Find(registry.Query{Service: service})
	if len(after) != 1 || after[0].ID != before.ID {
		t.Errorf("services after the restart: %v", after)
	}
	if v, _ := w.r.View("Asker"); v.State != component.Active || v.Generation != 1 {
		t.Errorf("the consumer is %s in generation %d", v.State, v.Generation)
	}
	if _, err := analyticsv1.NewAuthorizerClient(w.context("Asker").Ref("ref")).Authorize(ctx(t), &analyticsv1.AuthorizeRequest{}); err != nil {
		t.Error(err)
	}
	if v, _ := w.r.View("Oracle"); v.Restarts != 0 {
		t.Error("a restart that was asked for is charged to the budget")
	}
}

func TestAMissingProviderIsNamedAndDisableStops(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	w.mu.Lock()
	w.disabled["Oracle"] = true
	w.mu.Unlock()
	w.apply()
	w.untilView("Oracle", func(v View) bool { return v.State == component.Installed && v.Pid == 0 })
	v := w.untilView("Asker", func(v View) bool { return v.Pid == 0 && v.Cause != nil && v.Settled })
	if !strings.Contains(v.Cause.String(), "Oracle") {
		t.Errorf("cause: %v", v.Cause)
	}
	w.mu.Lock()
	w.disabled["Oracle"] = false
	w.mu.Unlock()
	w.apply()
	w.until("Asker", component.Active)
}

// TestALaterAttemptSaysWhyTheOneBeforeFailed: while it is STARTING again, nobody is told that all is well.
func TestALaterAttemptSaysWhyTheOneBeforeFailed(t *testing.T) {
	w := newWorld(t)
	tries, hold := 0, make(chan struct{})
	w.starts["Oracle"] = func(*sdk.C) error {
		if tries++; tries == 1 {
			return errTest.New("the port is taken")
		}
		<-hold
		return nil
	}
	w.more(provider("Oracle"))
	v := w.untilView("Oracle", func(v View) bool { return v.State == component.Starting && v.Restarts > 0 })
	if v.Cause == nil || !strings.Contains(v.Cause.String(), "the port is taken") {
		t.Errorf("cause in the second attempt: %v", v.Cause)
	}
	close(hold)
	if v := w.until("Oracle", component.Active); v.Cause != nil {
		t.Errorf("cause of what serves: %v", v.Cause)
	}
}

func TestAStartThatFailsEndsInBackoffThenFailedWithItsCause(t *testing.T) {
	w := newWorld(t)
	w.failStart["Oracle"] = errTest.New("no executable")
	w.packages = newWorldPackages(t, provider("Oracle"))
	w.apply()
	v := w.until("Oracle", component.Failed)
	if !strings.Contains(v.Cause.String(), "no executable") {
		t.Errorf("cause: %v", v.Cause)
	}
	w.mu.Lock()
	delete(w.failStart, "Oracle")
	w.mu.Unlock()
	if err := w.r.Start(ctx(t), "Oracle", "ann"); err != nil {
		t.Fatal(err)
	}
}
