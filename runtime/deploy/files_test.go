package deploy

import (
	"maps"
	"testing"
	"time"
)

func TestFilesAreThoseThatAreWhole(t *testing.T) {
	inWorld(t, func(w *world) {
		w.start()
		w.write("streams/a.json", content("first"))
		w.mkdir("others")
		w.write("others/b.txt", "nobody takes it")
		w.pass(time.Minute)
		want := map[string]string{"streams/a.json": digestOf([]byte(content("first"))), "others/b.txt": digestOf([]byte("nobody takes it"))}
		if got, whole := w.service.Files(); !whole || !maps.Equal(got, want) {
			t.Errorf("%v, %t", got, whole)
		}
		w.write("streams/c.json", content("still being written"))
		w.pass(600 * time.Millisecond) // looked at once
		if got, whole := w.service.Files(); whole || !maps.Equal(got, want) {
			t.Errorf("%v, %t", got, whole)
		}
		w.pass(time.Minute)
		w.remove("streams/c.json")
		w.write("streams/a.json", content("bad"))
		w.remove("others/b.txt")
		w.pass(time.Minute)
		want = map[string]string{"streams/a.json": digestOf([]byte(content("bad")))}
		if got, whole := w.service.Files(); !whole || !maps.Equal(got, want) {
			t.Errorf("%v, %t", got, whole)
		}
	})
}
