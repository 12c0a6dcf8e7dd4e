package deploy

import "os"

// BeingWritten tells whether some process has a file open for writing. Where that can't be known, and for a file that is not there, it is
// false: two looks must agree besides.
func BeingWritten(path string) bool {
	if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
		return false
	}
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return writerOf(f) == writerPresent
}
