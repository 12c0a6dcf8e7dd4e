package idle

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
)

func TestOnlyTheExecutablesReadOnlyMappingsAreLeft(t *testing.T) {
	got := codeRanges([]byte(`00400000-01700000 r-xp 00000000 fd:00 77 /a b/bin/Portal (deleted)
01700000-02e86000 r--p 01300000 fd:00 77 /a b/bin/Portal (deleted)
02e86000-03004000 rw-p 02a86000 fd:00 77 /a b/bin/Portal (deleted)
03004000-0505c000 rw-p 00000000 00:00 0 
7f0000000000-7f0000001000 r--s 00000000 fd:00 78 /a/data/segment
7f0000001000-7f0000002000 r-xp 00000000 fd:00 79 /usr/lib/libc.so.6
7fff00000000-7fff00021000 rw-p 00000000 00:00 0 [stack]
7fff00100000-7fff00102000 r-xp 00000000 00:00 0 [vdso]
`))
	if want := []span{{0x400000, 0x1700000}, {0x1700000, 0x2e86000}}; !slices.Equal(got, want) {
		t.Errorf("%x", got)
	}
}

// mapped is how much of files this process has mapped, in KiB.
func mapped(t *testing.T) int {
	t.Helper()
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		if rest, ok := bytes.CutPrefix(line, []byte("RssFile:")); ok {
			n, err := strconv.Atoi(string(bytes.Fields(rest)[0]))
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatal("no RssFile")
	return 0
}

func TestTheProgramGoesOnWithoutItsPages(t *testing.T) {
	touch := fmt.Sprintf("%v %x", map[string]int{"a": 1}, 255)
	before := mapped(t)
	leaveCode()
	after := mapped(t)
	if got := fmt.Sprintf("%v %x", map[string]int{"a": 1}, 255); got != touch {
		t.Errorf("%s, then %s", touch, got)
	}
	if after >= before {
		t.Errorf("%d KiB were mapped, then %d", before, after)
	}
}
