package deploy

import (
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Causes of artifacts and of calls that this room refuses.
var (
	ErrNoOwner = cause.Define("CBN-DEP-001", "No installed component takes files of that folder and suffix.",
		"Install a component that declares the type, or remove the file.")
	ErrOwnerAway = cause.Define("CBN-DEP-002", "The component that takes the artifact is not running.",
		"See `carbonado component diag` of the component that owns it.")
	ErrWaits = cause.Define("CBN-DEP-003", "The artifact waits for another one.",
		"Deploy what it waits for; it is tried again by itself.")
	ErrRefused = cause.Define("CBN-DEP-004", "The component refused the artifact.",
		"Correct the file; it is tried again when it changes.").Code(codes.InvalidArgument)
	ErrLeavesRepository = cause.Define("CBN-DEP-005", "The file is a link that leaves the repository or leads nowhere.",
		"Put a copy of the file in its place.")
	ErrTooLarge = cause.Define("CBN-DEP-006", "The file is larger than an artifact may be.",
		"Keep artifacts within 8 MiB.").Code(codes.InvalidArgument)
	ErrUnreadable = cause.Define("CBN-DEP-007", "The file can't be read.",
		"Give the server's user the right to read it.")
	ErrBeingWritten = cause.Define("CBN-DEP-008", "The file is still being written.",
		"Nothing: it is deployed once it is whole. Writing beside it and renaming is quickest.")
	ErrOwnerBroke = cause.Define("CBN-DEP-009", "The component ended or hung each time it was given the artifact.",
		"Look at the component's log; correct the file, it is tried again when it changes.")
	ErrNotAFile = cause.Define("CBN-DEP-010", "The entry is neither a file nor a folder.",
		"Put a regular file in its place.")
	ErrName = cause.Define("CBN-DEP-011", "The name can't be that of an artifact's file.",
		"Use letters, digits, dots, dashes and underscores, beginning with a letter or digit.").Code(codes.InvalidArgument)
	ErrExists = cause.Define("CBN-DEP-012", "An artifact of that name exists with another content.",
		"Choose another name, or change the artifact instead of making it.").Code(codes.AlreadyExists)
	ErrNoType = cause.Define("CBN-DEP-013", "No installed component declares that type of artifact.",
		"See `deploys` in the component.yaml of what is installed.").Code(codes.NotFound)
	ErrBusy = cause.Define("CBN-DEP-014", "The component is still busy with another artifact.",
		"Try again.").Code(codes.Unavailable)
	ErrDisk = cause.Define("CBN-DEP-015", "The artifact can't be written.",
		"Free space, or repair the rights of repository/deployment/server and repository/data.").Code(codes.Unavailable)
	ErrStillRuns = cause.Define("CBN-DEP-016", "The file is gone, but the component did not let go of the artifact.",
		"Nothing: it is tried again. If it lasts, restart the component.")
)
