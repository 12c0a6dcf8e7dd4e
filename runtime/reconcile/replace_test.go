package reconcile

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/registry"
	sdk "carbonado.dev/sdk/component"
	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
)

// of is a provider's descriptor in another version.
func of(version string) string {
	return strings.Replace(provider("Oracle"), "1.0.0\nsummary", version+"\nsummary", 1)
}

// install makes the packages those of the descriptors, and plans anew.
func (w *world) install(descriptors ...string) {
	w.packages = newWorldPackages(w.t, descriptors...)
	w.apply()
}

func (w *world) untilReplaced(n int) Replacement {
	w.t.Helper()
	v := w.untilView("Oracle", func(v View) bool { return v.Replacements.Count >= n && v.Settled })
	return *v.Replacements.Last
}

// failing makes processes of a version fail in a phase.
func (w *world) failing(version, phase string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.hook = func(c *sdk.C) {
		if c.Name() == "Oracle" && c.Version() == version {
			c.Manage(failure{c, phase})
		}
	}
}

type failure struct {
	c     *sdk.C
	phase string
}

func (f failure) Prepare(context.Context) error { return f.in("Prepare") }
func (f failure) Acquire(context.Context) error {
	if f.phase == "health" {
		f.c.SetHealth(sdk.Critical, errTest.New("the disk is full"))
	}
	return f.in("Acquire")
}

func (f failure) in(phase string) error {
	if f.phase == phase {
		return errTest.New("%s of %s fails", phase, f.c.Version())
	}
	return nil
}

func (w *world) authorize() error {
	_, err := analyticsv1.NewAuthorizerClient(w.context("Asker").Ref("ref")).Authorize(ctx(w.t), &analyticsv1.AuthorizeRequest{})
	return err
}

// load calls the service without a pause, from several goroutines, until it is ended; it gives what failed.
func (w *world) load() (end func() (calls int, failures []error)) {
	client := analyticsv1.NewAuthorizerClient(w.context("Asker").Ref("ref"))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	calls := 0
	var failures []error
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				_, err := client.Authorize(context.Background(), &analyticsv1.AuthorizeRequest{})
				mu.Lock()
				calls++
				if err != nil {
					failures = append(failures, err)
				}
				mu.Unlock()
			}
		})
	}
	return func() (int, []error) {
		close(stop)
		wg.Wait()
		return calls, failures
	}
}

// An update with a good package: the digest changes, references keep their ids, UPDATED comes once.
func TestCase07UpdateReplacesTheProcessOnce(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	before := w.r.Registry.Find(registry.Query{Service: service})[0]
	w.install(consumer("Asker", "1..1"), of("1.1.0"))
	got := w.untilReplaced(1)
	if got.Outcome != Updated || got.From != "1.0.0" || got.To != "1.1.0" || got.Digest == "" || got.Cause != nil {
		t.Errorf("replacement: %+v", got)
	}
	after := w.r.Registry.Find(registry.Query{Service: service})
	if len(after) != 1 || after[0].ID != before.ID || after[0].Generation <= before.Generation {
		t.Errorf("services %v, was %v", after, before)
	}
	v, _ := w.r.View("Oracle")
	if v.State != component.Active || v.Generation != got.New || v.Package.Version != "1.1.0" || v.Restarts != 0 || v.Last.Kind != component.ResultReplaced {
		t.Errorf("the unit: %+v", v)
	}
	if v, _ := w.r.View("Asker"); v.Generation != 1 || v.State != component.Active {
		t.Errorf("the consumer was touched: %+v", v)
	}
	w.apply() // the same plan again changes nothing
	if err := w.r.WaitSettled(ctx(t)); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.replaced) != 1 {
		t.Errorf("%d events: %+v", len(w.replaced), w.replaced)
	}
	var moves []string
	for _, m := range w.moves["Oracle"][3:] {
		side := ""
		if m.Beside {
			side = " beside"
		}
		moves = append(moves, m.From.String()+">"+m.To.String()+side)
	}
	want := "RESOLVED>STARTING beside, STARTING>ACTIVE, ACTIVE>DRAINING beside, DRAINING>STOPPING beside, STOPPING>RESOLVED beside"
	if got := strings.Join(moves, ", "); got != want {
		t.Errorf("moves %s\nwant  %s", got, want)
	}
}

// The new package can't start: the old one serves on or again, under load no call fails, and it is not tried again by itself until it
// is asked for or has another digest.
func TestCase09AFailedUpdateLeavesTheOldOneServing(t *testing.T) {
	for _, phase := range []string{"Prepare", "Acquire", "health"} {
		t.Run(phase, func(t *testing.T) {
			w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
			w.until("Asker", component.Active)
			id := w.r.Registry.Find(registry.Query{Service: service})[0].ID
			end := w.load()
			w.failing("2.0.0", phase)
			w.install(consumer("Asker", "1..1"), of("2.0.0"))
			got := w.untilReplaced(1)
			if got.Outcome != RolledBack || got.Cause == nil || !strings.Contains(got.Cause.String(), "CBN-SUP-990") {
				t.Errorf("replacement: %+v", got)
			}
			if err := w.authorize(); err != nil {
				t.Error(err)
			}
			w.apply()
			if err := w.r.WaitSettled(ctx(t)); err != nil {
				t.Fatal(err)
			}
			v, _ := w.r.View("Oracle")
			if v.State != component.Active || v.Generation != 1 || v.Package.Version != "1.0.0" || v.Restarts != 0 || v.Replacements.Count != 1 {
				t.Errorf("the unit: %+v", v)
			}
			if now := w.r.Registry.Find(registry.Query{Service: service}); len(now) != 1 || now[0].ID != id || now[0].Suspended || now[0].Generation != 1 {
				t.Errorf("services: %v", now)
			}
			if err := w.r.Update(ctx(t), "Oracle", "ann"); !errors.Is(err, ErrRolledBack) {
				t.Errorf("asked again: %v", err)
			}
			w.failing("", "")
			if err := w.r.Update(ctx(t), "Oracle", "ann"); err != nil {
				t.Errorf("mended: %v", err)
			}
			if v, _ := w.r.View("Oracle"); v.Package.Version != "2.0.0" || v.State != component.Active {
				t.Errorf("after the third attempt: %+v", v)
			}
			calls, failures := end()
			t.Logf("%d calls", calls)
			if len(failures) > 0 || calls == 0 {
				t.Errorf("%d of %d calls failed: %v", len(failures), calls, failures)
			}
		})
	}
}

// A restart of what was kept does not have the package tried again that was rolled back, nor does it hide why its configuration is not in
// force.
func TestARestartKeepsWhatWasRolledBackOut(t *testing.T) {
	w, _ := configurable(t, `{"place":"Delphi"}`)
	w.until("Asker", component.Active)
	w.mu.Lock()
	w.confs["Oracle"] = `{"place":"nowhere"}`
	w.mu.Unlock()
	w.install(strings.Replace(adaptable(), "1.0.0", "2.0.0", 1), consumer("Asker", "1..1"))
	if got := w.untilReplaced(1); got.Outcome != RolledBack {
		t.Errorf("replacement: %+v", got)
	}
	if err := w.r.Restart(ctx(t), "Oracle", "ann", false); err != nil {
		t.Error(err)
	}
	w.apply()
	v := w.untilView("Oracle", func(v View) bool { return v.Settled })
	if v.Replacements.Count != 2 || v.Package.Version != "1.0.0" || w.context("Oracle").String("place") != "Delphi" {
		t.Errorf("%d replacements, %s", v.Replacements.Count, v.Package.Version)
	}
	if v.ConfigCause == nil || !strings.Contains(v.ConfigCause.String(), "nobody finds") {
		t.Errorf("%v", v.ConfigCause)
	}
}

// An older SDK can't take up again what it released: the old package is started anew.
func TestCase09WithAnOlderSDK(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	w.mu.Lock()
	w.unable = map[string]bool{"0.9.0": true}
	w.mu.Unlock()
	w.install(consumer("Asker", "1..1"), of("0.9.0"))
	w.untilReplaced(1)
	end := w.load()
	w.failing("2.0.0", "Acquire")
	w.install(consumer("Asker", "1..1"), of("2.0.0"))
	if got := w.untilReplaced(2); got.Outcome != RolledBack {
		t.Errorf("replacement: %+v", got)
	}
	v := w.until("Oracle", component.Active)
	if v.Package.Version != "0.9.0" || v.Generation != 4 || v.Restarts != 0 {
		t.Errorf("the unit: %+v", v)
	}
	if calls, failures := end(); len(failures) > 0 || calls == 0 {
		t.Errorf("%d of %d calls failed: %v", len(failures), calls, failures)
	}
	if v, _ := w.r.View("Asker"); v.Generation != 1 {
		t.Errorf("the consumer was touched: %+v", v)
	}
}

// Under load no call fails in restarts and updates; calls under way end on the old process.
func TestCase68NoCallFails(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	entered, leave := make(chan string, 1), make(chan struct{})
	w.set(func() {
		w.wait = func(version, _ string) {
			entered <- version
			<-leave
		}
	})
	w.until("Asker", component.Active)
	end := w.load()
	for _, version := range []string{"1.1.0", "1.2.0", "1.3.0"} {
		w.install(consumer("Asker", "1..1"), of(version))
		if err := w.r.Update(ctx(t), "Oracle", "ann"); err != nil {
			t.Fatal(err)
		}
		if err := w.r.Restart(ctx(t), "Oracle", "ann", false); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.r.Restart(ctx(t), "Oracle", "ann", true); err != nil {
		t.Fatal(err)
	}
	// A call that is under way when the update begins.
	slow := make(chan error, 1)
	go func() {
		_, err := analyticsv1.NewAuthorizerClient(w.context("Asker").Ref("ref")).Authorize(context.Background(), &analyticsv1.AuthorizeRequest{Permission: "slow"})
		slow <- err
	}()
	if on := <-entered; on != "1.3.0" {
		t.Errorf("the call is on %s", on)
	}
	old := w.proc("Oracle")
	w.install(consumer("Asker", "1..1"), of("1.4.0"))
	w.untilView("Oracle", func(View) bool { // the new one stands beside
		u := w.r.unit("Oracle")
		u.mu.Lock()
		defer u.mu.Unlock()
		return u.next != nil
	})
	select {
	case <-old.Done():
		t.Error("the old process ended under a call")
	case err := <-slow:
		t.Errorf("the call has ended: %v", err)
	default:
	}
	close(leave)
	if err := <-slow; err != nil {
		t.Errorf("the call under way: %v", err)
	}
	w.untilView("Oracle", func(v View) bool { return v.Package.Version == "1.4.0" && v.State == component.Active && v.Settled })
	calls, failures := end()
	t.Logf("%d calls", calls)
	if len(failures) > 0 || calls == 0 {
		t.Errorf("%d of %d calls failed: %v", len(failures), calls, failures)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if slices.ContainsFunc(w.replaced, func(r Replacement) bool { return r.Outcome != Updated || r.Stall <= 0 || r.Stall > 5*time.Second }) {
		t.Errorf("replacements: %+v", w.replaced)
	}
}

// kill -9: consumers see a suspended reference, and the restarted provider is bound as it is then, with what changed meanwhile.
func TestCase58RebindingIncludesWhatChangedMeanwhile(t *testing.T) {
	w := newWorld(t, consumer("Asker", "1..1"), provider("Oracle"))
	w.until("Asker", component.Active)
	w.proc("Oracle").crash()
	w.untilView("Asker", func(v View) bool {
		return len(v.Bindings) == 1 && v.Bindings[0].Suspended && v.Health == component.HealthTemporarilyUnavailable
	})
	// Meanwhile another package, with another property of its service, takes the place of the first.
	w.install(consumer("Asker", "1..1"), strings.Replace(of("1.1.0"), "version: 1.0.0}", "version: 1.0.0, properties: {zone: b}}", 1))
	if err := w.authorize(); err != nil {
		t.Error(err)
	}
	v := w.until("Oracle", component.Active)
	if v.Package.Version != "1.1.0" || v.Restarts != 1 {
		t.Errorf("the unit: %+v", v)
	}
	all := w.context("Asker").Refs("ref").All()
	if len(all) != 1 || all[0].Properties()["zone"] != "b" || all[0].Generation() != v.Generation {
		t.Errorf("the reference: %d, %v generation %d", len(all), all[0].Properties(), all[0].Generation())
	}
	if v, _ := w.r.View("Asker"); v.Generation != 1 {
		t.Errorf("the consumer was touched: %+v", v)
	}
}

// A stop that comes while the successor prepares ends both.
func TestStopDuringAnUpdate(t *testing.T) {
	w := newWorld(t, provider("Oracle"))
	w.until("Oracle", component.Active)
	preparing := make(chan struct{})
	w.mu.Lock()
	w.hook = func(c *sdk.C) { c.Manage(stuck(preparing)) }
	w.mu.Unlock()
	w.install(of("2.0.0"))
	<-preparing
	if err := w.r.Stop(ctx(t), "Oracle", "ann"); err != nil {
		t.Fatal(err)
	}
	v, _ := w.r.View("Oracle")
	if v.State != component.Resolved || v.Pid != 0 || v.Replacements.Last == nil || v.Replacements.Last.Outcome != RolledBack {
		t.Errorf("the unit: %+v", v)
	}
}

// stuck does not end its Prepare by itself.
type stuck chan struct{}

func (s stuck) Prepare(ctx context.Context) error {
	close(s)
	<-ctx.Done()
	return ctx.Err()
}
