package authority

import (
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// Causes that Identity gives. CBN-ID-001 is the same for an unknown user and a wrong password.
var (
	ErrCredentials = cause.Define("CBN-ID-001", "The user name or the password is wrong.",
		"Check both. A new node's first password is in repository/data/initial-password.").Code(codes.Unauthenticated)
	ErrDomain = cause.Define("CBN-ID-002", "The user name has the domain of a tenant that does not exist.",
		"Sign in without a domain, or with @carbon.super: other tenants are not supported.").Code(codes.Unauthenticated)
	ErrThrottled = cause.Define("CBN-ID-003", "Too many failed attempts.",
		"Wait for the time that is named, then try again.").Code(codes.ResourceExhausted)
	ErrBusy = cause.Define("CBN-ID-004", "Too many password checks are waiting.",
		"Try again in some seconds. Clients that keep their connection or session need fewer checks.").Code(codes.ResourceExhausted)
	ErrTenant = cause.Define("CBN-ID-005", "The tenant is not supported.",
		"Use tenant -1234 (carbon.super).").Code(codes.InvalidArgument)
	ErrSession = cause.Define("CBN-ID-006", "The session has ended.",
		"Sign in again. A session ends after 30 minutes without use, after 12 hours, and with a new password.").Code(codes.Unauthenticated)
	ErrToken = cause.Define("CBN-ID-007", "The token is unknown, used up or too old.",
		"Ask for a new one.").Code(codes.Unauthenticated)
	ErrInvalid = cause.Define("CBN-ID-008", "The request has a value that is not allowed.",
		"Change the value that is named.").Code(codes.InvalidArgument)
	ErrNotFound = cause.Define("CBN-ID-009", "There is no such user or role.",
		"See the names at /identity/users and /identity/roles.").Code(codes.NotFound)
	ErrFixed = cause.Define("CBN-ID-010", "The change would lock the administrators out.",
		"Give the role admin to another user first. The roles admin and everyone cannot be removed, and admin always has all permissions.").Code(codes.FailedPrecondition)
	ErrStore = cause.Define("CBN-ID-011", "The file of users cannot be read or written.",
		"See the reason. The file is repository/data/Identity/identity.db.").Code(codes.Unavailable)
	ErrCaller = cause.Define("CBN-ID-012", "Only the kernel may ask for tokens.",
		"Use POST /api/credentials or the command line.").Code(codes.PermissionDenied)
)
