package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/component"
	sdk "carbonado.dev/sdk/component"
)

// adaptable is a provider that takes the key `mood` while it serves, and `place` not.
func adaptable() string {
	return provider("Oracle") + "config: {properties: {mood: {type: string}, place: {type: string}}}\nmodified: [mood]\n"
}

// taker takes every mood but "bad".
type taker struct {
	c    *sdk.C
	took chan string
}

func (t taker) Modified(context.Context) error {
	mood := t.c.String("mood")
	t.took <- mood
	if mood == "bad" {
		return errTest.New("no oracle is in a bad mood")
	}
	return nil
}

// Prepare refuses the places "nowhere" and "later" for good or not.
func (t taker) Prepare(context.Context) error {
	if t.c.String("place") == "nowhere" {
		return errTest.New("nobody finds an oracle there")
	}
	return nil
}

// configurable is a world with an Oracle that takes its mood, and an Asker that uses it.
func configurable(t *testing.T, conf string) (*world, chan string) {
	w := newWorld(t)
	took := make(chan string, 100)
	w.hook = func(c *sdk.C) {
		if c.Name() == "Oracle" {
			c.Manage(taker{c, took})
		}
	}
	w.confs["Oracle"] = conf
	w.install(adaptable(), consumer("Asker", "1..1"))
	return w, took
}

func (w *world) configure(conf string) {
	w.mu.Lock()
	w.confs["Oracle"] = conf
	w.mu.Unlock()
	w.apply()
}

func TestAConfigurationIsTakenInPlace(t *testing.T) {
	w, took := configurable(t, `{"mood":"calm","place":"Delphi"}`)
	w.until("Asker", component.Active)
	before := w.until("Oracle", component.Active)
	w.configure(`{"mood":"merry","place":"Delphi"}`)
	v := w.untilView("Oracle", func(v View) bool { return v.Replacements.Count == 1 && v.Settled })
	if r := v.Replacements.Last; r.Outcome != Modified || v.Generation != before.Generation || v.ConfigCause != nil || r.Update() {
		t.Errorf("%+v, generation %d after %d", r, v.Generation, before.Generation)
	}
	if mood := <-took; mood != "merry" || w.context("Oracle").String("mood") != "merry" {
		t.Errorf("it was told %s", mood)
	}
	if err := w.authorize(); err != nil {
		t.Error(err)
	}
	w.apply() // the same once more
	if v := w.untilView("Oracle", func(v View) bool { return v.Settled }); v.Replacements.Count != 1 {
		t.Errorf("%d changes", v.Replacements.Count)
	}
	// What is started anew has the new one.
	w.proc("Oracle").crash()
	w.untilView("Oracle", func(v View) bool { return v.State == component.Active && v.Generation > before.Generation })
	if mood := w.context("Oracle").String("mood"); mood != "merry" {
		t.Errorf("after a crash it has %s", mood)
	}
}

func TestARefusedConfigurationLeavesTheOldOne(t *testing.T) {
	w, took := configurable(t, `{"mood":"calm"}`)
	before := w.until("Oracle", component.Active)
	w.configure(`{"mood":"bad"}`)
	v := w.untilView("Oracle", func(v View) bool { return v.ConfigCause != nil && v.Settled })
	if v.Generation != before.Generation || v.Replacements.Last.Outcome != NotTaken || !strings.Contains(v.ConfigCause.String(), "bad mood") {
		t.Errorf("%s, %+v", v.ConfigCause, v.Replacements.Last)
	}
	if mood := w.context("Oracle").String("mood"); mood != "calm" {
		t.Errorf("it has %s", mood)
	}
	// It is not tried again by itself: not at the next plan, not by a new process.
	w.apply()
	if err := w.r.Restart(ctx(t), "Oracle", "tester", false); err != nil {
		t.Fatal(err)
	}
	if mood := w.context("Oracle").String("mood"); mood != "calm" || len(took) != 1 {
		t.Errorf("it has %s, and was told %d times", mood, len(took))
	}
	if v, _ := w.r.View("Oracle"); v.ConfigCause == nil {
		t.Error("after a restart nothing says that the file is not in force")
	}
	// An operator may have it tried again.
	if err := w.r.Update(ctx(t), "Oracle", "tester"); !errors.Is(err, ErrNotTaken) {
		t.Errorf("update: %v", err)
	}
	if len(took) != 2 {
		t.Errorf("it was told %d times", len(took))
	}
	// The file as it was: nothing has to be done, and the cause is gone.
	w.configure(`{"mood":"calm"}`)
	w.untilView("Oracle", func(v View) bool { return v.ConfigCause == nil && v.Settled })
	if len(took) != 2 {
		t.Errorf("it was told %d times", len(took))
	}
}

func TestAnotherKeyReplacesTheProcess(t *testing.T) {
	w, took := configurable(t, `{"mood":"calm","place":"Delphi"}`)
	w.until("Asker", component.Active)
	before := w.until("Oracle", component.Active)
	w.configure(`{"mood":"merry","place":"Dodona"}`)
	v := w.untilView("Oracle", func(v View) bool { return v.Replacements.Count == 1 && v.Settled })
	if v.Replacements.Last.Outcome != Updated || v.Generation == before.Generation || len(took) != 0 {
		t.Errorf("%+v", v.Replacements.Last)
	}
	if c := w.context("Oracle"); c.String("place") != "Dodona" || c.String("mood") != "merry" {
		t.Errorf("it is in %s", c.String("place"))
	}
	if err := w.authorize(); err != nil {
		t.Error(err)
	}
}

func TestAnOlderSDKIsReplaced(t *testing.T) {
	w, took := configurable(t, `{"mood":"calm"}`)
	w.set(func() { w.unable = map[string]bool{"1.0.0": true} })
	before := w.until("Oracle", component.Active)
	if err := w.r.Restart(ctx(t), "Oracle", "tester", false); err != nil { // so that it is surely one that lacks the ability
		t.Fatal(err)
	}
	w.configure(`{"mood":"merry"}`)
	w.untilView("Oracle", func(v View) bool {
		return v.Generation == before.Generation+2 && v.Settled && v.Replacements.Last.Outcome == Updated
	})
	if mood := w.context("Oracle").String("mood"); mood != "merry" || len(took) != 0 {
		t.Errorf("it has %s", mood)
	}
}

func TestAConfigurationThatCantStartLeavesTheOldProcess(t *testing.T) {
	w, _ := configurable(t, `{"place":"Delphi"}`)
	w.until("Asker", component.Active)
	before := w.until("Oracle", component.Active)
	w.configure(`{"place":"nowhere"}`)
	v := w.untilView("Oracle", func(v View) bool { return v.ConfigCause != nil && v.Settled })
	if v.Generation != before.Generation || v.Replacements.Last.Outcome != RolledBack || v.State != component.Active || !strings.Contains(v.ConfigCause.String(), "nobody finds") {
		t.Errorf("%s, %+v", v.ConfigCause, v.Replacements.Last)
	}
	if err := w.authorize(); err != nil {
		t.Error(err)
	}
	w.apply()
	if v := w.untilView("Oracle", func(v View) bool { return v.Settled }); v.Replacements.Count != 1 {
		t.Errorf("it was tried %d times", v.Replacements.Count)
	}
	w.configure(`{"place":"Dodona"}`)
	v = w.untilView("Oracle", func(v View) bool { return v.ConfigCause == nil && v.Settled })
	if v.Replacements.Last.Outcome != Updated || w.context("Oracle").String("place") != "Dodona" {
		t.Errorf("%+v", v.Replacements.Last)
	}
}

// TestANewConfigurationResetsFailed: SEAMS.md section 3, FAILED -> RESOLVED.
func TestANewConfigurationResetsFailed(t *testing.T) {
	w, _ := configurable(t, `{"place":"nowhere"}`)
	w.until("Oracle", component.Failed)
	w.apply() // nothing new
	if v := w.untilView("Oracle", func(v View) bool { return v.Settled }); v.State != component.Failed {
		t.Errorf("it is %s", v.State)
	}
	w.configure(`{"place":"Delphi"}`)
	if v := w.until("Oracle", component.Active); v.Cause != nil {
		t.Errorf("cause %s", v.Cause)
	}
}
