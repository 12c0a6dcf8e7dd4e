package simulation

import (
	"testing"
	"testing/synctest"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/registry"
)

// TestASuccessorEndsWhileItsPredecessorDrains: its services are suspended at once and it is started anew, however long the other one would
// take to end.
func TestASuccessorEndsWhileItsPredecessorDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := New()
		defer w.Reconciler.Shutdown(t.Context())
		if err := w.Install("name: Store\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nconfig: {properties: {value: {type: string}}}\nprovides: [{service: test.v1.Store, version: 1.0.0}]\n",
			"name: Asker\nversion: 1.0.0\nsummary: s\nexecutable: bin/x\nrequires: [{name: store, service: test.v1.Store, cardinality: 1..1}]\n"); err != nil {
			t.Fatal(err)
		}
		w.SetFault("Store", Fault{Phase: "drain", Hang: true, Times: 1})
		w.Apply()
		synctest.Wait()
		first := w.Process("Store")
		w.Configure("Store", "1")
		w.Apply()
		time.Sleep(15 * time.Second) // the first one hangs in its drain, was given up and hangs in another
		second := w.Process("Store")
		if v, _ := w.Reconciler.View("Store"); second == first || v.Pid != second.PID() || !first.live() {
			t.Fatalf("%+v", v)
		}
		second.Crash()
		synctest.Wait()
		if s := w.Registry.Find(registry.Query{Service: "test.v1.Store"}); len(s) != 1 || !s[0].Suspended {
			t.Errorf("%v", s)
		}
		if err := w.Check(); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if v, _ := w.Reconciler.View("Store"); v.State != component.Active || v.Restarts != 1 || first.live() {
			t.Errorf("%s, %d restarts, the first one lives: %v", v.State, v.Restarts, first.live())
		}
		if v, _ := w.Reconciler.View("Asker"); v.State != component.Active || v.Generation != 1 {
			t.Errorf("%+v", v)
		}
	})
}
