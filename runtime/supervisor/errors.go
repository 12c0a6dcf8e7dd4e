package supervisor

import (
	"carbonado.dev/sdk/cause"

	"google.golang.org/grpc/codes"
)

// Why a component did not start, or is no more.
var (
	ErrDigest = cause.Define("CBN-SUP-001", "An executable is not the one that was installed.",
		"Install the package again, or find out who changed the file.").Code(codes.PermissionDenied)
	ErrExecutable = cause.Define("CBN-SUP-002", "An executable can't be opened or executed.",
		"See that the file exists, is a program for this machine, and may be read and executed by the server's user.")
	ErrFolder = cause.Define("CBN-SUP-003", "A folder that a component needs can't be made.",
		"See that the server's user may write to repository/data and repository/run, and that the disk is not full.")
	ErrStart = cause.Define("CBN-SUP-004", "A component's process ended before it was ready.",
		"Its last lines say why; they are in the server's log under the component's name too.")
	ErrStartTimeout = cause.Define("CBN-SUP-005", "A component's process was not ready in time, and was ended.",
		"See its lines in the server's log. A program that is no component never gets ready.").Code(codes.DeadlineExceeded)
	ErrHandshake = cause.Define("CBN-SUP-006", "A component's process and the kernel don't understand one another.",
		"Build the component with an SDK whose control protocol this kernel speaks.")
	ErrSpec = cause.Define("CBN-SUP-007", "A component can't be started as described.",
		"Report it: the kernel has made an impossible request.").Code(codes.InvalidArgument)
	ErrEnded = cause.Define("CBN-SUP-008", "A component's process ended.",
		"Its last lines say why; they are in the server's log under the component's name too.").Code(codes.Unavailable)
	ErrCancelled = cause.Define("CBN-SUP-009", "A start was given up, because the kernel changed its mind or stops.",
		"").Code(codes.Canceled)
	ErrSilent = cause.Define("CBN-SUP-010", "A component's process gives no sign of life.",
		"`carbonado component restart` replaces it.").Code(codes.DeadlineExceeded)
	ErrFork = cause.Define("CBN-SUP-011", "The guardian can't start a process.",
		"See the limits on processes and descriptors of the server's user, and that its listeners are open.").Code(codes.ResourceExhausted)
)
