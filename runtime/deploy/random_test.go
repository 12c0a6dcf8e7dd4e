package deploy

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// TestRandomDays does what people, editors, copy programs and crashes do, in any order, and compares what runs with the disk
// once all is quiet: whole good contents run, faulty ones say so and leave an earlier good one running, what waits waits for
// something that is not there, what is gone is gone.
func TestRandomDays(t *testing.T) {
	for seed := range uint64(40) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			inWorld(t, func(w *world) { newDay(w, seed).live() })
		})
	}
}

type day struct {
	*world
	rnd        *rand.Rand
	n          int
	disk       map[string]string          // name -> content
	good       map[string]map[string]bool // name -> good contents it ever had
	generation uint64
	open       *os.File
	openName   string
	openText   string
}

func newDay(w *world, seed uint64) *day {
	w.owner.partial = true // a writer that dies leaves what it had
	return &day{world: w, rnd: rand.New(rand.NewPCG(seed, 1)), disk: map[string]string{}, good: map[string]map[string]bool{}, generation: 1}
}

// text makes a content: good, faulty, one that offers its number's name, or one that waits for another's.
func (d *day) text() string {
	d.n++
	unique := fmt.Sprint("number ", d.n)
	switch d.rnd.IntN(6) {
	case 0:
		return content(unique, "bad")
	case 1:
		return content(unique, fmt.Sprint("wait name", d.rnd.IntN(3)))
	case 2, 3:
		return content(unique, "offer name") // completed by the file's own name, so that no two files offer the same
	}
	return content(unique)
}

func (d *day) name() string { return fmt.Sprintf("f%d.json", d.rnd.IntN(6)) }

// put notes what a file holds now.
func (d *day) put(name, text string) {
	d.disk[name] = text
	if !isBad(text) {
		if d.good[name] == nil {
			d.good[name] = map[string]bool{}
		}
		d.good[name][text] = true
	}
}

func isBad(text string) bool {
	return strings.Contains(text, "\nbad\n") || !strings.HasPrefix(text, "<<\n") || !strings.HasSuffix(text, "\n>>\n")
}

func (d *day) live() {
	d.start()
	for range 60 {
		d.step()
		d.pass(time.Duration(d.rnd.IntN(1500)) * time.Millisecond)
	}
	d.closeWriter()
	if d.service == nil {
		d.start()
	}
	if d.Owners()[0].Client == nil {
		d.generation++
		d.owner.restart()
		d.setOwner(d.generation)
	}
	d.event("streams", false)
	d.pass(2 * time.Minute)
	d.compare()
}

func (d *day) step() {
	name := d.name()
	text := strings.ReplaceAll(d.text(), "offer name", "offer name"+name[1:2])
	text = strings.ReplaceAll(text, "wait name"+name[1:2], "wait name5") // nobody waits for himself
	switch d.rnd.IntN(12) {
	case 0, 1:
		d.write("streams/"+name, text)
		d.put(name, text)
	case 2, 3:
		d.replace("streams/"+name, text)
		d.put(name, text)
	case 4:
		if _, ok := d.disk[name]; ok && name != d.openName {
			d.remove("streams/" + name)
			delete(d.disk, name)
		}
	case 5:
		to := d.name()
		if _, ok := d.disk[name]; ok && name != to && name != d.openName && to != d.openName {
			moved := d.disk[name]
			if !strings.Contains(moved, "offer") && !strings.Contains(moved, "wait name"+to[1:2]) { // a name belongs to its file
				d.rename("streams/"+name, "streams/"+to)
				delete(d.disk, name)
				d.put(to, moved)
			}
		}
	case 6: // a copy that takes its time
		d.closeWriter()
		d.open, d.openName, d.openText = d.create("streams/"+name), name, text
		d.append(d.open, "streams/"+name, text[:len(text)/2])
		d.put(name, text[:len(text)/2])
	case 7:
		d.closeWriter()
	case 8: // the owner's process is replaced
		d.generation++
		d.owner.restart()
		d.setOwner(d.generation)
	case 9: // it goes, or comes back
		if d.Owners()[0].Client != nil {
			d.setOwner(0)
			d.owner.restart()
		} else {
			d.generation++
			d.setOwner(d.generation)
		}
	case 10: // the kernel restarts, and everything below it
		if d.service != nil {
			d.stop()
			d.bell = nil
			d.owner.restart()
			d.generation++
		} else {
			d.setOwner(d.generation)
			d.start()
		}
	case 11:
		d.change(name, text)
	}
}

// change uses Put and Remove.
func (d *day) change(name, text string) {
	if d.service == nil || name == d.openName {
		return
	}
	short := strings.TrimSuffix(name, ".json")
	if d.rnd.IntN(4) == 0 {
		if err := d.service.Remove(d.t.Context(), "stream", short); err != nil {
			d.t.Errorf("remove %s: %v", name, err)
		}
		delete(d.disk, name)
		return
	}
	a, err := d.service.Put(d.t.Context(), PutRequest{Type: "stream", Name: short, Content: []byte(text)})
	running := d.Owners()[0].Client != nil
	switch {
	case isBad(text) && running:
		if err == nil {
			d.t.Errorf("put of a faulty %s: %s", name, describe(a))
		}
	case err != nil:
		d.t.Errorf("put of %s: %v", name, err)
	default:
		d.put(name, text)
	}
}

// closeWriter ends the slow copy: whole, or in the middle.
func (d *day) closeWriter() {
	if d.open == nil {
		return
	}
	if d.rnd.IntN(3) > 0 {
		// Another may have been moved over the name meanwhile: then the rest goes into a file without a name.
		info, err := os.Stat(d.abs("streams/" + d.openName))
		mine, err2 := d.open.Stat()
		d.append(d.open, "streams/"+d.openName, d.openText[len(d.openText)/2:])
		if err == nil && err2 == nil && os.SameFile(info, mine) {
			onDisk, err := os.ReadFile(d.abs("streams/" + d.openName))
			d.check(err)
			d.put(d.openName, string(onDisk))
		}
	}
	d.check(d.open.Close())
	d.event("streams/"+d.openName, true)
	d.open, d.openName = nil, ""
}

func (d *day) compare() {
	d.t.Helper()
	listed := map[string]Artifact{}
	for _, a := range d.service.List("stream") {
		listed[strings.TrimPrefix(a.Path, ServerRoot+"/streams/")] = a
	}
	d.owner.mu.Lock()
	defer d.owner.mu.Unlock()
	for name, a := range listed {
		if _, ok := d.disk[name]; !ok {
			d.t.Errorf("%s is gone and listed: %s", name, describe(a))
		}
	}
	for p := range d.owner.running {
		if _, ok := d.disk[strings.TrimPrefix(p, ServerRoot+"/streams/")]; !ok {
			d.t.Errorf("%s is gone and runs", p)
		}
	}
	for name, text := range d.disk {
		a, runs := listed[name], d.owner.running[ServerRoot+"/streams/"+name]
		want := Deployed
		for line := range strings.Lines(text) {
			if needed, ok := strings.CutPrefix(strings.TrimSpace(line), "wait "); ok && d.owner.offers[needed] == "" {
				want = Waiting
			}
		}
		if isBad(text) {
			want = Faulty
		}
		if a.State != want || a.Digest != digestOf([]byte(text)) {
			d.t.Errorf("%s is %s, want %s of\n%s", name, describe(a), want, text)
		}
		switch {
		case want == Deployed && runs != text:
			d.t.Errorf("%s runs %q, the disk has %q", name, runs, text)
		case want == Faulty && runs != "" && !d.good[name][runs]:
			d.t.Errorf("%s runs %q, which it never had", name, runs)
		}
	}
}
