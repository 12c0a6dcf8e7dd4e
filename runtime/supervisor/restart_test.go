package supervisor_test

import (
	"testing"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/supervisor"

	"pgregory.net/rapid"
)

var epoch = time.Date(2026, 11, 25, 0, 0, 0, 0, time.UTC)

func TestFifthCrashIsForgivenTheSixthIsNot(t *testing.T) {
	r := supervisor.NewRestarts(component.Restart{})
	at := epoch
	for n, want := range []time.Duration{100, 200, 400, 800, 1600} {
		at = at.Add(time.Second)
		d := r.Crashed(at, time.Second, 0)
		if d.Spent || d.After != want*time.Millisecond || d.Row != n+1 {
			t.Errorf("crash %d: %+v, want a pause of %d ms", n+1, d, want)
		}
	}
	if d := r.Crashed(at.Add(time.Second), time.Second, 0); !d.Spent || !r.Spent() {
		t.Errorf("crash 6: %+v", d)
	}
	// Spent stays spent, whatever time goes by; a reset gives everything back.
	if d := r.Crashed(at.Add(24*time.Hour), 24*time.Hour, 0); !d.Spent {
		t.Errorf("a day later: %+v", d)
	}
	r.Reset()
	if d := r.Crashed(at.Add(25*time.Hour), time.Second, 0); d.Spent || d.Row != 1 || d.After != supervisor.BackoffFirst {
		t.Errorf("after a reset: %+v", d)
	}
}

func TestBudgetDecays(t *testing.T) {
	// Five in ten minutes is one in two: at that pace it lasts for ever, a little faster it does not.
	for pace, lasts := range map[time.Duration]bool{2 * time.Minute: true, 100 * time.Second: false, time.Hour: true} {
		var r supervisor.Restarts
		at, spent := epoch, false
		for range 1000 {
			at = at.Add(pace)
			spent = spent || r.Crashed(at, pace, 0).Spent
		}
		if spent == lasts {
			t.Errorf("a crash every %s: spent is %t", pace, spent)
		}
	}
}

func TestHealthyRunBeginsTheBackoffAnew(t *testing.T) {
	r := supervisor.NewRestarts(component.Restart{Budget: 1000, Per: time.Second})
	for range 20 {
		r.Crashed(epoch, time.Second, 0)
	}
	if d := r.Crashed(epoch, time.Second, 0); d.After != supervisor.BackoffMost {
		t.Errorf("after many: %+v", d)
	}
	if d := r.Crashed(epoch, supervisor.HealthyAfter-1, 0); d.After != supervisor.BackoffMost {
		t.Errorf("not quite healthy: %+v", d)
	}
	if d := r.Crashed(epoch, supervisor.HealthyAfter, 0); d.After != supervisor.BackoffFirst || d.Row != 1 {
		t.Errorf("healthy: %+v", d)
	}
}

func TestBudgetOfZeroAllowsNone(t *testing.T) {
	r := supervisor.NewRestarts(component.Restart{Per: time.Minute})
	if d := r.Crashed(epoch, time.Hour, 0); !d.Spent {
		t.Errorf("%+v", d)
	}
}

func TestRestartsHoldTheirBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		budget := rapid.IntRange(1, 20).Draw(t, "budget")
		per := time.Duration(rapid.IntRange(1, 3600).Draw(t, "per")) * time.Second
		r := supervisor.NewRestarts(component.Restart{Budget: budget, Per: per})
		at := epoch
		spent := false
		var crashes []time.Time
		for range rapid.IntRange(1, 60).Draw(t, "crashes") {
			ran := time.Duration(rapid.IntRange(0, 120000).Draw(t, "ran")) * time.Millisecond
			at = at.Add(ran)
			crashes = append(crashes, at)
			d := r.Crashed(at, ran, rapid.Float64Range(0, 0.999).Draw(t, "random"))
			if !d.Spent && (d.After < supervisor.BackoffFirst*8/10 || d.After > supervisor.BackoffMost) {
				t.Fatalf("a pause of %s", d.After)
			}
			if spent && !d.Spent {
				t.Fatal("a spent budget came back by itself")
			}
			if len(crashes) <= budget && d.Spent {
				t.Fatalf("spent after %d of %d", len(crashes), budget)
			}
			// Over any span no more crashes are forgiven than the budget, what came back meanwhile, and rounding.
			if !d.Spent {
				for i, from := range crashes {
					n := float64(len(crashes) - i)
					if most := float64(budget)*(1+at.Sub(from).Seconds()/per.Seconds()) + 1e-6; n > most+1 {
						t.Fatalf("%v crashes in %s were forgiven, at most %v are", n, at.Sub(from), most)
					}
				}
			}
			spent = d.Spent
		}
	})
}
