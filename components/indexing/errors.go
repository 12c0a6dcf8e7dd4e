package indexing

import (
	"google.golang.org/grpc/codes"

	"carbonado.dev/sdk/cause"
)

// What can go wrong; errors of the query itself are package lucene's.
var (
	ErrTenant = cause.Define("CBN-IDX-001", "A tenant that is not supported.", "Use tenant -1234 (carbon.super).").Code(codes.InvalidArgument)
	ErrTable  = cause.Define("CBN-IDX-002", "A table is not indexed.",
		"Index columns in the table's schema; the index follows within seconds.").Code(codes.NotFound)
	ErrRequest = cause.Define("CBN-IDX-003", "A search request makes no sense.", "Correct the request.").Code(codes.InvalidArgument)
	ErrSort    = cause.Define("CBN-IDX-004", "A search is sorted by something that has no order.",
		"Sort by an indexed column, by _timestamp or by _score.").Code(codes.InvalidArgument)
	ErrRebuild = cause.Define("CBN-IDX-005", "A part of an index was damaged and is being read again from the store.",
		"Wait; `carbonado component show Indexing` says when it is done. If it comes back, look at the disk.").Code(codes.Unavailable)
	ErrDisk = cause.Define("CBN-IDX-006", "The index can't be written.",
		"See to the disk that repository/data/Indexing is on; indexing tries again by itself.").Code(codes.Unavailable)
	ErrFeed = cause.Define("CBN-IDX-007", "The store's change feed broke or sends what can't be understood.",
		"Indexing subscribes again by itself; see DataService's log.").Code(codes.Unavailable)
	ErrLocked = cause.Define("CBN-IDX-008", "Another process has the index open.", "End the other process.")
	ErrWait   = cause.Define("CBN-IDX-009", "The index did not catch up in time.",
		"Wait longer; `carbonado component show Indexing` says how far it is.").Code(codes.DeadlineExceeded)
	ErrInternal = cause.Define("CBN-IDX-017", "The index code failed over whole files.",
		"Report it with the log's stack; other queries are not affected.").Code(codes.Internal)
	ErrPermission = cause.Define("CBN-IDX-016", "The signed-in user may not search.",
		"Give a role of the user the permission /permission/admin/manage/analytics/records/search.").Code(codes.PermissionDenied)
)
