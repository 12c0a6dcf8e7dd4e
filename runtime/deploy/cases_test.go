package deploy

import (
	"fmt"
	"os"
	"testing"
	"time"
)

// TestCase45ASlowCopyWaitsAndARenameDoesNot: what is being copied is not deployed until it is whole; what is renamed in is within one look.
func TestCase45ASlowCopyWaitsAndARenameDoesNot(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		f := w.create("streams/slow.json")
		for i := range 10 {
			w.append(f, "streams/slow.json", v1[i*len(v1)/10:(i+1)*len(v1)/10])
			w.pass(3 * time.Second)
			w.wantCalls()
		}
		w.check(f.Close())
		w.pass(settleTime)
		w.wantCalls("deploy streams/slow.json")
		w.replace("streams/whole.json", v2)
		w.pass(800 * time.Millisecond)
		w.wantCalls("deploy streams/whole.json")
	})
}

// TestCase47TouchedWithTheSameContent: nothing happens, whether it is touched or written again.
func TestCase47TouchedWithTheSameContent(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.wantCalls("deploy streams/a.json")
		w.check(os.Chtimes(w.abs("streams/a.json"), time.Now(), time.Now()))
		w.event("streams/a.json", true)
		w.pass(settleTime)
		w.write("streams/a.json", v1)
		w.pass(settleTime)
		w.replace("streams/a.json", v1)
		w.pass(settleTime)
		w.wantCalls()
		if a := w.wantState("streams/a.json", Deployed); a.Revision != 1 {
			t.Errorf("revision %d", a.Revision)
		}
	})
}

// TestCase53ABatchOfTwentyHasOneOrder: by name, those that wait for another after it, in whatever order they were written.
func TestCase53ABatchOfTwentyHasOneOrder(t *testing.T) {
	var want []string
	for i := range 20 {
		if i != 3 {
			want = append(want, fmt.Sprintf("deploy streams/f%02d.json", i))
		}
	}
	for _, step := range []int{1, 7, 13} {
		inWorld(t, func(w *world) {
			w.start()
			for i := range 20 {
				n := i * step % 20
				text := content(fmt.Sprint("number ", n))
				switch n {
				case 3:
					text = content("wait late")
				case 17:
					text = content("offer late")
				}
				w.replace(fmt.Sprintf("streams/f%02d.json", n), text)
			}
			w.pass(settleTime)
			var got []string
			last, offered := -1, -1
			for i, c := range w.calls() {
				switch c {
				case "deploy streams/f03.json":
					last = i
					continue
				case "deploy streams/f17.json":
					offered = i
				}
				got = append(got, c)
			}
			if fmt.Sprint(got) != fmt.Sprint(want) || last < offered {
				t.Errorf("step %d: %v; f03 at %d, f17 at %d", step, got, last, offered)
			}
			w.wantState("streams/f03.json", Deployed)
		})
	}
}
