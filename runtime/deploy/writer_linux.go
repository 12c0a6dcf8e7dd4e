package deploy

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// writer says whether somebody has a file open for writing.
type writer int

const (
	writerUnknown writer = iota // the file system or its owner does not tell
	writerNone
	writerPresent
)

// writerOf asks for a read lease, which Linux grants only while nobody has the file open for writing, and gives it back at
// once. It works on local file systems for files of the server's own user (or with CAP_LEASE).
func writerOf(f *os.File) writer {
	conn, err := f.SyscallConn()
	if err != nil {
		return writerUnknown
	}
	result := writerUnknown
	err = conn.Control(func(fd uintptr) {
		_, err := unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_RDLCK)
		switch {
		case err == nil:
			result = writerNone
			_, _ = unix.FcntlInt(fd, unix.F_SETLEASE, unix.F_UNLCK)
		case errors.Is(err, unix.EAGAIN):
			result = writerPresent
		}
	})
	if err != nil {
		return writerUnknown
	}
	return result
}
