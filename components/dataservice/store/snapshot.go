package store

import (
	"context"

	"github.com/RoaringBitmap/roaring/v2/roaring64"

	"carbonado.dev/carbonado/components/dataservice/manifest"
)

var noDead = roaring64.New()

// Snapshot is a picture of some tables as files. Its holder calls Release; until then nothing that it names is removed.
type Snapshot struct {
	Version uint64
	Tables  []TableSnapshot

	s     *Store
	views []*view
}

// TableSnapshot is one table of a snapshot.
type TableSnapshot struct {
	Info
	Files []FileSnapshot
}

// FileSnapshot is one segment and the rows of it that don't count, ascending.
type FileSnapshot struct {
	manifest.Segment
	Dead []uint64
}

// Snapshot cuts the tails of tables and names their files, all as of one moment.
func (s *Store) Snapshot(ctx context.Context, names []string) (*Snapshot, error) {
	// What is committed before the call is in the snapshot; what is committed while the tails are cut may be, or not: those rows
	// are in the log still.
	for _, n := range names {
		if err := s.Cut(ctx, n); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return nil, s.broken
	}
	out := &Snapshot{Version: s.version, s: s}
	for _, n := range names {
		t, err := s.find(n)
		if err != nil {
			for _, v := range out.views {
				s.releaseLocked(v)
			}
			return nil, err
		}
		v := s.viewOf(t)
		out.views = append(out.views, v)
		ts := TableSnapshot{Info: Info{v.Table, v.rows, v.size}}
		for _, f := range v.segs {
			ts.Files = append(ts.Files, FileSnapshot{f.Segment, deadIn(v.dead, f.MinSeq, f.MaxSeq).ToArray()})
			ts.LastSeq = max(ts.LastSeq, f.MaxSeq)
		}
		if len(v.tail) > 0 {
			// The snapshot ends where the segments do.
			ts.LastSeq = v.tail[0].first - 1
			for _, e := range v.tail {
				ts.Rows -= int64(e.rows)
			}
			ts.Rows += int64(deadIn(v.dead, v.tail[0].first, v.tail[len(v.tail)-1].last).GetCardinality())
		}
		out.Tables = append(out.Tables, ts)
	}
	return out, nil
}

// Release ends the snapshot. It may be called twice.
func (x *Snapshot) Release() {
	x.s.mu.Lock()
	for _, v := range x.views {
		x.s.releaseLocked(v)
	}
	x.views = nil
	waiting := len(x.s.garbage) > 0
	x.s.mu.Unlock()
	if waiting {
		signal(x.s.cutWake)
	}
}
