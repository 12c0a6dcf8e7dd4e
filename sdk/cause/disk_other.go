//go:build !unix

package cause

// deviceOf knows no file systems here.
func deviceOf(string) (uint64, bool) { return 0, false }
