package kernel

import (
	"errors"
	"io/fs"
	"syscall"
)

// unusable is ErrHome with the fix that the system's reason asks for.
func unusable(err error, what string) error {
	e := ErrHome.Wrap(err, "%s", what)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return e.Fix("chown or chmod it for the server's user; `carbonado doctor` names all such folders.")
	case errors.Is(err, syscall.ENOSPC):
		return e.Fix("Free space on the disk of repository/.")
	}
	return e
}
