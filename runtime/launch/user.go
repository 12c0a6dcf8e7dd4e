package launch

import (
	"errors"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ownUmask lets a component's groups write what it makes in a shared folder, and nobody else read it.
const ownUmask = 0o007

// become changes this thread, which executes afterwards, to the cage's user. Raw calls: the whole process's other threads end at the
// execution, and root's rights with them.
func become(c Cage) error {
	groups := make([]uint32, len(c.Groups), len(c.Groups)+1)
	for i, g := range c.Groups {
		groups[i] = uint32(g)
	}
	first := unsafe.Pointer(unsafe.SliceData(groups[:cap(groups)]))
	if _, _, e := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(first), 0); e != 0 {
		return errors.New("groups: " + e.Error())
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(c.GID), uintptr(c.GID), uintptr(c.GID)); e != 0 {
		return errors.New("group: " + e.Error())
	}
	if _, _, e := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(c.UID), uintptr(c.UID), uintptr(c.UID)); e != 0 {
		return errors.New("user: " + e.Error())
	}
	syscall.Umask(ownUmask)
	return nil
}

// dropCapabilities leaves root its files and nothing more. With no_new_privs the execution gives nothing back.
func dropCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return errors.New("capabilities: " + err.Error())
	}
	return nil
}
