package cause

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"google.golang.org/grpc/codes"
)

// DiskFull is the reason of whatever fails for want of space. Wrap and From find it in any error: a caller need not.
var DiskFull = Define("CBN-SDK-044", "No space is left on a disk.", "Free space on the file system that is named.").Code(codes.ResourceExhausted)

// sqliteFull is SQLite's result code for a full disk.
const sqliteFull = 13

// diskFull makes a DiskFull of an error that says so in the system's words, or in SQLite's; nil of any other, and of one that has it.
func diskFull(err error) *Error {
	quota := errors.Is(err, syscall.EDQUOT)
	if !quota && !errors.Is(err, syscall.ENOSPC) && !databaseFull(err) || fullIn(err) != nil {
		return nil
	}
	path := pathOf(err)
	e := DiskFull.New("%s", err.Error())
	if !strings.Contains(e.text, path) {
		e.text = path + ": " + e.text
	}
	e.system = err
	disk := mountOf(path)
	if disk != "" {
		e.text += " (the disk that is mounted at " + disk + ")"
	}
	switch {
	case quota && disk != "":
		return e.Fix("Free space below %s, or raise the server's disk quota there.", disk)
	case quota:
		return e.Fix("Free space, or raise the server's disk quota.")
	case disk != "":
		return e.Fix("Free space on the file system that is mounted at %s.", disk)
	}
	return e
}

// fullIn finds the DiskFull in a chain.
func fullIn(err error) *Error {
	for err != nil {
		var e *Error
		if !errors.As(err, &e) || e.code == DiskFull.id {
			return e
		}
		err = e.Unwrap()
	}
	return nil
}

func databaseFull(err error) bool {
	var c interface {
		error
		Code() int
	}
	return errors.As(err, &c) && c.Code()&0xff == sqliteFull && strings.Contains(c.Error(), "full")
}

// pathOf is the file that an error of the system names; empty if none.
func pathOf(err error) string {
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(err, &p):
		return p.Path
	case errors.As(err, &l):
		return l.New
	}
	return ""
}

// mountOf is the topmost folder of the file system that a file lies on; empty if that can't be found out.
func mountOf(path string) string {
	if !filepath.IsAbs(path) {
		return ""
	}
	var found string
	var of uint64
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		if device, ok := deviceOf(dir); ok {
			if found != "" && device != of {
				return found
			}
			found, of = dir, device
		}
		if dir == filepath.Dir(dir) {
			return found
		}
	}
}
