package deploy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Case 54: listeners are told before and after deploy, update and undeploy, in order, with result and trace; a failing one never aborts
// the batch.
func TestCase54ListenersAreToldInOrderAndCannotStopTheBatch(t *testing.T) {
	inWorld(t, func(w *world) {
		var mu sync.Mutex
		var first, last []string
		traces := map[string]string{}
		note := func(list *[]string) Listener {
			return func(_ context.Context, ev Lifecycle) error {
				mu.Lock()
				defer mu.Unlock()
				*list = append(*list, strings.TrimSpace(fmt.Sprintf("%s %s %s %s", ev.Phase, ev.Operation, ev.Name, ev.Result)))
				if len(ev.Trace) != 32 || ev.Owner == "" || ev.Type != "stream" || ev.Transaction == 0 || (ev.Result == Faulty) != (ev.Cause != nil) {
					t.Errorf("an event without what it is about: %+v", ev)
				}
				key := fmt.Sprint(ev.Operation, ev.Name, ev.Transaction)
				if ev.Phase == Before {
					traces[key] = ev.Trace
				} else if traces[key] != ev.Trace {
					t.Errorf("%s is traced as %s and as %s", key, traces[key], ev.Trace)
				}
				return nil
			}
		}
		w.listeners = []Listener{
			note(&first),
			func(context.Context, Lifecycle) error { return errors.New("a listener that fails") },
			func(context.Context, Lifecycle) error { panic("a listener that panics") },
			func(ctx context.Context, _ Lifecycle) error { <-ctx.Done(); return nil },
			note(&last),
		}
		w.start()
		dir := "streams/"
		w.write(dir+"a.json", content("first"))
		w.write(dir+"b.json", content("bad"))
		w.write(dir+"c.json", content("wait x"))
		w.pass(5 * time.Minute)
		w.write(dir+"a.json", content("second"))
		w.remove(dir + "c.json")
		w.pass(5 * time.Minute)
		w.remove(dir + "a.json")
		w.pass(5 * time.Minute)
		mu.Lock()
		defer mu.Unlock()
		// b and c are refused, or told to wait, by Validate: nothing is done with them, and nothing is announced. In the second batch the
		// owner is asked to let go of c before a is updated.
		want := []string{
			"before deploy a", "after deploy a DEPLOYED", "before undeploy c", "after undeploy c GONE", "before update a", "after update a DEPLOYED",
			"before undeploy a", "after undeploy a GONE",
		}
		if !slices.Equal(first, want) || !slices.Equal(last, want) {
			t.Errorf("the first listener heard\n%s\nthe last one\n%s\nwant\n%s", strings.Join(first, "\n"), strings.Join(last, "\n"), strings.Join(want, "\n"))
		}
	})
}
