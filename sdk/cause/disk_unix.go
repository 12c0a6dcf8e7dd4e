//go:build unix

package cause

import "syscall"

// deviceOf is the number of the file system that a file lies on.
func deviceOf(path string) (uint64, bool) {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0, false
	}
	return uint64(st.Dev), true
}
