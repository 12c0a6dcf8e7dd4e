package idle

import (
	"bufio"
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// leaveCode unmaps the executable's own pages. A start touches most of a program's code, and each fault maps sixteen pages; what an idle
// process needs again comes back at once from the system's page cache, where unmapped pages are those that go first when memory is
// short. Only mappings that nobody can write are left: their pages are the file's, unless a debugger wrote breakpoints into them, so a
// process that is traced keeps them. It changes nothing where /proc is missing.
func leaveCode() {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil || !bytes.Contains(status, []byte("\nTracerPid:\t0\n")) {
		return
	}
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return
	}
	for _, r := range codeRanges(maps) {
		// An error leaves the pages where they are.
		_, _, _ = unix.RawSyscall(unix.SYS_MADVISE, r.start, r.end-r.start, unix.MADV_DONTNEED)
	}
}

// span is a range of addresses.
type span struct{ start, end uintptr }

// codeRanges finds the read-only mappings of the file that is mapped first, which is the executable.
func codeRanges(maps []byte) []span {
	var out []span
	var inode []byte
	for lines := bufio.NewScanner(bytes.NewReader(maps)); lines.Scan(); {
		// start-end perms offset device inode path
		f := bytes.Fields(lines.Bytes())
		if len(f) < 6 || f[5][0] != '/' {
			continue
		}
		if inode == nil {
			inode = bytes.Clone(f[4])
		}
		if !bytes.Equal(f[4], inode) || !bytes.HasPrefix(f[1], []byte("r-")) || f[1][3] != 'p' {
			continue
		}
		from, to, found := bytes.Cut(f[0], []byte("-"))
		start, err1 := strconv.ParseUint(string(from), 16, 64)
		end, err2 := strconv.ParseUint(string(to), 16, 64)
		if found && err1 == nil && err2 == nil {
			out = append(out, span{uintptr(start), uintptr(end)})
		}
	}
	return out
}
