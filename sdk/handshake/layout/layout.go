// Package layout says what a component's process finds when it begins: its file descriptors and its lifeline.
// It must not know go-plugin or gRPC, because the guardian, which prepares all this, has neither.
package layout

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// File descriptors of a component's process at its first instruction. Nothing else is open.
const (
	// FDStdin is /dev/null.
	FDStdin = 0
	// FDStdout is a pipe to the kernel. Its first line is go-plugin's handshake; later lines are logged.
	FDStdout = 1
	// FDStderr is a pipe to the kernel, which logs each line; a line of hclog's JSON keeps its level and fields.
	FDStderr = 2
	// FDExecutable is the program being executed, open for reading: the descriptor whose SHA-256 was checked. The component
	// closes it at once; see CloseExecutable.
	FDExecutable = 3
	// FDLifeline is the read end of the guardian's lifeline; see Lifeline.
	FDLifeline = 4
	// FDFirstListener is the first TCP listener; listener i of ConfigureRequest.listeners is FDFirstListener+i, and its
	// number is also written there.
	FDFirstListener = 5
)

// CloseExecutable closes FDExecutable, so that a component's children don't inherit its program. Call it once, first thing in
// main. The error is nil if the descriptor was not open.
func CloseExecutable() error {
	if err := unix.Close(FDExecutable); err != nil && err != unix.EBADF {
		return fmt.Errorf("close descriptor %d (the executable): %w", FDExecutable, err)
	}
	return nil
}

// ProtectFromChildren marks the lifeline and `listeners` listeners close-on-exec, so that processes which the component
// starts get neither. Call it once, early in main; the descriptors arrive without the mark because they must pass the launcher.
func ProtectFromChildren(listeners int) {
	for fd := FDLifeline; fd < FDFirstListener+listeners; fd++ {
		unix.CloseOnExec(fd)
	}
}

// SetProcessName makes ps and top show name. A program executed by descriptor is otherwise shown as "3". Names longer than
// 15 bytes are cut by the operating system. Failure is harmless and is returned for the log only.
func SetProcessName(name string) error {
	return os.WriteFile("/proc/self/comm", []byte(name), 0)
}
