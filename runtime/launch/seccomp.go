package launch

import (
	"errors"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// refused are system calls that no component needs and that reach beyond a process: into others, into the kernel, out of the cage.
// io_uring would open sockets past the filter.
var refused = []uint32{
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD, unix.SYS_OPEN_BY_HANDLE_AT,
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_MOVE_MOUNT, unix.SYS_OPEN_TREE, unix.SYS_FSOPEN, unix.SYS_FSMOUNT,
	unix.SYS_FSCONFIG, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_SETNS, unix.SYS_UNSHARE, unix.SYS_CHROOT,
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
}

// Offsets in struct seccomp_data (linux/seccomp.h); both machines are little-endian.
const (
	dataNumber = 0
	dataArch   = 4
	dataArg0   = 16
	dataArg2   = 32
	// x32Bit marks the numbers of amd64's second interface, which would go past the comparisons.
	x32Bit = 0x40000000
)

// seccompArch is this machine's number in audit.h; ok is false where the filter was never tried.
func seccompArch() (arch uint32, ok bool) {
	switch runtime.GOARCH {
	case "amd64":
		return unix.AUDIT_ARCH_X86_64, true
	case "arm64":
		return unix.AUDIT_ARCH_AARCH64, true
	}
	return 0, false
}

// seccompFilter is the program. What it refuses answers EPERM, sockets EACCES, other machines' interfaces ENOSYS.
func seccompFilter(c Cage, arch uint32) []unix.SockFilter {
	load := func(offset uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
	}
	answer := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	refuse := func(e unix.Errno) unix.SockFilter { return answer(unix.SECCOMP_RET_ERRNO | uint32(e)) }
	equal := func(k uint32, then, els uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: then, Jf: els}
	}
	f := []unix.SockFilter{
		load(dataArch), equal(arch, 1, 0), refuse(unix.ENOSYS),
		load(dataNumber),
		{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: x32Bit, Jt: 0, Jf: 1}, refuse(unix.ENOSYS),
	}
	for _, number := range refused {
		f = append(f, equal(number, 0, 1), refuse(unix.EPERM))
	}
	families := []uint32{unix.AF_UNIX}
	if c.Connect || c.Listen {
		families = append(families, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK) // the last for looking at interfaces
	}
	f = append(f, equal(unix.SYS_SOCKET, 1, 0), answer(unix.SECCOMP_RET_ALLOW), load(dataArg0))
	for i, family := range families {
		f = append(f, equal(family, uint8(len(families)-i), 0))
	}
	f = append(f, refuse(unix.EACCES))
	if c.Connect != c.Listen { // Landlock tells the two apart, for TCP and not for Multipath TCP, which programs do without where it is missing
		f = append(f, load(dataArg2), equal(unix.IPPROTO_MPTCP, 0, 1), refuse(unix.EPROTONOSUPPORT))
	}
	return append(f, answer(unix.SECCOMP_RET_ALLOW))
}

// seccompRestrict puts the filter on this thread, for ever. It must have no_new_privs.
func seccompRestrict(c Cage) error {
	arch, ok := seccompArch()
	if !ok {
		return errors.New("seccomp: no filter for " + runtime.GOARCH)
	}
	filter := seccompFilter(c, arch)
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))); errno != 0 {
		return errors.New("seccomp: " + errno.Error())
	}
	runtime.KeepAlive(filter)
	return nil
}
